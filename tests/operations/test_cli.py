import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    "up",
    "ask",
    "index build",
    "index corpora",
    "index rebuild",
    "index search",
    "convert",
    "serve",
    "web",
    "train",
    "evaluate",
]


def run(*arguments, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-m", "assistant", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160", **environment},
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command):
    result = run(*command.split(), "--help")
    assert result.returncode == 0
    assert f"medvint {command}" in result.stdout or "medvint up" in result.stdout


def test_the_command_and_the_module_are_the_same(medvint):
    command = subprocess.run([medvint, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    module = run("--help", COLUMNS="80")
    assert command.stdout.split() == module.stdout.split()
    assert {name.split()[0] for name in COMMANDS} <= set(command.stdout.split())


def test_help_loads_no_heavy_library():
    code = (
        "import sys; from assistant.cli import app\n"
        "print([name for name in ('torch', 'transformers', 'gradio', 'chromadb', 'vllm', 'httpx') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask", "nowhere.png", "What is this?"], "nowhere.png is not a file"),
        (["ask", "README.md"], "Give a question too"),
        (["ask", "a", "b", "c"], "in quotes"),
        (["index", "build", "own"], "needs a path"),
        (["index", "search"], "Give words, an image, or both"),
        (["index", "search", "--image", "nowhere.png"], "nowhere.png is not a file"),
        (["index", "search", "--image", "Makefile"], "is not an image"),
        (["convert", "nowhere.bin", "--llm", "nowhere", "--out", "x"], "nowhere.bin does not exist"),
        (["convert", "README.md", "--llm", "serving", "--out", "serving"], "exists already"),
        (["serve", "--model", "./nowhere"], "is not a folder"),
        (["serve"], "not assembled yet"),
        (["train", "tower", "--data", "nowhere", "--out", "x"], "nowhere does not exist"),
        (["evaluate", "slake", "--data", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_answered_in_words(arguments, words, tmp_path):
    result = run(*arguments, MEDVINT_DATA_DIR=str(tmp_path))
    assert result.returncode == 1
    assert words in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr + result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["up", "--port", "99999"],
        ["train", "nonsense"],
        ["index", "build", "nonsense"],
        ["serve", "--dtype", "int3"],
    ],
)
def test_wrong_usage_has_its_own_status(arguments):
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_wrong_setting_is_named():
    result = run("serve", MEDVINT_PORT="many")
    assert result.returncode == 1
    assert "port" in result.stderr and "Traceback" not in result.stderr


def test_ask_without_a_model_says_how_to_get_one(tmp_path, free_port):
    result = run(
        "ask", ROOT / "assistant/examples/retina.png", "What is this?",
        MEDVINT_DATA_DIR=str(tmp_path), MEDVINT_MODEL_PORT=str(free_port()),
    )  # fmt: skip
    assert result.returncode == 1
    assert "medvint serve" in result.stderr and "MEDVINT_MODEL_URL" in result.stderr


def test_ask_about_an_image_that_may_name_somebody_says_where_and_the_ways_on(tmp_path, free_port):
    with Image.open(ROOT / "assistant/examples/mri-brain.png") as film:
        named = film.convert("RGB")
    ImageDraw.Draw(named).text((10, 10), "DOE^JANE 1954", fill="white", font=ImageFont.load_default(20))
    named.save(tmp_path / "named.png")
    where = {"MEDVINT_DATA_DIR": str(tmp_path), "MEDVINT_MODEL_PORT": str(free_port())}
    refused = run("ask", tmp_path / "named.png", "What is this?", **where)
    assert refused.returncode == 1
    assert "--redact" in refused.stderr and "--confirm-identity" in refused.stderr
    assert " to " in refused.stderr.splitlines()[-1] and "DOE" not in refused.stderr
    assert "medvint serve" in run("ask", tmp_path / "named.png", "What is this?", "--redact", **where).stderr


def test_search_without_an_index_names_the_command(tmp_path):
    result = run("index", "search", "pneumothorax", MEDVINT_DATA_DIR=str(tmp_path))
    assert result.returncode == 1
    assert "medvint index build" in result.stderr and "Traceback" not in result.stderr


def test_search_finds_by_words_and_by_image(sample_index):
    where = {"MEDVINT_DATA_DIR": str(sample_index)}
    words = run("index", "search", "brain tumour on MRI", "-k", 3, **where)
    assert words.returncode == 0, words.stderr
    assert "CC" in words.stdout and "https://" in words.stdout and "described by us" in words.stdout
    found = json.loads(
        run("index", "search", "--image", ROOT / "assistant/examples/mri-brain.png", "-k", 4, "--json", **where).stdout
    )
    assert all(hit["found_by"] == ["image"] and hit["figure"]["license"] for hit in found)
    assert [hit["rank"] for hit in found] == list(range(1, len(found) + 1))


def test_search_that_finds_nothing_says_so(sample_index):
    result = run("index", "search", "quarterly earnings of a shipping company", MEDVINT_DATA_DIR=str(sample_index))
    assert result.returncode == 0
    assert result.stdout.strip() == "Nothing similar is in the index."


def test_building_again_adds_nothing(sample_index):
    report = json.loads(run("index", "build", "sample", "--json", MEDVINT_DATA_DIR=str(sample_index)).stdout)
    assert report["added"] == 0 and report["already_there"] == report["total"] >= 300


def test_ask_prints_answer_and_sources(model_server, sample_index):
    where = {"MEDVINT_DATA_DIR": str(sample_index), "MEDVINT_MODEL_PORT": model_server.url.rsplit(":", 1)[1]}
    image = ROOT / "assistant/examples/mri-brain.png"
    words = run("ask", image, "Which organ is shown?", **where)
    assert words.returncode == 0, words.stderr
    assert "Similar figures" in words.stdout and "not for diagnosis" in words.stdout
    turn = json.loads(run("ask", image, "Which organ is shown?", "--json", **where).stdout)
    assert turn["answer"] and turn["model"] and turn["timings"]["total"] > 0
