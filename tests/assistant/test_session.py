"""Stop and New chat while the real model is answering."""

import asyncio

import gradio as gr
import pytest

from assistant.chat import Assistant, Turn
from assistant.example_questions import read_examples
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.privacy_screen import PrivacyGate
from assistant.session import Session
from assistant.settings import Settings

LONG = {"text": "Write a long essay about the history of radiology, in as many words as you can."}
VISITOR = gr.Request(session_hash="visitor")


@pytest.fixture
def session(model_server, sample_index) -> Session:
    settings = Settings(data_dir=sample_index, model_url=model_server.url)
    with gr.Blocks():
        chatbot, gate = gr.Chatbot(), PrivacyGate()
    assistant = Assistant(ModelClient(settings), FigureSearch(settings), settings)
    return Session(assistant, settings, chatbot, gate, read_examples(None))


async def until_it_speaks(updates) -> list[Turn]:
    async for *_, turns in updates:
        if turns and turns[-1].answer:
            return turns
    pytest.fail("the model said nothing")


async def test_the_stopped_answer_is_the_last_thing_on_the_screen(session):
    updates = session.ask(LONG, [], VISITOR)
    said = await until_it_speaks(updates)
    # What the server has already told while the button was pressed is waiting to be drawn.
    await asyncio.sleep(0.2)
    assert all(update == gr.skip() for update in session.stop(said, VISITOR))
    rest = [turns[-1] async for *_, turns in updates]
    assert [turn.stage for turn in rest] == [""]
    assert rest[0].notes[-1] == "stopped"
    assert rest[0].answer.startswith(said[-1].answer)


async def test_stop_ends_the_visitors_own_answer_only(session):
    mine, other = session.ask(LONG, [], VISITOR), session.ask(LONG, [], gr.Request(session_hash="other"))
    await asyncio.gather(until_it_speaks(mine), until_it_speaks(other))
    session.stop([], VISITOR)
    assert [turns[-1].notes[-1:] async for *_, turns in mine] == [("stopped",)]
    *_, turns = await anext(other)
    assert turns[-1].stage == "answering"
    await other.aclose()


async def test_a_new_chat_is_not_brought_back_by_the_answer_that_was_running(session):
    updates = session.ask(LONG, [], VISITOR)
    await until_it_speaks(updates)
    new_chat = asyncio.ensure_future(session.start_again(VISITOR))
    await asyncio.sleep(0)
    assert [turns async for *_, turns in updates] == [[]]
    # Gradio has yet to send the last update once more.
    await asyncio.sleep(0.1)
    assert not new_chat.done()
    session.shown([], VISITOR)
    assert (await new_chat)[-1] == []


async def test_a_question_is_taken_back_when_the_page_shows_the_end_of_its_answer(session):
    updates = session.ask(LONG, [], VISITOR)
    said = await until_it_speaks(updates)
    assert all(update == gr.skip() for update in await session.take_back(said, VISITOR))
    session.stop(said, VISITOR)
    *_, (*_, said) = [update async for update in updates]
    taken_back = asyncio.ensure_future(session.take_back(said, VISITOR))
    await asyncio.sleep(0.1)
    assert not taken_back.done()
    session.shown(said, VISITOR)
    *_, box, turns = await taken_back
    assert turns == [] and box["value"]["text"] == LONG["text"]


async def test_stop_with_nothing_running_unlocks_the_box(session):
    *_, box, turns = session.stop([Turn("What?", answer="Mass")], VISITOR)
    assert box["submit_btn"]
    assert len(turns) == 1


async def test_an_example_is_the_assistants_own_whatever_path_the_browser_names(session, tmp_path):
    file = tmp_path / "somebody-elses.png"
    file.write_bytes(read_examples(None)[1].image.read_bytes())
    value = {"text": "What is this?", "files": [{"path": str(file)}]}
    chosen = gr.SelectData(None, {"index": 0, "value": value})
    *_, (*_, turns) = [update async for update in session.ask_example(chosen, [], VISITOR)]
    assert turns[0].question == read_examples(None)[0].question
    assert file.exists()
