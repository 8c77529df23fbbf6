"""What a person says about an answer: kept with it, gone with it, and read again by the evaluation."""

import csv
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from assistant.chat import Turn
from assistant.conversation_files import as_html, as_json, as_markdown, read_json
from assistant.conversations import ConversationError, Conversations
from assistant.feedback import LONGEST, Feedback
from assistant.feedback_export import COLUMNS, JudgedRow, judged_rows, write_rows
from assistant.feedback_screen import detailed, judged, thumbs
from assistant.uploads import CleanImage, UploadLimits, clean_upload
from serving.evaluation.own_rows import own_rows

ANSWER = "There is a mass. It is in the left lung."
WRONG = Feedback("down", "It is in the left lung.", "wrong side", "Right lung", given=1.0)


@pytest.fixture
def image(tmp_path: Path) -> CleanImage:
    path = tmp_path / "sent.png"
    Image.new("RGB", (20, 10), (90, 0, 0)).save(path)
    return clean_upload(path.read_bytes(), "", UploadLimits())


@pytest.fixture
def turns(image) -> list[Turn]:
    return [
        Turn("Where is the mass?", (image,), answer=ANSWER, model="demo", feedback=WRONG),
        Turn("Which modality is it?", answer="CT", model="demo", feedback=Feedback("up", given=2.0)),
        Turn("Is it large?", answer="Yes", model="demo", feedback=Feedback("down", given=3.0)),
        Turn("And the heart?", answer="No", model="demo"),
    ]


@pytest.fixture
def store(tmp_path, turns) -> Conversations:
    store = Conversations(tmp_path / "conversations.db")
    store.save(None, "anna", turns)
    store.save(None, "anna", turns)
    store.save(None, "ben", [Turn("What is a fracture?", answer="A break", feedback=Feedback("up", given=4.0))])
    return store


def test_a_judgement_is_kept_with_its_conversation_and_goes_with_it(store, turns):
    [first, second] = store.find("anna")
    assert store.load("anna", first.id)[0] == turns
    for kept in (first, second):
        store.delete("anna", kept.id)
    assert [row.question for row in judged_rows(store)] == ["What is a fracture?"]


def test_a_judgement_travels_in_every_file(turns):
    assert read_json(as_json(turns), UploadLimits()) == turns
    for page in (as_markdown(turns), as_html(turns)):
        assert "wrong side. Right would be: Right lung" in page


@pytest.mark.parametrize("change", [{"judgement": "best"}, {"why": "x" * (LONGEST + 1)}, {"given": "once"}])
def test_a_forged_judgement_is_refused(turns, change):
    content = json.loads(as_json(turns))
    content["turns"][0]["feedback"] |= change
    with pytest.raises(ConversationError, match="feedback"):
        read_json(json.dumps(content).encode(), UploadLimits())


def test_rows_hold_all_that_was_said_once(store, image, tmp_path):
    out = tmp_path / "out" / "all.csv"
    assert write_rows(judged_rows(store), out) == 4
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert rows[0] == {
        "image": f"images/{image.sha256}.png",
        "question": "Where is the mass?",
        "answer": "Right lung",
        "said": ANSWER,
        "judgement": "down",
        "sentence": "It is in the left lung.",
        "why": "wrong side",
        "model": "demo",
        "follow_up": "no",
        "given": "1970-01-01",
    }
    assert [(row["answer"], row["follow_up"]) for row in rows[1:]] == [("CT", "yes"), ("", "yes"), ("A break", "no")]
    assert (out.parent / rows[0]["image"]).read_bytes() == image.data
    assert "anna" not in out.read_text(encoding="utf-8")


def test_right_answers_are_read_by_the_evaluation(store, tmp_path):
    out = tmp_path / "right.csv"
    assert write_rows(judged_rows(store), out, with_answer=True) == 2
    rows = own_rows(out, "")
    assert [(row.question, row.answer) for row in rows] == [
        ("Where is the mass?", "Right lung"),
        ("Which modality is it?", "CT"),
    ]
    assert all(row.image_path.is_file() for row in rows)


@pytest.mark.parametrize(("told", "right"), [(Feedback("up"), ANSWER), (Feedback("up", "There is a mass."), "")])
def test_a_good_sentence_does_not_make_the_answer_right(told, right):
    assert JudgedRow(None, "Where?", ANSWER, "demo", False, told).answer == right


def test_the_form_asks_which_sentence_and_keeps_what_is_written(turns):
    new, (about, *_, sentence, _, _) = judged(turns, 0, False)
    assert new[0].feedback.judgement == "down"
    assert thumbs(new) == ["Dislike", "Like", "Dislike", None]
    assert sentence["choices"] == ["The whole answer", "There is a mass.", "It is in the left lung."]
    kept = detailed(new, about, "It is in the left lung.", " wrong\n side ", "Right lung")[0].feedback
    assert replace(kept, given=1.0) == WRONG
    forged = detailed(new, about, "Never said.", "x" * 2 * LONGEST, "")[0].feedback
    assert forged.sentence == "" and len(forged.why) == LONGEST
    # Another answer stands there by now.
    assert detailed([replace(new[0], answer="No"), *new[1:]], about, "", "why", "")[0].feedback.why == ""
    assert judged(new, 0, "")[0][0].feedback is None


def test_the_command_writes_rows_and_says_where_nothing_is_kept(store, tmp_path, medvint):
    def export(data_dir: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [medvint, "feedback", "export", "--out", str(tmp_path / "f.csv"), *more]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"MEDVINT_DATA_DIR": str(data_dir)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = export(tmp_path, "--with-answer")
    assert done.returncode == 0 and done.stdout.startswith("2 judged answers: "), done.stderr
    empty = export(tmp_path / "empty")
    assert empty.returncode == 1 and "No conversations are kept here" in empty.stderr
