"""The chat turn on a real engine and a real index; what needs neither runs without."""

import asyncio
import io
import re
from contextlib import aclosing
from itertools import pairwise

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from PIL import Image

from assistant.chat import (
    EXCHANGES_WITH_IMAGE,
    Assistant,
    EmptyQuestionError,
    QuestionTooLongError,
    Turn,
    conversation,
)
from assistant.confidence import Confidence
from assistant.example_questions import read_examples
from assistant.figure_search import FigureSearch
from assistant.model import ConversationTooLongError, ModelClient, ModelNotReadyError, ModelTimeoutError
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload


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
    return make_assistant(data_dir=sample_index, model_url=model_server.url)


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


async def test_stopping_stops_the_server(assistant, model_server):
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
    questions = ["What is a pneumothorax?", "What is the liver?"]
    alone = [(await all_turns(assistant, question))[-1] for question in questions]
    together = await asyncio.gather(*(all_turns(assistant, question) for question in questions))
    assert [turns[-1].question for turns in together] == [turn.question for turn in alone]
    assert all(turns[-1].answer for turns in together)
