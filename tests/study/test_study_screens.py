"""What the screens show and what stands behind them: escaped HTML, the model beside the key, gaps, stored readings."""

import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from assistant.study import exercises, gaps, html, report
from assistant.study.errors import PackError
from assistant.study.evaluation.leaks import in_picture, told
from assistant.study.items import Gold, Item, PublicItem, Reveal, Skill, Verdict
from assistant.study.other_reader import checked
from assistant.study.packs import Shelf
from assistant.study.sources.readings import NAME, add_readings
from retrieval.figures import Figure, Hit

SCRIPT = "<script>alert(1)</script>"


def hit(caption: str, rank: int = 1) -> Hit:
    return Hit(
        Figure(f"PMC{rank}/g", f"PMC{rank}", "g", "Figure 1", caption, "CC BY", "", "roco"), 0.9, rank, ("image",)
    )


@pytest.mark.parametrize(
    "shown",
    [
        html.question(PublicItem("id", 1, "practise", "place", SCRIPT, "x", SCRIPT, hints=(SCRIPT,))),
        html.revealed(
            Reveal("id", Verdict("wrong", SCRIPT, -6, (), SCRIPT), 3, SCRIPT, SCRIPT, explanation=SCRIPT, source=SCRIPT, stem=SCRIPT)
        ),
        html.problem(SCRIPT),
    ],
)  # fmt: skip
def test_what_people_wrote_is_escaped(shown: str):
    assert "<script" not in shown
    assert "&lt;script" in shown


def test_a_question_names_only_its_attempt():
    shown = html.question(PublicItem("attempt-1", 4, "practise", "option", "What?", "x", "Image for question 4"))
    assert 'src="image/attempt-1.png"' in shown
    assert 'alt="Image for question 4"' in shown


def test_the_crawler_finds_what_is_there():
    """A crawler that finds nothing has to be one that would find something."""
    item = Item(
        "p/7/text", "p", "1", "text", Skill("ct/chest/pneumonia", "", "", ""), ("f" * 64,), "e" * 64, "What is marked?",
        Gold("pneumonia", ("chest infection",), ((0.123, 0.456, 0.1, 0.2),)), explanation="A dense lobe with air inside it",
        source="Some set",
    )  # fmt: skip
    assert told(item, {"stem": item.stem, "options": ["pneumonia"], "suggestions": ["pneumonia"]}) == []
    for leak in (
        "Pneumonia", "a chest-infection", "p/7/text", "f" * 64, "ct/chest/pneumonia", "some: dense lobe with air", "0.456",
    ):  # fmt: skip
        assert told(item, {"alt": leak}), leak
    assert told(item, {}, "x-source: Some set")
    picture = io.BytesIO()
    Image.new("L", (4, 4)).save(picture, "PNG")
    assert in_picture(picture.getvalue()) == []
    assert in_picture(picture.getvalue() + b"pneumonia") == ["bytes after the picture"]
    named = PngInfo()
    named.add_text("Comment", "pneumonia")
    picture = io.BytesIO()
    Image.new("L", (4, 4)).save(picture, "PNG", pnginfo=named)
    assert in_picture(picture.getvalue()) == ["a chunk tEXt in the picture"]


def test_progress_of_nobody_can_be_shown():
    assert "too few to tell" in html.progress(report.progress([], [], datetime(2027, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("key", "answer", "marks"),
    [
        ("left lung", "Left Lung", ["agrees"]),
        ("left lung", "Right lung.", ["contradicts"]),
        ("Yes", "No, it is normal.", ["contradicts"]),
        ("pneumonia", "It may be many things", ["not checked"]),
        ("pneumonia", "No pneumonia. It looks odd.", ["contradicts", "not checked"]),
        ("pneumonia", "", []),
    ],
)
def test_each_sentence_of_the_model_is_set_beside_the_key(key: str, answer: str, marks: list[str]):
    assert [one.mark for one in checked("What is marked?", Gold(key), answer)] == marks


def test_what_is_true_beside_the_key_speaks_too():
    (sentence,) = checked(
        "Click on it.", Gold("", facts=("left pneumothorax",)), "There is a pneumothorax on the right side."
    )
    assert sentence.mark == "contradicts"


def test_a_gap_is_a_finding_of_the_caption_and_of_that_figure():
    (gap,) = gaps.make_gaps(
        [hit("Chest radiograph of the patient shows a large pleural effusion in the right hemithorax.")]
    )
    assert gaps.GAP in gap.text
    assert gap.key not in gap.text
    assert gap.check(gap.key.upper()).outcome == "right"
    assert gap.check("pneumothorax").outcome == "wrong"
    assert "not your image" in gap.headline


@pytest.mark.parametrize(
    "caption",
    [
        "A large effusion.",
        "Chest radiograph of the patient shows a large pleural effusion (arrow) in the right hemithorax.",
        "The effusion is large, and this effusion was drained on the next day by a catheter.",
        "Chest radiograph of the patient shows no pleural effusion in the right hemithorax at all.",
    ],
)
def test_a_caption_that_cannot_be_asked_about_has_no_gap(caption: str):
    assert gaps.make_gaps([hit(caption)]) == []


@pytest.fixture
def slake(tmp_path):
    """Six images whose model answers are right in half of the cases, and the base pack's folder."""
    rows, answers = [], []
    for number in range(6):
        folder = tmp_path / "slake" / "imgs" / f"xmlab{number}"
        folder.mkdir(parents=True)
        Image.fromarray(np.full((32, 32), 30 * number, np.uint8)).save(folder / "source.jpg")
        rows.append(
            {"img_name": f"xmlab{number}/source.jpg", "question": "Which organ is it?", "answer": "Liver", "q_lang": "en",
             "modality": "CT", "content_type": "Organ", "answer_type": "OPEN", "qid": number}
        )  # fmt: skip
        said = "Liver" if number < 4 else "Spleen"
        answers.append({"question_id": f"slake/{number}", "condition": "image", "answer": said})
    (tmp_path / "slake" / "validate.json").write_text(json.dumps(rows))
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    return tmp_path


def test_the_model_is_right_and_wrong_in_equal_numbers(slake, own_shelf):
    base = own_shelf.folder / "slake"
    (own_shelf.folder / "phantoms").rename(base)
    (base / "pack.json").write_text((base / "pack.json").read_text().replace('"phantoms"', '"slake"'))
    assert add_readings(own_shelf, "slake", slake / "answers.jsonl", slake / "slake") == 4
    keys = [item.gold.answer for item in Shelf(own_shelf.folder).open(NAME).items]
    assert sorted(keys) == [exercises.ACCEPT] * 2 + [exercises.REJECT] * 2


def test_the_model_is_not_judged_on_what_it_learned_from(slake, own_shelf):
    with pytest.raises(PackError, match="did not learn"):
        add_readings(own_shelf, "phantoms", slake / "answers.jsonl", slake / "slake")
