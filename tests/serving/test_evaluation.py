"""The run that asks: controls, resuming, whose answers they are, and what it writes."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from serving.evaluation.answers import Answered, AnswerLog, OtherRunError
from serving.evaluation.benchmarks import BenchmarkError
from serving.evaluation.controls import CONTROLS, Caption, Conditions, shuffled
from serving.evaluation.identity import weights_fingerprint
from serving.evaluation.readers import find_benchmark
from serving.evaluation.run import evaluate

COLOURS = ["white", "black", "red", "navy"]


@pytest.fixture
def benchmark(tmp_path):
    """SLAKE's layout: four images, light and dark, two questions each."""
    rows = []
    for number, colour in enumerate(COLOURS):
        folder = tmp_path / "slake" / "imgs" / f"xmlab{number}"
        folder.mkdir(parents=True)
        Image.new("RGB", (16, 12), colour).save(folder / "source.jpg")
        bright = "Yes" if colour == "white" else "No"
        for kind, question, answer in (("CLOSED", "Is it bright?", bright), ("OPEN", "Which colour is it?", colour)):
            rows.append(
                {"qid": len(rows), "q_lang": "en", "img_name": f"xmlab{number}/source.jpg", "question": question}
                | {"answer": answer, "answer_type": kind, "content_type": "Color", "modality": "CT"}
            )
    rows.append({**rows[0], "qid": 99, "q_lang": "zh", "question": "?"})
    for split in ("train", "validate"):
        (tmp_path / "slake" / f"{split}.json").write_text(json.dumps(rows))
    return tmp_path / "slake"


