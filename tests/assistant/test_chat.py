"""The chat turn on a real engine and a real index; what needs neither runs without."""

import asyncio
import base64
import io
import re
from contextlib import aclosing
from itertools import pairwise

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from PIL import Image

from assistant.chat import Assistant, EmptyQuestionError, QuestionTooLongError, Turn
from assistant.confidence import Confidence
from assistant.conversation import EXCHANGES_WITH_IMAGE, MEDVINT, belonging, fit, messages_of
from assistant.example_questions import read_examples
from assistant.figure_search import FigureSearch
from assistant.model import (
    ConversationTooLongError,
    ModelClient,
    ModelNotReadyError,
    ModelRefusedError,
    ModelState,
    ModelTimeoutError,
)
from assistant.served_model import ServedModel
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload
from retrieval.figures import Figure, Hit


def make_image(grey: int = 90) -> CleanImage:
    buffer = io.BytesIO()
    Image.new("L", (9, 9), grey).save(buffer, "PNG")
    return clean_upload(buffer.getvalue(), "", UploadLimits())


IMAGE = make_image()
OTHER_IMAGE = make_image(200)


def make_assistant(**values) -> Assistant:
    settings = Settings(**values)
    return Assistant(ModelClient(settings), FigureSearch(settings), settings)


async def all_turns(assistant: Assistant, question: str, image: CleanImage | None = None, history=()) -> list[Turn]:
    return [turn async for turn in assistant.ask(question, image, history)]


def conversation(turn: Turn, history, served: ServedModel = MEDVINT):
    return messages_of(belonging([*history, turn], served))


def images_in(messages) -> list[int]:
    return [number for number, message in enumerate(messages) if not isinstance(message.content, str)]


def test_the_image_goes_with_its_question():
    history = [Turn("Which organ?", (IMAGE,), answer="Liver")]
    messages = conversation(Turn("Which side?"), history)
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, HumanMessage]
    assert images_in(messages) == [0]


def test_the_image_stays_when_its_question_is_out_of_reach():
    history = [Turn("first", (IMAGE,), answer="a"), *(Turn(f"q{number}", answer="a") for number in range(6))]
    messages = conversation(Turn("last"), history)
    assert len(messages) == 2 * EXCHANGES_WITH_IMAGE + 1
    assert images_in(messages) == [0]


def test_a_new_image_leaves_the_old_conversation_behind():
    messages = conversation(Turn("And this?", (OTHER_IMAGE,)), [Turn("Which organ?", (IMAGE,), answer="Liver")])
    assert len(messages) == 1
    assert images_in(messages) == [0]


def test_an_image_whose_question_was_stopped_is_not_lost():
    messages = conversation(Turn("Again?"), [Turn("Which organ?", (IMAGE,), answer="")])
    assert len(messages) == 1
    assert images_in(messages) == [0]


def test_words_alone_stay_words():
    messages = conversation(Turn("And on CT?"), [Turn("What is a pneumothorax?", answer="Air.")])
    assert [message.content for message in messages] == ["What is a pneumothorax?", "Air.", "And on CT?"]


READS_TWO = ServedModel("m", "m", context=1000, max_images=2, counts=True)
READS_TEXT = ServedModel("m", "m", context=1000, max_images=0, counts=True)


async def bytes_and_pixels(messages) -> int:
    """A count as a server gives it: a token for a byte of text, and one for 16 x 16 pixels."""
    pixels = 0
    for message in messages:
        for part in message.content if isinstance(message.content, list) else ():
            if part["type"] == "image":
                width, height = Image.open(io.BytesIO(base64.b64decode(part["base64"]))).size
                pixels += width * height
    return sum(len(message.text) for message in messages) + pixels // 256


def test_another_model_gets_more_than_three_exchanges_and_an_image_with_each_question():
    history = [Turn("Which organ?", (IMAGE,), answer="Liver"), *(Turn(f"q{n}", answer="a") for n in range(6))]
    messages = conversation(Turn("Compare.", (OTHER_IMAGE,)), history, READS_TWO)
    assert len(messages) == 15
    assert images_in(messages) == [0, 14]


def test_an_image_beyond_the_limit_takes_its_conversation_with_it():
    history = [Turn(f"image {n}", (make_image(n),), answer="a") for n in range(4)]
    messages = conversation(Turn("Compare."), history, READS_TWO)
    assert [message.text for message in messages] == ["image 2", "a", "image 3", "a", "Compare."]
    assert images_in(messages) == [0, 2]


