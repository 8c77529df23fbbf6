"""What is read of an evaluation: the report's page, the leaderboard, the commands."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from assistant.cli import app
from assistant.commands.evaluate import Control
from serving.evaluation.answers import Answered
from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.controls import CONTROLS, Caption
from serving.evaluation.leaderboard import COLUMNS, line, write_leaderboard
from serving.evaluation.page import write_page
from serving.evaluation.report import SCHEMA, ReportError, make_report, write_scores

HOSTILE = '<script>document.title = "taken"</script><img src=x onerror="document.title=1">'


def make(folder, *, model="demo", controls=tuple(CONTROLS), hostile="", calibrated=False):
    """A report of 120 questions about 40 images, half of them right, with everything that a run writes."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(120):
        image = folder / f"{number // 3}.png"
        Image.new("RGB", (20, 10), (number, 0, 0)).save(image)
        kind = "Organ" if number % 2 else "Plane"
        rows.append(VqaRow(f"q{number}", "own", image, f"Which {number}? {hostile}", "lung", False, kind, "CT"))
    asked = ["image", *controls]
    done = {
        (row.question_id, name): Answered("lung" if number % 2 and name == "image" else f"liver {hostile}", 0.95)
        for number, row in enumerate(rows)
        for name in asked
    }
    captions = {(row.question_id, "captions"): [Caption("PMC1/a", "PMC1", f"A lung. {hostile}")] for row in rows}
    not_run = {name: "left out by --controls" for name in CONTROLS if name not in controls}
    report = {
        "schema": SCHEMA, "benchmark": "own", "file": "cases.csv", "split": "test", "model": {"model": model},
        "instruction": "", "command": "medvint evaluate own", "versions": {}, "hashes": {"data": "d", "answers": "a"},
        **make_report(rows, rows, done, captions, not_run, None),
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))
    write_scores(folder / "scores.jsonl", rows, done)
    write_page(report, {"/".join(row.image_path.parts[-2:]): row.image_path for row in rows}, folder / "report.html")
    return report


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_a_page_needs_nothing_else_and_runs_nothing_that_a_data_set_wrote(tmp_path):
    make(tmp_path / "run", model=HOSTILE, hostile=HOSTILE)
    page = Elements((tmp_path / "run" / "report.html").read_text())
    assert len(page.of("script")) == 1, "the filter, and nothing of the data's"
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.of("img"))
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert not page.of("link") and not page.of("iframe")
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv"))
    assert "default-src 'none'" in policy
    write_leaderboard([tmp_path / "run"], tmp_path / "board.html")
    board = Elements((tmp_path / "board.html").read_text())
    assert not board.of("script") and not board.of("img")


def test_the_worst_errors_are_those_of_which_it_was_surest(tmp_path):
    report = make(tmp_path / "run")
    assert len(report["worst"]) == 60
    worst = report["worst"][0]
    assert worst["answers"]["image"] == {"answer": "liver ", "probability": 0.95}
    assert set(worst["answers"]) == {"image", *CONTROLS}
    assert worst["captions"] == ["A lung. "]
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count('<article class="error"') == 60
    assert page.count("<svg") == 3
    assert "looks at the image: 50.0 points" in page


def test_the_errors_can_be_filtered(tmp_path, browser_page):
    report = make(tmp_path / "run", hostile=HOSTILE)
    plane = sum(one["content_type"] == "Plane" for one in report["worst"])
    browser_page.goto((tmp_path / "run" / "report.html").as_uri())
    assert browser_page.title() == "demo on own"
    assert browser_page.locator(".error:visible").count() == 60
    browser_page.locator("#words").fill("Which 10?")
    assert browser_page.locator(".error:visible").count() == 1
    assert browser_page.locator("#count").inner_text() == "1 shown"
    browser_page.locator("#words").fill("")
    browser_page.get_by_label("Type").select_option("Plane")
    assert browser_page.locator(".error:visible").count() == plane


