"""A MedVInT-TE through the product: its server, the chat turn, `medvint ask` and `medvint evaluate` with controls."""

import csv
import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner

from assistant.chat import Assistant, Turn
from assistant.cli import app as cli
from assistant.commands.asking import GivenFigures
from assistant.model import ImageNeededError, ModelClient
from assistant.served_model import ANSWERS_ALONE, MEDVINT_TE_PROMPT
from assistant.settings import Settings
from assistant.uploads import UploadLimits, clean_upload
from serving.choices import choice_question
from serving.evaluation.controls import CONTROLS
from serving.medvint_te.server import Batches, Question, RefusedError, Said, build_app, split_choices
from serving.server import model_command
from tests.serving.te_models import save, tiny
from tests.serving.test_choices import data_uri
from tests.serving.variants import pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tiny(), tmp_path_factory.mktemp("models") / "te-small")


@pytest.fixture(scope="module")
def url(folder, free_port) -> Iterator[str]:
    """A running server, in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(build_app(tiny(), str(folder)), port=free_port(), log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.config.port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def assistant(url, tmp_path) -> Assistant:
    settings = Settings(data_dir=tmp_path, model_url=url)
    return Assistant(ModelClient(settings), GivenFigures(settings), settings)


@pytest.fixture
def image(tmp_path):
    pictures()[0].save(tmp_path / "0.png")
    return clean_upload((tmp_path / "0.png").read_bytes(), "0.png", UploadLimits())


async def last(assistant, question, image=None, history=()) -> Turn:
    return [turn async for turn in assistant.ask(question, image, history)][-1]


def request(text, *images, **more):
    parts = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}], **more}


async def test_a_chat_turn_and_what_it_cannot_do(assistant, image):
    state = await assistant.model.state()
    assert (state.ready, state.name, state.is_demo) == (True, "te-small", False)
    assert state.note == ANSWERS_ALONE
    assert (state.served.max_images, state.served.prompt) == (1, MEDVINT_TE_PROMPT)

    first = await last(assistant, "Which plane is this?", image)
    assert first.answer and first.confidence.of_whole_answer
    assert first.prompt.startswith("blank")
    follow_up = await last(assistant, "Which plane is this?", None, [first])
    assert (follow_up.answer, follow_up.confidence) == (first.answer, first.confidence)
    assert any("reads each question alone" in note for note in follow_up.notes)
    with pytest.raises(ImageNeededError):
        await last(assistant, "What is a pneumothorax?")


def test_ask_and_evaluate_with_all_controls(url, tmp_path, monkeypatch):
    for name, value in {"MEDVINT_MODEL_URL": url, "MEDVINT_DATA_DIR": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)
    rows = [["image", "question", "answer"]]
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number}.png")
        rows += [[f"{number}.png", "Is it a lung?", "yes"], [f"{number}.png", "Which plane is this?", "axial"]]
    with (tmp_path / "test.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    asked = CliRunner().invoke(cli, ["ask", str(tmp_path / "0.png"), "Which plane is this?", "--json"])
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout)["model"] == "te-small"
    told = CliRunner().invoke(cli, ["evaluate", "own", "--data", str(tmp_path / "test.csv"), "--json"])
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout)
    assert report["n"] == 4
    assert set(report["controls"]) | set(report["controls_not_run"]) == set(CONTROLS)
    assert {"blank", "other-image", "shuffled"} <= set(report["controls"])


def test_choices_are_answered_by_one_of_them(url):
    question = choice_question("Which plane is this?", ["Axial", "Coronal", "Sagittal"])
    assert split_choices(question) == ("Which plane is this?", ("Axial", "Coronal", "Sagittal"))
    assert split_choices("Choices: B:x  A:y ") == ("Choices: B:x  A:y ", ())
    body = request(question, data_uri(pictures()[0]), logprobs=True)
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).raise_for_status().json()["choices"][0]
    assert answer["message"]["content"] in {"A:Axial", "B:Coronal", "C:Sagittal"}
    assert len(answer["logprobs"]["content"]) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (request("x"), "none was given"),
        (request("x", "data:image/png;base64,AAAA"), "could not be read"),
        (request("x", "http://127.0.0.1:1/x.png"), "data URIs"),
        (request("x", "data:image/png;base64,%%%"), "base64"),
        (request("lung " * 600, data_uri(pictures()[0])), "context length"),
        (request("x", *[data_uri(pictures()[0])] * 2), "At most 1 image"),
        ({"messages": []}, "OpenAI"),
    ],
)
def test_what_cannot_be_answered_is_refused(body, says, url):
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert httpx.get(f"{url}/health").status_code == 200


def test_an_image_is_looked_at_once_for_all_its_questions(tmp_path):
    answerer = tiny()
    looked = []
    answerer.model.vision_tower.register_forward_hook(lambda *_: looked.append(1))
    pictures()[0].save(tmp_path / "0.png")
    content = (tmp_path / "0.png").read_bytes()
    batches = Batches(answerer)
    asked = [Question("Why?", content), Question("Which?", content, ("a", "b")), Question("x", b"no image")]
    first, second, refused = batches.answers(asked)
    assert isinstance(first, Said) and isinstance(second, Said) and isinstance(refused, RefusedError)
    assert batches.answers(asked[:1])[0] == first
    assert len(looked) == 1


def test_the_server_is_chosen_by_the_folder(folder, tmp_path):
    assert "serving.medvint_te.server" in model_command(folder)
    assert "vllm.entrypoints.openai.api_server" in model_command(tmp_path)
    shown = CliRunner().invoke(cli, ["serve", "--model", str(folder), "--show"])
    assert "serving.medvint_te.server" in shown.stdout