async def test_a_model_that_reads_text_is_asked_without_the_older_image_and_that_is_said():
    history = [Turn("Which organ?", (IMAGE,), answer="Liver")]
    fitted = await fit([*history, Turn("Its function?")], [], READS_TEXT, bytes_and_pixels, 100)
    assert len(fitted.messages) == 3
    assert not images_in(fitted.messages)
    assert "did not see the image" in fitted.notes[0]


async def test_the_oldest_exchanges_give_way_to_the_models_context_and_the_image_stays():
    history = [Turn("x" * 100, (IMAGE,), answer="y" * 100), *(Turn("x" * 100, answer="y" * 100) for n in range(9))]
    fitted = await fit([*history, Turn("Which side?")], [], READS_TWO, bytes_and_pixels, 256)
    assert 600 < await bytes_and_pixels(fitted.messages) <= READS_TWO.context - 256
    assert images_in(fitted.messages) == [0]
    assert fitted.messages[-1].text == "Which side?"
    assert "first 7 exchanges were left out" in fitted.notes[0]


async def test_an_image_that_would_fill_the_context_is_made_smaller_before_words_are_dropped():
    buffer = io.BytesIO()
    Image.effect_noise((1200, 900), 80).save(buffer, "PNG")
    large = clean_upload(buffer.getvalue(), "", UploadLimits())
    history = [Turn("Which organ?", (large,), answer="Liver")]
    fitted = await fit([*history, Turn("Which side?")], [], READS_TWO, bytes_and_pixels, 256)
    assert len(fitted.messages) == 3
    assert 300 < await bytes_and_pixels(fitted.messages) <= 744
    assert "pixels" in fitted.notes[0]


async def test_the_least_similar_captions_give_way_last():
    hits = [Hit(Figure(f"P/{n}", "P", "g", "", f"<{n}>" * 60, "CC BY", "", "t"), 0.5, n, ()) for n in range(5)]
    fitted = await fit([Turn("a", answer="b"), Turn("Which side?")], hits, READS_TEXT, bytes_and_pixels, 256)
    assert len(fitted.messages) == 1
    assert "<0>" in fitted.messages[0].text
    assert "<4>" not in fitted.messages[0].text


async def test_a_proxy_for_the_internet_is_not_asked_for_the_model_on_this_machine(tmp_path, free_port, monkeypatch):
    asked = []

    async def proxy(reader, writer):
        asked.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, address)
    here = make_assistant(data_dir=tmp_path, model_port=free_port())
    with pytest.raises(ModelNotReadyError):
        await all_turns(here, "What is a pneumothorax?")
    # The request for an answer has its own connections.
    here.model._state = ModelState(True, "m", False, READS_TEXT)
    with pytest.raises(ModelNotReadyError):
        await anext(here.model.stream([HumanMessage("What is a pneumothorax?")]))
    assert not asked
    elsewhere = make_assistant(data_dir=tmp_path, model_url="http://model.invalid:8000")
    with pytest.raises(ModelNotReadyError):
        await all_turns(elsewhere, "What is a pneumothorax?")
    assert asked
    server.close()


@pytest.mark.parametrize(
    "logprobs, words",
    [([-0.1, -0.1], "likely (82 %)"), ([-0.5], "possible (61 %)"), ([-2.0], "unsure (14 %)"), ([], None)],
)
def test_confidence_is_in_words_first(logprobs, words):
    confidence = Confidence.of(logprobs)
    assert (confidence.words() if confidence else None) == words


def test_a_long_answer_is_not_called_likely():
    assert "does not make it right" in Confidence.of([-0.01] * 100).words()


@pytest.mark.parametrize(
    "question, error", [("", EmptyQuestionError), (" \n", EmptyQuestionError), ("x" * 3000, QuestionTooLongError)]
)
async def test_what_cannot_be_asked(question, error, tmp_path):
    with pytest.raises(error):
        await all_turns(make_assistant(data_dir=tmp_path), question)


async def test_no_model_is_said_and_the_figures_problem_too(tmp_path, free_port):
    assistant = make_assistant(data_dir=tmp_path, model_port=free_port())
    seen = []
    with pytest.raises(ModelNotReadyError):
        async for turn in assistant.ask("What is a pneumothorax?"):
            seen.append(turn)
    assert "No figures were searched" in seen[-1].notes[0]
    assert not (await assistant.model.state()).ready


