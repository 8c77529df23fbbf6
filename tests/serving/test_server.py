"""The model server's command, and what the running server refuses."""

import base64
import io
import itertools
import os

import httpx
import pytest
from PIL import Image

from serving.server import vllm_command, vllm_environment


def test_command_serves_a_medvint_folder_on_a_small_machine(tiny_models):
    command = vllm_command(tiny_models["merged"], port=8123, dtype="float32", gpu=False)
    flags = dict(itertools.pairwise(command))
    assert flags["--port"] == "8123"
    assert flags["--served-model-name"] == "medvint"
    assert flags["--max-model-len"] == "512"
    assert "--enforce-eager" in command
    assert "--enforce-eager" not in vllm_command(tiny_models["merged"], gpu=True)


def test_environment_sends_nothing_home_and_looks_nowhere(tiny_models):
    environment = vllm_environment(tiny_models["merged"], {"PATH": "/bin"}, gpu=False)
    assert environment["PATH"] == "/bin"
    assert environment["VLLM_NO_USAGE_STATS"] == environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in vllm_environment("owner/model", {}, gpu=False)


def test_a_small_machine_is_used_whole(tiny_models, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 3})
    environment = vllm_environment(tiny_models["merged"], {}, gpu=False)
    assert (environment["VLLM_CPU_OMP_THREADS_BIND"], environment["OMP_NUM_THREADS"]) == ("1,3", "2")
    assert vllm_environment(tiny_models["merged"], {"OMP_NUM_THREADS": "1"}, gpu=False)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    assert "OMP_NUM_THREADS" not in vllm_environment(tiny_models["merged"], {}, gpu=False)


def png() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), "white").save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def ask(server, *urls, text="What is this?"):
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls] + [{"type": "text", "text": text}]
    body = {"model": "medvint", "messages": [{"role": "user", "content": content}], "max_tokens": 4}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=120)


@pytest.mark.parametrize(
    "urls",
    [
        ["http://127.0.0.1:9/x.png"],
        ["https://example.org/x.png"],
        ["data:image/png;base64,aGVsbG8="],
        [png(), png()],
    ],
)
def test_server_refuses_all_but_one_image_in_the_request_itself(model_server, urls):
    assert ask(model_server, *urls).status_code == 400


def test_server_reads_no_file_of_its_machine(model_server):
    # vLLM answers 500 to this one; what counts is that it does not answer.
    assert ask(model_server, f"file://{__file__}").is_error


def test_image_stands_before_the_text_and_counts(model_server, visual_tokens):
    with_image, without = ask(model_server, png()), ask(model_server)
    image_form = "Question: What is this?The Answer is:"
    body = {"model": "medvint", "prompt": image_form, "add_special_tokens": False}
    text_tokens = len(httpx.post(f"{model_server.url}/tokenize", json=body, timeout=60).json()["tokens"])
    assert with_image.json()["usage"]["prompt_tokens"] == visual_tokens + 1 + text_tokens
    assert without.status_code == 200
