"""An image with a name in it at every way in: nothing is kept or reaches the model before somebody has decided."""

import base64
from pathlib import Path

import gradio as gr
import httpx
import openai
import pytest
from mcp import Client
from PIL import ImageFont

from assistant.chat import Assistant, Turn
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.openai_api import MODEL_ID
from assistant.privacy_screen import PrivacyGate
from assistant.session import Session
from assistant.settings import Settings
from assistant.uploads import UploadLimits, clean_upload
from assistant.uploads_measure import with_name
from assistant.uploads_privacy import inspect

EXAMPLE = Path(__file__).parents[2] / "assistant" / "examples" / "mri-brain.png"
QUESTION = "Which organ is shown in the image?"
VISITOR = gr.Request(session_hash="visitor")


@pytest.fixture(scope="module")
def named() -> bytes:
    """A brain with a patient's name over it, as PNG."""
    film = clean_upload(EXAMPLE.read_bytes(), EXAMPLE.name, UploadLimits())
    return with_name(film, "DOE^JANE 12.03.1954", ImageFont.load_default(18), 200, False)[0].data


@pytest.fixture
def gate() -> PrivacyGate:
    with gr.Blocks():
        return PrivacyGate()


@pytest.fixture
def session(model_server, sample_index, gate) -> Session:
    settings = Settings(data_dir=sample_index, model_url=model_server.url, max_answer_tokens=8)
    with gr.Blocks():
        chatbot = gr.Chatbot()
    return Session(Assistant(ModelClient(settings), FigureSearch(settings), settings), settings, chatbot, gate)


async def ask(session: Session, data: bytes, folder: Path) -> list[Turn]:
    file = folder / "named.png"
    file.write_bytes(data)
    updates = [update async for update in session.ask({"text": QUESTION, "files": [str(file)]}, [], VISITOR)]
    assert not file.exists()
    *_, turns = updates[-1]
    return turns


def cached(session: Session) -> set[Path]:
    return {path for path in Path(session._cache).rglob("*") if path.is_file()}


async def test_the_turn_waits_and_goes_on_with_the_name_blacked_out(session, gate, named, tmp_path):
    kept = cached(session)
    assert await ask(session, named, tmp_path) == []
    assert gate.is_holding("visitor")
    assert cached(session) == kept
    column, told, places, *_ = gate.show(VISITOR)
    assert column["visible"]
    assert QUESTION in told
    assert "DOE" not in told
    assert "data:image/jpeg;base64" in told
    assert 'viewBox="0 0 394 466"' in told
    *_, (*_, turns) = [update async for update in session.go_on(places["value"], "[]", [], VISITOR)]
    assert turns[-1].answer
    assert inspect(turns[-1].images[0]).places == ()
    assert any("blacked out" in note for note in turns[-1].images[0].notes)
    assert not gate.is_holding("visitor")


async def test_what_its_person_drew_is_black_too_and_what_was_not_chosen_stays(session, gate, named, tmp_path):
    await ask(session, named, tmp_path)
    *_, (*_, turns) = [update async for update in session.go_on([], "[[100.2, 100, 140, 150]]", [], VISITOR)]
    image = turns[-1].images[0]
    assert image.image.convert("L").crop((100, 100, 140, 150)).getextrema() == (0, 0)
    assert inspect(image).places


async def test_confirmed_it_is_asked_as_it_is_and_not_asked_about_twice(session, gate, named, tmp_path):
    await ask(session, named, tmp_path)
    *_, (*_, turns) = [update async for update in session.go_on_as_it_is([], VISITOR)]
    assert turns[-1].images[0].data == clean_upload(named, "", UploadLimits()).data
    assert any("confirmed" in note for note in turns[-1].images[0].notes)
    assert (await ask(session, named, tmp_path))[-1].answer


async def test_not_sent_it_is_forgotten_and_the_question_kept(session, gate, named, tmp_path):
    await ask(session, named, tmp_path)
    *_, box, turns = session.do_not_send([], VISITOR)
    assert (box["value"]["text"], box["value"]["files"], turns) == (QUESTION, [], [])
    assert not gate.is_holding("visitor")
    assert gate.show(VISITOR)[0]["visible"] is False
    *_, (*_, turns) = [update async for update in session.go_on_as_it_is([], VISITOR)]
    assert turns == []


async def test_a_new_chat_and_a_closed_page_forget_what_waits(session, gate, named, tmp_path):
    await ask(session, named, tmp_path)
    await session.start_again(VISITOR)
    assert not gate.is_holding("visitor")
    await ask(session, named, tmp_path)
    gate.forget(VISITOR)
    assert not gate.is_holding("visitor")


@pytest.mark.parametrize("drawn", ["no json", '[["a", 1, 2, 3]]', "[[1, 2, 3]]", f"[{','.join(['[0,0,9,9]'] * 101)}]"])
async def test_boxes_that_are_none_send_nothing(session, gate, named, tmp_path, drawn):
    await ask(session, named, tmp_path)
    with pytest.raises(ValueError, match="could not be read"):
        [update async for update in session.go_on([0], drawn, [], VISITOR)]


async def test_rest_refuses_it_with_the_boxes_until_the_sender_has_said(web_server, named):
    async with httpx.AsyncClient(base_url=web_server.url, timeout=120) as http:

        async def post(**fields):
            return await http.post("/api/ask", data={"question": QUESTION, **fields}, files={"image": named})

        refused = await post()
        assert refused.status_code == 422
        error = refused.json()["error"]
        assert error["code"] == "identity_found"
        assert "redact=true" in error["message"]
        assert "confirm_identity=true" in error["message"]
        assert "DOE" not in refused.text
        (box,) = error["findings"]["boxes"]
        assert box["left"] < 10 and box["top"] < 10 and box["right"] > 150
        redacted = (await post(redact="true")).json()
        assert redacted["answer"]
        assert any("blacked out" in note for note in redacted["notes"])
        confirmed = (await post(confirm_identity="true")).json()
        assert any("sender says" in note for note in confirmed["notes"])


async def test_openai_and_mcp_black_it_out_and_say_so(web_server, named):
    url = "data:image/png;base64," + base64.b64encode(named).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    async with openai.AsyncOpenAI(base_url=f"{web_server.url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(model=MODEL_ID, messages=[{"role": "user", "content": parts}])
    assert any("blacked out" in note for note in answer.medvint["notes"])
    async with Client(f"{web_server.url}/mcp") as client:
        asked = await client.call_tool("ask_image", {"question": QUESTION, "image": url})
    assert any("blacked out" in note for note in asked.structured_content["notes"])