def nearest_colour(image: bytes) -> str:
    pixel = Image.open(io.BytesIO(image)).convert("RGB").getpixel((8, 6))
    known = {"white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "navy": (0, 0, 128)}
    return min(known, key=lambda name: sum(abs(a - b) for a, b in zip(known[name], pixel, strict=True)))


async def looks(question, image, captions=()):
    """Sees, reads, and follows what a caption says."""
    if captions:
        return Answered(captions[0].text, 0.8)
    colour = nearest_colour(image)
    if question == "Is it bright?":
        return Answered("Yes" if colour == "white" else "No", 0.9)
    return Answered(colour if question == "Which colour is it?" else "unclear", 0.7)


async def captions_of(question, image):
    colour = nearest_colour(image)
    right = ("Yes" if colour == "white" else "No") if question == "Is it bright?" else colour
    return [Caption(f"PMC1/{colour}-{question[:2]}", "PMC1", right)]


def run(benchmark, out, ask=looks, **options):
    return asyncio.run(evaluate("slake", benchmark, ask, out, **options))


def accuracy(report, condition, group="all"):
    return report["conditions"][condition][group]["accuracy"]["value"]


def test_the_controls_tell_what_a_model_looks_at(benchmark, tmp_path):
    report = run(benchmark, tmp_path / "out", find=captions_of)
    assert (report["n"], report["images"]) == (8, 4)  # English rows only
    assert accuracy(report, "image") == 100
    assert accuracy(report, "blank", "open") == 25  # one image is black
    assert report["looks_at_the_image"] == report["controls"]["blank"]["accuracy_lost"]["value"] == 50
    assert report["controls"]["blank"]["in_words"] == "looks at the image: 50.0 points"
    assert accuracy(report, "other-image", "open") == 0
    assert accuracy(report, "shuffled", "open") == 0
    assert report["controls"]["shuffled"]["answers_changed"]["value"] >= 50
    assert accuracy(report, "captions") == 100
    assert accuracy(report, "wrong-captions", "open") == 0
    assert report["controls"]["captions"]["probability_lost"]["value"] == 0  # 0.9 and 0.7 to 0.8 each
    assert report["controls"]["wrong-captions"]["with_captions"] == 8
    assert report["controls_not_run"] == {}
    assert report["question_only"]["closed"]["accuracy"]["value"] == 75


def test_a_model_that_does_not_look_loses_nothing(benchmark, tmp_path):
    async def blind(question, image, captions=()):
        return Answered("No", 0.5)

    report = run(benchmark, tmp_path / "out", blind)
    assert report["looks_at_the_image"] == 0
    assert report["controls"]["other-image"]["accuracy_lost"] == {"value": 0, "low": 0, "high": 0}


def test_what_was_not_run_is_said_with_its_reason(benchmark, tmp_path):
    report = run(benchmark, tmp_path / "a", no_search="There is no index.")
    assert report["controls_not_run"] == {"captions": "There is no index.", "wrong-captions": "There is no index."}
    report = run(benchmark, tmp_path / "b", controls=[])
    assert set(report["controls_not_run"]) == set(CONTROLS)
    assert report["looks_at_the_image"] is None
    assert "Not every control was run" in (tmp_path / "b" / "report.html").read_text()
    with pytest.raises(BenchmarkError, match="no control named"):
        run(benchmark, tmp_path / "c", controls=["nonsense"])


def test_the_report_says_what_it_was_made_from(benchmark, tmp_path):
    report = run(benchmark, tmp_path / "out", model={"model": "demo"}, limit=4, command="medvint evaluate slake")
    again = run(benchmark, tmp_path / "again", model={"model": "demo"}, limit=4, concurrency=1)
    assert report["hashes"] == again["hashes"], "the order in which answers come must not matter"
    assert (report["n"], report["file"], report["command"]) == (4, "validate.json", "medvint evaluate slake")
    assert report["schema"] == "medvint-evaluation/2"
    assert "pillow" in report["versions"]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert (
        (tmp_path / "out" / "leaderboard.md").read_text().startswith("| demo | slake (validate.json, validate) | 4 |")
    )


def test_a_run_that_broke_off_asks_only_what_is_missing(benchmark, tmp_path):
    asked = []

    async def breaks(question, image, captions):
        asked.append(question)
        if len(asked) == 3:
            raise ConnectionError("the model stopped")
        return await looks(question, image)

    async def counts(question, image, captions):
        asked.append(question)
        return await looks(question, image)

    options = {"concurrency": 1, "controls": ["blank"]}
    with pytest.raises(ExceptionGroup):
        run(benchmark, tmp_path / "out", breaks, **options)
    answers = tmp_path / "out" / "answers.jsonl"
    kept = len(answers.read_text().splitlines())
    assert kept == 2
    with answers.open("a") as log:
        log.write('{"question_id": "slake/1", "con')  # the line that was being written
    asked.clear()
    report = run(benchmark, tmp_path / "out", counts, **options)
    assert len(asked) == 16 - kept
    run(benchmark, tmp_path / "out", counts, **options)
    assert len(asked) == 16 - kept, "what came after the broken line must be found too"
    assert accuracy(report, "image") == 100


def test_a_killed_run_goes_on(benchmark, tmp_path):
    script = (
        "import asyncio, sys; from pathlib import Path\n"
        "from serving.evaluation.answers import Answered; from serving.evaluation.run import evaluate\n"
        "async def ask(question, image, captions):\n"
        "    await asyncio.sleep(0.05)\n"
        "    return Answered('No', 0.5)\n"
        "asyncio.run(evaluate('slake', Path(sys.argv[1]), ask, Path(sys.argv[2]), concurrency=1, model={'model': 'm'}))\n"
    )
    out = tmp_path / "out"
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", script, str(benchmark), str(out)], cwd=root)
    answers = out / "answers.jsonl"
    while process.poll() is None and not (answers.exists() and answers.read_text().count("\n") >= 3):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = answers.read_text().count("\n")
    asked = []

    async def counts(question, image, captions):
        asked.append(question)
        return Answered("No", 0.5)

    report = run(benchmark, out, counts, model={"model": "m"})
    assert kept >= 3
    assert len(asked) == 8 * 4 - kept
    assert report["n"] == 8


@pytest.mark.parametrize("other", [{"model": {"model": "another"}}, {"instruction": "One word."}, {"split": "train"}])
def test_answers_of_two_models_are_never_mixed(benchmark, tmp_path, other):
    options = {"model": {"model": "demo"}, "controls": []}
    run(benchmark, tmp_path / "out", **options)
    with pytest.raises(OtherRunError, match="choose another --out"):
        run(benchmark, tmp_path / "out", **options | other)


def test_answers_without_a_name_and_a_second_writer_are_refused(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "answers.jsonl").write_text('{"question_id": "1"}\n')
    with pytest.raises(OtherRunError, match="of which model"), AnswerLog(tmp_path / "old", {}):
        pass
    with AnswerLog(tmp_path / "new", {}), pytest.raises(OtherRunError, match="Another run"):
        AnswerLog(tmp_path / "new", {}).__enter__()


def test_retrained_weights_are_another_model(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(5_000_000))
    before = weights_fingerprint(tmp_path)
    assert weights_fingerprint(tmp_path) == before
    weights.write_bytes(bytes(2_500_000) + b"\1" * 2_500_000)
    assert weights_fingerprint(tmp_path) != before


def test_a_question_without_an_answer_counts_as_wrong(benchmark, tmp_path):
    async def refuses(question, image, captions):
        return Answered("", failure="too long") if "colour" in question else await looks(question, image)

    report = run(benchmark, tmp_path / "out", refuses, controls=[])
    assert report["failures"] == {"image": 4}
    assert accuracy(report, "image") == 50


def test_an_image_that_is_missing_is_named_before_the_first_question(benchmark, tmp_path):
    (benchmark / "imgs" / "xmlab2" / "source.jpg").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 4 images are missing.*xmlab2"):
        run(benchmark, tmp_path / "out", ask=None)


async def test_the_figures_of_the_images_own_article_are_left_out(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "PMC1_F1.jpg")
    columns = "Figure_path,Question,Answer,Choice A,Choice B,Choice C,Choice D,Answer_label"
    (tmp_path / "test.csv").write_text(f"{columns}\nPMC1_F1.jpg,What?,a,A:a,B:b,C:c,D:d,A\n")
    rows = find_benchmark("pmc-vqa-blank").read(tmp_path, "test")

    async def find(question, image):
        return [Caption(f"{pmcid}/g", pmcid, pmcid) for pmcid in ("PMC1", "PMC2", "PMC3")]

    conditions = Conditions(rows, find, k=1)
    assert [one.pmcid for one in (await conditions.asked(rows[0], "captions")).captions] == ["PMC2"]
    assert conditions.not_run("other-image", "") == "there is only one image"


def test_shuffled_words_are_the_same_words():
    question = "Which side of the chest is abnormal?"
    assert sorted(shuffled(question, "1").split()) == sorted(question.split())
    assert shuffled(question, "1") != question
    assert shuffled(question, "1") == shuffled(question, "1")
    assert shuffled("Normal?", "1") == "Normal?"


def test_modality_over_several_sets_shows_what_is_taken_for_what(tmp_path):
    for name, colour in (("bccd", "red"), ("grays-anatomy", "white")):
        (tmp_path / name).mkdir()
        for number in range(30):
            Image.new("RGB", (16, 12), colour if number % 3 else "navy").save(tmp_path / name / f"{number}.png")
        rows = [json.dumps({"file": f"{number}.png"}) for number in range(30)]
        (tmp_path / name / "rows.jsonl").write_text("\n".join(rows))

    async def by_colour(question, image, captions=()):
        return Answered({"red": "light microscopy", "white": "Drawing"}.get(nearest_colour(image), "CT"), 0.9)

    def measured(out):
        return asyncio.run(evaluate("modality", tmp_path, by_colour, tmp_path / out))

    report = measured("one")
    counts = report["confusion"]["counts"]
    assert set(counts) == {"Light microscopy", "Drawing"} and report["n"] == sum(
        sum(c.values()) for c in counts.values()
    )
    assert counts["Drawing"]["Light microscopy"] == 0 < counts["Drawing"]["Drawing"]
    assert report["question_only"]["all"]["n"] == report["n"] and "set: bccd" in report["conditions"]["image"]
    assert "What it takes for what" in (tmp_path / "one" / "report.html").read_text()
    assert measured("two")["hashes"] == report["hashes"]
    (tmp_path / "bccd" / "rows.jsonl").write_text("")
    assert measured("three")["hashes"]["data"] != report["hashes"]["data"], "another set of questions"
