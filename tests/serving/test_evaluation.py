"""Benchmarks, scores and the run that asks."""

import asyncio
import json

import pytest
from PIL import Image

from serving.evaluation.benchmarks import BenchmarkError, VqaRow, slake_rows, vqa_rad_rows
from serving.evaluation.metrics import exact_match, question_only_answers, summary, token_f1
from serving.evaluation.run import Answered, evaluate


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("The left lung.", "left lung", True),
        ("X-Ray", "x-ray", True),
        ("Left Lung", "Right Lung", False),
        ("no pleural effusion", "pleural effusion", False),
        ("T1", "T2", False),
        ("", "yes", False),
    ],
)
def test_exact_match(answer, gold, equal):
    assert exact_match(answer, gold) is equal


def test_token_f1():
    assert token_f1("left lower lobe", "left lung") == pytest.approx(0.4)
    assert token_f1("yes", "no") == 0


def row(number, question, answer, closed=False, image=None):
    return VqaRow(f"q{number}", "slake", image, question, answer, closed, "Organ", "CT")


def test_question_only_baseline_knows_the_question_or_else_the_type():
    train = [row(1, "Which organ?", "Lung"), row(2, "Which organ?", "Lung"), row(3, "Which organ?", "Liver")]
    train += [row(4, "Is it normal?", "No", closed=True)]
    asked = [row(5, "which ORGAN?", "Liver"), row(6, "Is it CT?", "Yes", closed=True)]
    assert question_only_answers(train, asked) == ["Lung", "No"]


def test_summary_counts_open_and_closed_apart():
    rows = [row(1, "Which organ?", "Lung"), row(2, "Is it normal?", "No", closed=True)]
    table = summary(rows, ["lung", "yes"])
    assert (table["all"]["exact_match"], table["open"]["exact_match"], table["closed"]["exact_match"]) == (50, 100, 0)
    assert table["all"]["n"] == 2


@pytest.fixture
def benchmark(tmp_path):
    """SLAKE's layout: a white and a black image, one question each."""
    for number, colour in enumerate(["white", "black"]):
        folder = tmp_path / "imgs" / f"xmlab{number}"
        folder.mkdir(parents=True)
        Image.new("RGB", (16, 12), colour).save(folder / "source.jpg")
    rows = [
        {"qid": number, "q_lang": language, "img_name": f"xmlab{number}/source.jpg", "question": "Is it bright?"}
        | {"answer": answer, "answer_type": "CLOSED", "content_type": "Color", "modality": "CT"}
        for number, answer, language in ((0, "Yes", "en"), (1, "No", "en"), (1, "不", "zh"))
    ]
    for split in ("train", "validate"):
        (tmp_path / f"{split}.json").write_text(json.dumps(rows))
    return tmp_path


async def looks(question, image):
    return Answered("Yes" if image.getpixel((0, 0))[0] > 128 else "No", 0.9)


def test_a_model_that_looks_loses_by_the_blank_image(benchmark, tmp_path):
    report = asyncio.run(evaluate("slake", benchmark, looks, tmp_path / "out"))
    assert report["n"] == 2  # English rows only
    assert report["image"]["all"]["exact_match"] == 100
    assert report["blank"]["all"]["exact_match"] == 50
    assert report["looks_at_the_image"] == 50
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_a_run_that_broke_off_asks_only_what_is_missing(benchmark, tmp_path):
    asked = []

    async def breaks(question, image):
        asked.append(question)
        if len(asked) == 3:
            raise ConnectionError("the model stopped")
        return await looks(question, image)

    async def counts(question, image):
        asked.append(question)
        return await looks(question, image)

    with pytest.raises(ExceptionGroup):
        asyncio.run(evaluate("slake", benchmark, breaks, tmp_path / "out", concurrency=1))
    answers = tmp_path / "out" / "answers.jsonl"
    kept = len(answers.read_text().splitlines())
    with answers.open("a") as log:
        log.write('{"question_id": "slake/1", "con')  # the line that was being written
    asked.clear()
    report = asyncio.run(evaluate("slake", benchmark, counts, tmp_path / "out", concurrency=1))
    assert kept >= 2
    assert len(asked) == 4 - kept
    asyncio.run(evaluate("slake", benchmark, counts, tmp_path / "out", concurrency=1))
    assert len(asked) == 4 - kept, "what came after the broken line must be found too"
    assert report["image"]["all"]["exact_match"] == 100


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BenchmarkError, match=r"validate\.json is missing"):
        slake_rows(tmp_path, "validate")
    (tmp_path / "validate.json").write_text("{")
    with pytest.raises(BenchmarkError, match="not JSON"):
        slake_rows(tmp_path, "validate")
    with pytest.raises(BenchmarkError, match="test"):
        vqa_rad_rows(tmp_path, "test")


def test_vqa_rad_shares_no_image_between_its_parts(shared_data):
    train, validate = (vqa_rad_rows(shared_data / "vqa-rad", split) for split in ("train", "validate"))
    assert train
    assert validate
    assert not {item.image_path for item in train} & {item.image_path for item in validate}
