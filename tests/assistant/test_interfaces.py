"""The skins over the chat turn as their own clients see them: the `openai` package, an MCP client, Prometheus' parser."""

import base64
from pathlib import Path

import httpx
import openai
import pytest
from mcp import Client
from prometheus_client.parser import text_string_to_metric_families

from assistant.openai_api import MODEL_ID
from assistant.uploads import UploadLimits

EXAMPLE = Path(__file__).parents[2] / "assistant" / "examples" / "mri-brain.png"
QUESTION = "Which organ is shown in the image?"


def as_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def with_image(text: str) -> dict[str, object]:
    parts = [{"type": "image_url", "image_url": {"url": as_url(EXAMPLE)}}, {"type": "text", "text": text}]
    return {"role": "user", "content": parts}


@pytest.fixture
async def chat(web_server):
    async with openai.AsyncOpenAI(base_url=f"{web_server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_the_openai_client_gets_what_the_api_says(chat, web_server):
    assert [model.id async for model in chat.models.list()] == [MODEL_ID]
    answer = await chat.chat.completions.create(model=MODEL_ID, messages=[with_image(QUESTION)])
    async with httpx.AsyncClient(timeout=60) as http:
        files = {"image": EXAMPLE.read_bytes()}
        rest = (await http.post(f"{web_server.url}/api/ask", data={"question": QUESTION}, files=files)).json()
    assert answer.choices[0].message.content == rest["answer"]
    assert answer.medvint["hits"] == rest["hits"]
    assert answer.medvint["confidence"] == rest["confidence"]


async def test_it_streams_and_follows_up(chat):
    messages = [
        {"role": "system", "content": "You are a pirate."},
        with_image(QUESTION),
        {"role": "assistant", "content": "Brain."},
        {"role": "user", "content": "Which modality is it?"},
    ]
    pieces, last = [], None
    async for chunk in await chat.chat.completions.create(model=MODEL_ID, messages=messages, stream=True):
        pieces.append(chunk.choices[0].delta.content or "")
        last = chunk
    assert last.choices[0].finish_reason == "stop"
    assert "".join(pieces).strip() == last.medvint["answer"]
    assert last.medvint["hits"]
    whole = await chat.chat.completions.create(model=MODEL_ID, messages=messages)
    assert whole.choices[0].message.content == last.medvint["answer"]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"role": "assistant", "content": "Hello."}], "bad_request"),
        ([{"role": "user", "content": ""}], "empty_question"),
        ([{"role": "tool", "content": "x"}], "bad_request"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}],
            "bad_request",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}]}],
            "not_an_image",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:text/plain;base64,aGk="}}]}],
            "not_an_image",
        ),
        ([], "bad_request"),
    ],
)
async def test_bad_messages_are_refused_in_a_sentence(chat, messages, code):
    with pytest.raises(openai.BadRequestError) as refused:
        await chat.chat.completions.create(model=MODEL_ID, messages=messages)
    assert refused.value.body["code"] == code
    assert refused.value.body["message"].endswith(".")


async def test_a_request_that_is_too_large_is_refused_while_it_is_read(web_server):
    body = b'{"messages": "' + b"x" * (4 * UploadLimits().max_bytes + 1) + b'"}'
    async with httpx.AsyncClient(timeout=60) as http:
        assert (await http.post(f"{web_server.url}/v1/chat/completions", content=body)).status_code == 413


async def test_an_mcp_client_asks_and_searches(web_server):
    async with Client(f"{web_server.url}/mcp") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"ask_image", "search_figures"}
        asked = await client.call_tool("ask_image", {"question": QUESTION, "image": as_url(EXAMPLE)})
        assert asked.structured_content["answer"]
        found = await client.call_tool("search_figures", {"words": "pneumothorax on a chest X-ray", "k": 3})
        hits = found.structured_content["hits"]
        assert 1 <= len(hits) <= 3
        assert all(hit["figure"]["license"] and hit["figure"]["article_url"] for hit in hits)
        refused = await client.call_tool("ask_image", {"question": "What?", "image": "aGVsbG8="})
        assert refused.is_error
        assert "not an image" in refused.content[0].text


async def test_metrics_count_turns_and_pass_the_models_on(web_server, chat):
    async def turns() -> float:
        async with httpx.AsyncClient(timeout=60) as http:
            text = (await http.get(f"{web_server.url}/metrics")).text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert any(name.startswith("vllm:") for name in families)
        samples = families["medvint_turns"].samples
        return sum(s.value for s in samples if s.labels.get("outcome") == "answered" and s.name.endswith("_total"))

    before = await turns()
    await chat.chat.completions.create(model=MODEL_ID, messages=[{"role": "user", "content": "What is a CT?"}])
    assert await turns() == before + 1
