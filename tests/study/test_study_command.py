"""`medvint study` as a shell sees it."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from assistant.cli import app
from assistant.study.gate import open_gate
from tests.study.own_cases import case, make_zip


@pytest.fixture
def run(tmp_path, drawn_shelf, monkeypatch):
    """Run a command over a data folder of its own; returns its output."""
    shutil.copytree(drawn_shelf, tmp_path / "data" / "study" / "packs")
    monkeypatch.setenv("MEDVINT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, said: str = "", status: int = 0) -> str:
        found = CliRunner().invoke(app, ["study", *arguments], input=said)
        assert found.exit_code == status, found.output
        return found.output

    return call


def test_a_round_is_played_and_its_log_travels(run, tmp_path):
    said = run("practise", "--rounds", "2", said="g\ng\n")
    assert said.count("You gave up on this one.") == 2
    run("export-log", "me.jsonl")
    assert len((tmp_path / "me.jsonl").read_text().splitlines()) == 2
    assert "2 answers are deleted" in run("forget", "--yes")
    assert "2 answers were new" in run("import-log", "me.jsonl")
    assert json.loads(run("stats", "--json"))["answers"] == 2


def test_an_exam_is_planned(run):
    assert "Planned for 2099-03-01" in run("exam", "2099-03-01")
    assert json.loads(run("stats", "--json"))["exam"] == "2099-03-01"
    assert "No exam" in run("exam", "none")


def test_an_answer_is_given_by_number_words_or_place(run, tmp_path):
    gate = open_gate(tmp_path / "data")
    item = gate.next("me")
    given = {"place": "50 50", "text": "whatever it is", "option": "1"}[item.kind]
    said = run("practise", "--rounds", "1", said=f"{given}\n2\n")
    assert "The answer:" in said or item.kind == "place"
    assert len(gate.log.attempts("me")) == 1


def test_a_teachers_zip_is_checked_published_and_exported(run, tmp_path):
    rows = [case(0), case(1, answer="mass"), case(2, answer="fracture")]
    make_zip(tmp_path, rows)
    assert "row 3 (c1) error" in run("lint", "lecture.zip", "--name", "mine", "--publish")
    rows[1]["answer"] = "effusion"
    make_zip(tmp_path, rows)
    assert "Published as mine" in run("lint", "lecture.zip", "--name", "mine", "--publish")
    assert "3 questions" in run("packs")
    assert "3 notes" in run("export", "mine.apkg", "--pack", "mine")
    run("export", "mine.xml", "--pack", "mine")
    assert (tmp_path / "mine.xml").read_bytes().count(b"<question ") == 3
    run("export", "mine.csv", "--pack", "mine")
    assert run("stats", "--pack", "mine", "--json").startswith("[")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "nothing"), "There is no reader for 'nothing'"),
        (("import", "slake"), "--path DIR"),
        (("import-log", "missing.jsonl"), "is not a file"),
        (("export", "x.doc"), ".apkg, .xml or .csv"),
        (("practise", "--pack", "nothing"), "There is no pack 'nothing'"),
        (("practise", "--learner", "a b"), "A learner's name"),
        (("exam", "soon"), "Write the date as YYYY-MM-DD"),
        (("exam", "2001-01-01"), "on a day to come"),
        (("blank", "nothing"), "There is no pack 'nothing'"),
    ],
)
def test_what_goes_wrong_is_one_line(run, arguments, words: str):
    assert words in run(*arguments, status=1)