def test_a_leaderboard_shows_controls_and_marks_what_lacks_them(tmp_path):
    make(tmp_path / "whole", model="looks")
    make(tmp_path / "bare", model="unknown", controls=())
    out = tmp_path / "board.md"
    assert write_leaderboard([tmp_path / "whole", tmp_path / "bare" / "report.json"], out) == 2 + 8
    lines = out.read_text().splitlines()
    names = [name.strip() for name in lines[0].strip("|").split("|")]
    assert tuple(names) == COLUMNS
    rows = {
        line.split("|")[1].strip(): dict(zip(names, map(str.strip, line.strip("|").split("|")), strict=True))
        for line in lines[2:]
    }
    assert rows["looks"]["accuracy"].startswith("50.0 (")
    assert rows["looks"]["blank"].startswith("50.0 (")
    assert (rows["looks"]["n"], rows["looks"]["question only"]) == ("120", "100.0")
    assert float(rows["looks"]["ECE raw"]) == pytest.approx(0.45)
    assert float(rows["looks"]["ECE calibrated"]) < 0.2
    assert "without controls" not in rows["looks"]["protocol"]
    assert rows["unknown"]["blank"] == "not run"
    assert "without controls" in rows["unknown"]["protocol"]
    paper = [line for line in lines if "test_clean.csv" in line and "pmc-vqa-choice" in line]
    assert "| 2,000 |" in paper[0] and "40.3" in paper[0] and "quoted: arXiv 2305.10415" in paper[0]


def test_a_leaderboards_page_marks_rows_too(tmp_path):
    make(tmp_path / "bare", controls=())
    write_leaderboard([tmp_path / "bare"], tmp_path / "board.html")
    page = (tmp_path / "board.html").read_text()
    assert re.search(r'<td>demo <span class="mark">without controls</span></td>', page)
    assert page.count('<span class="mark">quoted</span></td>') == 8


def test_a_models_name_cannot_break_the_table():
    row = line({**json.loads('{"benchmark": "own", "file": "a", "split": "b", "n": 1, "instruction": "", "controls": {}}'),
                "failures": {"image": 0}, "model": {"model": "a|b\nc"}})  # fmt: skip
    assert row.startswith("| a\\|b c |") and "\n" not in row


@pytest.mark.parametrize("text", ["{", "[]", '{"benchmark": "slake", "n": 1}'])
def test_what_is_no_report_is_named(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ReportError, match=r"report\.json"):
        write_leaderboard([tmp_path], tmp_path / "board.html")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_commands_compare_and_build_a_leaderboard(tmp_path):
    make(tmp_path / "a")
    make(tmp_path / "b")
    compared = invoke("evaluate", "compare", tmp_path / "a", tmp_path / "b", "--json")
    assert json.loads(compared.stdout)["flips"]["mcnemar_p"] == 1
    built = invoke("leaderboard", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "page.html")
    assert (built.exit_code, (tmp_path / "page.html").is_file()) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["evaluate", "nonsense", "--data", "."], 2, "No such command"),
        (["evaluate", "slake", "--data", "nowhere"], 1, "nowhere does not exist"),
        (["evaluate", "own", "--data", ".", "--calibration", "nowhere"], 1, "nowhere is not a folder"),
        (["evaluate", "compare", "nowhere", "nowhere"], 1, "no report at nowhere"),
        (["leaderboard", "nowhere", "--out", "x.html"], 1, "no report at nowhere"),
        (["leaderboard", ".", "--out", "nowhere/x.html"], 1, "nowhere is not a folder"),
    ],
)
def test_mistakes_are_answered_in_words(arguments, status, words):
    result = invoke(*arguments)
    assert result.exit_code == status
    assert words in result.output


def test_the_command_knows_every_control():
    assert {control.value for control in Control} == {"none", *CONTROLS}


@pytest.mark.engine
def test_the_whole_way_through_the_real_model(model_server, sample_index, tmp_path, monkeypatch):
    examples = Path(__file__).resolve().parents[2] / "assistant" / "examples"
    lines = ["image,question,answer,choices", f"{examples}/mri-brain.png,Is this an MRI?,yes,"]
    lines += [f"{examples}/ct-head.png,Which organ is shown?,brain,brain|liver"]
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    monkeypatch.setenv("MEDVINT_MODEL_PORT", model_server.url.rsplit(":", 1)[1])
    monkeypatch.setenv("MEDVINT_DATA_DIR", str(sample_index))
    arguments = ["evaluate", "own", "--data", tmp_path / "cases.csv", "--out", tmp_path / "out", "--json"]
    # In a thread of its own: the browser's tests leave an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(invoke, *arguments).result()
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["model"] == "demo" and len(report["model"]["weights"]) == 64
    assert set(report["controls"]) == set(CONTROLS)
    assert report["controls"]["captions"]["with_captions"] > 0
    assert report["calibration"]["n"] + report["calibration"]["without_probability"] == 2