async def test_a_server_that_stays_silent_is_given_up(tmp_path):
    # A listener that never answers is what a hanging model looks like from here.
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    assistant = make_assistant(data_dir=tmp_path, model_port=port, model_timeout_s=0.5)
    with pytest.raises(ModelTimeoutError, match="silent"):
        await all_turns(assistant, "What is a pneumothorax?")
    silent.close()


@pytest.fixture
def assistant(model_server, sample_index) -> Assistant:
    return make_assistant(data_dir=sample_index, model_url=model_server.url, max_answer_tokens=60)


async def test_an_image_and_a_question_give_a_grounded_answer(assistant):
    example = read_examples(None)[0]
    image = clean_upload(example.image.read_bytes(), example.image.name, UploadLimits())
    turns = await all_turns(assistant, example.question, image)
    last = turns[-1]
    assert last.answer
    assert last.stage == ""
    assert last.hits
    assert all(hit.figure.license and hit.figure.article_url for hit in last.hits)
    assert 0 < last.confidence.value <= 1
    assert {"search", "first_token", "total"} <= set(last.timings)
    assert last.support
    assert last.model == "demo"
    assert last.prompt.startswith("medvint_chat ")
    stages = list(dict.fromkeys(turn.stage for turn in turns))
    assert stages[0].startswith("searching")
    assert stages[1:] == ["looking at the image", "answering", ""]


async def test_the_server_tells_that_it_has_medvint(assistant, model_server, visual_tokens):
    served = await assistant.model.served()
    assert served == ServedModel("medvint", "demo", served.context, 1, "medvint_chat", visual_tokens, counts=True)
    assert served.context >= 2048
    assert (await assistant.model.state()).is_demo
    elsewhere = make_assistant(model_url=model_server.url, served_model_name="llava")
    with pytest.raises(ModelRefusedError, match="no model named llava"):
        await elsewhere.model.served()


async def test_the_answer_grows(assistant):
    answers = [turn.answer for turn in await all_turns(assistant, "What is a pneumothorax?")]
    grown = [answer for answer in answers if answer]
    assert len(grown) > 5
    assert all(later.startswith(earlier.rstrip()) for earlier, later in pairwise(grown))


async def test_the_image_changes_the_answers_probability(assistant):
    values = []
    for example in read_examples(None)[:3]:
        image = clean_upload(example.image.read_bytes(), "", UploadLimits())
        last = (await all_turns(assistant, "Which organ is abnormal?", image))[-1]
        values.append((last.answer, round(last.confidence.value, 4)))
    assert len(set(values)) > 1


async def test_a_follow_up_is_about_the_same_image(assistant):
    example = read_examples(None)[1]
    image = clean_upload(example.image.read_bytes(), "", UploadLimits())
    first = (await all_turns(assistant, "Which modality was used?", image))[-1]
    second = (await all_turns(assistant, "Which part of the body is shown?", None, [first]))[-1]
    assert second.answer
    assert any("image" in hit.found_by for hit in second.hits)


async def test_stopping_stops_the_server(model_server, sample_index):
    assistant = make_assistant(data_dir=sample_index, model_url=model_server.url, max_answer_tokens=1000)
    async with aclosing(assistant.ask("Explain at length what a pneumothorax is and how it is treated.")) as turns:
        async for turn in turns:
            if turn.answer:
                break
    async with httpx.AsyncClient() as client:
        for _ in range(100):
            metrics = (await client.get(f"{model_server.url}/metrics")).text
            running = re.search(r"^vllm:num_requests_running\{.*\} ([\d.]+)$", metrics, re.MULTILINE)
            if running and float(running[1]) == 0:
                return
            await asyncio.sleep(0.1)
    pytest.fail("the server still works on a request that nobody reads")


async def test_a_conversation_longer_than_the_model_reads(model_server, sample_index):
    assistant = make_assistant(data_dir=sample_index, model_url=model_server.url, max_question_chars=10**6)
    with pytest.raises(ConversationTooLongError, match="new chat"):
        await all_turns(assistant, "pneumothorax " * 20_000)


async def test_two_at_once_do_not_mix(assistant):
    files = [example.image for example in read_examples(None) if example.image.stem in ("ct-head", "mri-brain")]
    images = [clean_upload(file.read_bytes(), "", UploadLimits()) for file in files]
    question = "What modality is used to take this image?"
    alone = [(await all_turns(assistant, question, image))[-1].answer for image in images]
    assert len(set(alone)) == 2, alone
    together = await asyncio.gather(*(all_turns(assistant, question, image) for image in images))
    assert [turns[-1].answer for turns in together] == alone
