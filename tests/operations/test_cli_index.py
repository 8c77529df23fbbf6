"""`medvint index` as a person types it, in this process: real index, real figures."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assistant.cli import app
from tests.own_figures import CAPTIONS, EXAMPLES, LEFT_OUT, make_folder, make_zip

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    "corpora",
    "build",
    "rebuild",
    "stats",
    "verify",
    "delete",
    "search",
    "export",
    "import",
    "convert-embedder",
]


def run(*arguments: object, data_dir: Path | None = None, status: int = 0):
    environment = {"MEDVINT_DATA_DIR": str(data_dir)} if data_dir else {}
    result = CliRunner().invoke(app, ["index", *map(str, arguments)], env={"COLUMNS": "160", **environment})
    assert result.exit_code == status, result.output
    return result


def told(*arguments: object, **values):
    return json.loads(run(*arguments, "--json", **values).stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command):
    assert f"medvint index {command}" in run(command, "--help").stdout


def test_the_corpora_are_listed():
    names = [corpus["name"] for corpus in told("corpora")]
    assert {"sample", "roco", "own"} <= set(names)
    assert all(name in run("corpora").stdout for name in names)


def test_an_index_from_building_to_deleting(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    lecture = make_zip(tmp_path / "lecture.zip")
    report = told("build", "own", "--path", lecture, data_dir=first)
    assert (report["added"], report["total"], sum(report["skipped"].values())) == (3, 3, LEFT_OUT)
    assert told("build", "own", "--path", lecture, data_dir=first)["already_there"] == 3

    assert told("stats", data_dir=first)["figures"] == 3
    assert "CC BY 4.0 3" in run("stats", data_dir=first).stdout
    assert run("verify", data_dir=first).stdout.strip() == "The index is whole."

    hit = told("search", "axial CT of the head", "--modality", "ct", data_dir=first)[0]
    assert hit["figure"]["caption"] == CAPTIONS["ct-head.png"]
    by_image = run("search", "--image", EXAMPLES / "mri-brain.png", "-k", 1, data_dir=first).stdout
    assert CAPTIONS["mri-brain.png"] in by_image and "CC BY 4.0" in by_image
    assert told("search", "head", "--year-to", 2000, data_dir=first) == []
    like = told("search", "--like", hit["figure"]["figure_id"], data_dir=first)
    assert hit["figure"]["figure_id"] not in [found["figure"]["figure_id"] for found in like]
    limited = told("search", "--like", hit["figure"]["figure_id"], "--modality", "MRI", data_dir=first)
    assert {found["figure"]["modality"] for found in limited} == {"MRI"}
    refused = run("search", "head", "--modality", "sonar", data_dir=first, status=1).stderr
    assert 'has the modality "sonar"; there are: CT, MRI' in refused

    file = tmp_path / "figures.tar"
    assert told("export", file, data_dir=first)["bytes"] > 0
    assert "exists already" in run("export", file, data_dir=first, status=1).stderr
    assert told("import", file, data_dir=second)["total"] == 3
    assert (
        told("search", "axial CT of the head", data_dir=second)[0]["figure"]["figure_id"] == hit["figure"]["figure_id"]
    )

    assert told("delete", "--figure", hit["figure"]["figure_id"], "--yes", data_dir=first) == {"deleted": 1}
    assert told("stats", data_dir=first)["figures"] == 2
    assert list((first / "corpora" / "own").iterdir())
    assert "2 figures deleted" in run("delete", "--corpus", "own", "--yes", data_dir=first).stdout
    assert not (first / "corpora" / "own").exists() and lecture.exists()


def test_damage_is_found(tmp_path):
    run("build", "own", "--path", make_folder(tmp_path / "figures", faults=False), data_dir=tmp_path)
    shard = next((tmp_path / "index" / "parquet").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    result = run("verify", data_dir=tmp_path, status=1)
    assert shard.name in result.stdout
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["delete"], "Say what to delete"),
        (["stats"], "medvint index build"),
        (["import", "nowhere.tar"], "nowhere.tar is not a file"),
        (["import", ROOT / "Makefile"], "Makefile"),
        (["convert-embedder", "nowhere.pt", "--out", "x"], "nowhere.pt does not exist"),
        (["search", "effusion", "--like", "own/x"], "neither words nor an image"),
        (["build", "own"], "needs a path"),
        (["build", "own", "--path", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_answered_in_words(arguments, words, tmp_path):
    result = run(*arguments, data_dir=tmp_path, status=1)
    assert words in result.stderr.replace("\n", " ")


def test_deleting_asks_first(tmp_path):
    result = CliRunner().invoke(app, ["index", "delete", "--corpus", "own"], input="n\n")
    assert result.exit_code == 1
    assert "loses all figures of own" in result.stderr


def test_an_unknown_corpus_is_wrong_usage_and_names_the_known():
    assert "sample" in run("build", "nonsense", status=2).stderr


@pytest.mark.slow
def test_ctrl_c_says_what_is_kept(tmp_path):
    environment = {**os.environ, "MEDVINT_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "assistant", "index", "build", "sample"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("embedding figures")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.strip().endswith("the same command goes on from there.")
    assert "Traceback" not in rest
