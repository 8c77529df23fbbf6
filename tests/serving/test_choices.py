"""A letter with its text and probability for every choice, from a real server."""

import base64
import io
import json
import os
import subprocess

import httpx
import pytest
import torch
from transformers import AutoTokenizer

from serving.choices import ChoiceError, answer_choices, choice_question
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.server import vllm_command, vllm_environment
from tests.conftest import Server
from tests.serving.test_original import TYPED
from tests.serving.test_parity import image_ids, reference
from tests.serving.variants import QUESTIONS

NAME = "transformer-pmc-clip-8"


def data_uri(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def texts(choices):
    return [choice.strip()[2:] for choice in choices]


def ask(server, *question, **more):
    async def run():
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            return await answer_choices(client, *question, **more)

    return run()


async def test_demo_gives_every_choice_its_probability(model_server, demo_model, pictures):
    question, *choices = QUESTIONS[1]
    answers = await ask(model_server, question, texts(choices), data_uri(pictures[0]))
    assert [(answer.letter, answer.text) for answer in answers] == list(zip("ABCD", texts(choices), strict=True))
    assert sum(answer.probability for answer in answers) == pytest.approx(1)

    model = MedVInTForConditionalGeneration.from_pretrained(demo_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    ids = image_ids(tokenizer, choice_question(question, texts(choices)))
    logprobs = reference(model, ids, pictures[0], 1)[2][0]
    for answer in answers:
        (letter,) = tokenizer(f" {answer.letter}", add_special_tokens=False).input_ids
        # bfloat16: an unlikely letter's place in the long tail is the less exact, the less likely it is.
        assert answer.logprob == pytest.approx(float(logprobs[letter]), abs=0.3, rel=0.06)


def test_prompt_is_pmc_vqa_s():
    question, *choices = QUESTIONS[0]
    assert choice_question(question, texts(choices)) == f"{question}Choices:{''.join(choices)}"


@pytest.mark.parametrize("count", [0, 27])
async def test_choices_that_have_no_letter_are_refused(count):
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as nobody:
        with pytest.raises(ChoiceError, match=str(count)):
            await answer_choices(nobody, "Which?", ["x"] * count)


@pytest.fixture(scope="module")
def tiny_server(variant_model, tmp_path_factory, free_port):
    """A server of its own on the reference's checkpoint in float32."""
    folder, port = variant_model(NAME), free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            vllm_command(folder, port=port, dtype="float32", gpu=False),
            env=vllm_environment(folder, os.environ, gpu=False),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    server = Server(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/health", process, log)
    try:
        server.wait_until_healthy()
        yield server
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in TYPED if case.values[0]["form"] == "choice"])
async def test_letters_have_the_original_s_probabilities(case, tiny_server, pictures):
    question, *choices = next(rows for rows in QUESTIONS if rows[0] in case["prompt"])
    answers = await ask(tiny_server, question, texts(choices), data_uri(pictures[case["picture"]]))
    assert {answer.letter: answer.logprob for answer in answers} == pytest.approx(case["letters"], abs=5e-3)
    expected = torch.tensor(list(case["letters"].values())).softmax(0)
    assert [answer.probability for answer in answers] == pytest.approx(expected.tolist(), rel=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("case", TYPED)
def test_chat_over_http_answers_as_the_original(case, tiny_server, pictures):
    """The whole way: chat template, tokenizer, image processor; in one piece and as a stream."""
    text = case["prompt"].removeprefix("Question: ").removesuffix("The Answer is:")
    image = {"type": "image_url", "image_url": {"url": data_uri(pictures[case["picture"]])}}
    body = {
        "model": "medvint",
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}, image]}],
        "max_tokens": len(case["tokens"]),
        "ignore_eos": True,
        "return_token_ids": True,
    }
    url = f"{tiny_server.url}/v1/chat/completions"
    whole = httpx.post(url, json=body, timeout=120).raise_for_status().json()["choices"][0]["token_ids"]
    assert whole == case["tokens"]
    streamed = []
    with httpx.stream("POST", url, json=body | {"stream": True}, timeout=120) as lines:
        for line in lines.iter_lines():
            if line.startswith("data: {"):
                streamed += [t for choice in json.loads(line[6:])["choices"] for t in choice.get("token_ids") or []]
    assert streamed == case["tokens"]
