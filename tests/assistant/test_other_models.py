"""Models of other makers through `medvint serve` and the chat turn: random weights, real engine, their own templates.

python -m pytest -m slow tests/assistant/test_other_models.py      # all of them; each starts an engine
"""

import pytest
from PIL import Image

from assistant.chat import Assistant, Turn
from assistant.figure_search import FigureSearch
from assistant.model import ImageNotReadError, ModelClient
from assistant.served_model import MAX_IMAGES, OWN_TEMPLATE
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload
from tests.assistant.tiny_vision_models import CONTEXT, MAKERS
from tests.conftest import start

IMAGES = {"idefics3": MAX_IMAGES, "blip2": 1}
"""How many images each reads at once."""

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module", params=[*IMAGES])
def vision_model(request, tmp_path_factory, free_port):
    """The name, and the address of the server that has it."""
    yield from served(request.param, tmp_path_factory, free_port)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory, free_port):
    yield from served("mistral", tmp_path_factory, free_port)


def served(name, tmp_path_factory, free_port):
    state, port = tmp_path_factory.mktemp("state"), free_port()
    folder = MAKERS[name](state / name)
    settings = {"data_dir": state, "model": folder, "model_port": port}
    server = start("model", f"http://127.0.0.1:{port}", "/health", settings, state / "model.log")
    yield name, server.url
    server.stop()


@pytest.fixture
def assistant(request, tmp_path) -> Assistant:
    _, url = request.getfixturevalue("vision_model" if "vision_model" in request.fixturenames else "text_model")
    settings = Settings(data_dir=tmp_path, model_url=url, max_answer_tokens=24)
    return Assistant(ModelClient(settings), FigureSearch(settings), settings)


def picture(tmp_path, seed: int, size=(300, 200)) -> CleanImage:
    file = tmp_path / f"{seed}.png"
    Image.effect_noise(size, 20 + 60 * seed).save(file)
    return clean_upload(file.read_bytes(), file.name, UploadLimits())


async def last(assistant, question, image=None, history=()) -> Turn:
    return [turn async for turn in assistant.ask(question, image, history)][-1]


async def test_a_chat_about_images_with_another_makers_model(vision_model, assistant, tmp_path):
    name, _ = vision_model
    state = await assistant.model.state()
    assert (state.ready, state.name, state.is_demo) == (True, name, False)
    assert (state.served.context, state.served.max_images, state.served.prompt) == (CONTEXT, IMAGES[name], OWN_TEMPLATE)

    first = await last(assistant, "Which organ is shown?", picture(tmp_path, 0))
    assert (first.model, first.prompt, first.stage) == (name, OWN_TEMPLATE, "")
    # Random weights may end an answer at once: a probability shows that there was one.
    assert first.confidence
    other = await last(assistant, "Which organ is shown?", picture(tmp_path, 1))
    assert (other.answer, other.confidence) != (first.answer, first.confidence)

    follow_up = await last(assistant, "Which side?", None, [first])
    assert follow_up.confidence
    without_it = await last(assistant, "Which side?", None, [Turn(first.question, answer=first.answer)])
    assert (follow_up.answer, follow_up.confidence) != (without_it.answer, without_it.confidence)

    compared = await last(assistant, "Compare them.", picture(tmp_path, 1), [first])
    assert (compared.answer, compared.confidence) != (other.answer, other.confidence)
    assert not any("left out" in note for note in compared.notes)

    history = [first, *(Turn("Explain it at length. " * 5, answer="It is so. " * 8) for _ in range(12))]
    long = await last(assistant, "Which side?", None, history)
    assert long.confidence
    assert any("exchanges were left out" in note for note in long.notes)

    large = await last(assistant, "What is it?", picture(tmp_path, 2, (2400, 1800)))
    assert large.confidence


async def test_a_model_that_reads_text_only_says_so(text_model, assistant, tmp_path):
    with pytest.raises(ImageNotReadError, match="mistral reads text only"):
        await last(assistant, "Which organ is shown?", picture(tmp_path, 0))
    past = Turn("Which organ is shown?", (picture(tmp_path, 0),), answer="The liver.")
    turn = await last(assistant, "What does it do?", None, [past])
    assert turn.confidence
    assert any("did not see the image" in note for note in turn.notes)
