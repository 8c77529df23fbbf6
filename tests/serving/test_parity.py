"""vLLM against the original's own answers, and against transformers."""

import base64
import io
import itertools

import httpx
import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint.processing import MedVInTImageProcessor
from tests.serving.conftest import ENGINES, engine_cases
from tests.serving.test_original import NEAR_TIE

QUESTIONS = ("Which plane is this?", "Is the heart enlarged?")


def image_ids(tokenizer, question):
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, return_dict=False
    )


@torch.no_grad()
def reference(model, ids, image, new_tokens=16):
    """Greedy tokens of `generate` and their log-probabilities."""
    config = model.config
    pixels = MedVInTImageProcessor(config.vision.image_size).preprocess(image).pixel_values
    input_ids = torch.tensor([[config.image_token_id] * config.projector.num_image_tokens + ids])
    model.generation_config.eos_token_id = None
    out = model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        pixel_values=pixels,
        max_new_tokens=new_tokens,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    logprobs = torch.stack(out.logits, 1)[0].float().log_softmax(-1)
    tokens = out.sequences[0, input_ids.shape[1] :]
    return tokens.tolist(), logprobs.gather(1, tokens[:, None])[:, 0].tolist(), logprobs


@pytest.mark.parametrize("way", ["cold", "warm", "together", "streamed"])
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "bfloat16"])
def test_vllm_answers_as_the_original(engine, way, vllm_tokens):
    """Alone or 16 at once, whole or token by token, prefix known or not, prompt in one piece or in many."""
    cases = engine_cases(engine)
    answers = vllm_tokens[engine][way]
    assert len(answers) == (16 if way == "together" else len(cases))
    for case, answer in zip(itertools.cycle(cases), answers):
        assert answer["tokens"] == case["tokens"]
        assert max(abs(a - b) for a, b in zip(case["logprobs"], answer["logprobs"], strict=True)) < 5e-3
        if way == "streamed":
            assert answer["parts"] == len(case["tokens"])
    if way == "warm":
        assert max(answer["cached"] for answer in answers) > 0


@pytest.mark.parametrize("way", ["cold", "warm", "together", "streamed"])
def test_vllm_in_bfloat16_parts_only_at_near_ties(way, vllm_tokens, record_property):
    cases = engine_cases("bfloat16")
    answers = vllm_tokens["bfloat16"][way]
    whole = 0
    for case, answer in zip(itertools.cycle(cases), answers):
        differs = [a != b for a, b in zip(case["tokens"], answer["tokens"], strict=True)]
        if any(differs):
            assert case["margins"][differs.index(True)] < NEAR_TIE
        whole += not any(differs)
    record_property("same_answers", f"{whole} of {len(answers)}")
    print(f"{way}: {whole} of {len(answers)} answers of vLLM in bfloat16 are the original's in float32")


def test_merged_and_separate_lora_are_the_same_model(tiny_models, pictures):
    merged = MedVInTForConditionalGeneration.from_pretrained(tiny_models["merged"], dtype=torch.float32).eval()
    base = MedVInTForConditionalGeneration.from_pretrained(tiny_models["unmerged"], dtype=torch.float32).eval()
    ids = image_ids(AutoTokenizer.from_pretrained(tiny_models["merged"]), QUESTIONS[0])
    expected = reference(merged, ids, pictures[0])
    without = reference(base, ids, pictures[0])
    separate = reference(PeftModel.from_pretrained(base, tiny_models["unmerged"] / "lora").eval(), ids, pictures[0])
    assert expected[0] == separate[0]
    assert without[0] != expected[0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_demo_answers_alike_in_both(question, demo_model, model_server, pictures):
    """In bf16: where the tokens part, the two must have been a near tie."""
    model = MedVInTForConditionalGeneration.from_pretrained(demo_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    stream = io.BytesIO()
    pictures[0].save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    answer = httpx.post(
        f"{model_server.url}/v1/chat/completions",
        json={
            "model": "medvint",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 8,
            "ignore_eos": True,
            "return_token_ids": True,
        },
        timeout=120,
    ).raise_for_status()
    served = answer.json()["choices"][0]["token_ids"]
    tokens, _, logprobs = reference(model, image_ids(tokenizer, question), pictures[0], 8)
    parted = next((i for i, (a, b) in enumerate(zip(tokens, served, strict=True)) if a != b), None)
    if parted is not None:
        assert logprobs[parted, tokens[parted]] - logprobs[parted, served[parted]] < 0.1
