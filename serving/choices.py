"""Questions with choices, answered as MedVInT answers them: by the letter that it would write next.

async with httpx.AsyncClient(base_url="http://127.0.0.1:8000") as server:
    answers = await answer_choices(server, "Which plane is this?", ["Axial", "Coronal"], image_url=data_uri)
max(answers, key=lambda answer: answer.probability).letter
"""

import asyncio
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

import prompts
from serving.server import SERVED_NAME

OPENING, ENDING = "Question: ", "The Answer is:"  # what the chat template puts around a question


class ChoiceError(Exception):
    """The choices cannot be asked for: none, more than there are letters, or a letter that is no token."""


@dataclass(frozen=True)
class Choice:
    """`probability`: of this letter among those of the choices; `logprob`: of the letter among all tokens."""

    letter: str
    text: str
    probability: float
    logprob: float


async def answer_choices(
    server: httpx.AsyncClient,
    question: str,
    choices: Sequence[str],
    image_url: str | None = None,
    model: str = SERVED_NAME,
) -> list[Choice]:
    """Every choice with its letter and probability, in the order given.

    The prompt is PMC-VQA's; the original takes the best token of the last position for its answer (`test.py`).

    Args:
        server: the model server's root.
        choices: their texts, without letters.
        image_url: the image as a data URI.
        model: the name that the server gives a MedVInT.

    Raises:
        ChoiceError: see there.
        httpx.HTTPError: the server does not answer, or refuses.
    """
    letters = string.ascii_uppercase[: len(choices)]
    if not 0 < len(choices) == len(letters):
        raise ChoiceError(f"{len(choices)} choices: it takes 1 to {len(string.ascii_uppercase)}.")
    content = [{"type": "text", "text": choice_question(question, choices)}]
    if image_url is not None:
        content.insert(0, {"type": "image_url", "image_url": {"url": image_url}})  # type: ignore[dict-item]
    ids = await _letter_ids(server, model, letters)
    # One token each, of which only the letter is allowed: the log-probability is that of before the restriction. One
    # request for all letters (`logprob_token_ids`) would spoil the alternatives of the requests beside it in vLLM 0.32.
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
    }
    answers = await asyncio.gather(
        *(_post(server, "/v1/chat/completions", body | {"allowed_token_ids": [token]}) for token in ids)
    )
    logprobs = [answer["choices"][0]["logprobs"]["content"][0]["logprob"] for answer in answers]
    best = max(logprobs)
    total = sum(math.exp(logprob - best) for logprob in logprobs)
    return [
        Choice(letter, text, math.exp(logprob - best) / total, logprob)
        for letter, text, logprob in zip(letters, choices, logprobs, strict=True)
    ]


def choice_question(question: str, choices: Sequence[str]) -> str:
    """What a person would type for the chat template to make MedVInT's prompt with choices of it."""
    shown = [f" {letter}:{text} " for letter, text in zip(string.ascii_uppercase, choices, strict=False)]
    prompt = prompts.load("choice").render(question=question, choices=shown)
    return prompt.removeprefix(OPENING).removesuffix(ENDING)


async def _letter_ids(server: httpx.AsyncClient, model: str, letters: str) -> list[int]:
    """The token of each letter where an answer begins, as in training: "The Answer is: A:Axial "."""

    async def tokens(text: str) -> list[int]:
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        return (await _post(server, "/tokenize", body))["tokens"]

    before, *with_letter = await asyncio.gather(tokens(ENDING), *(tokens(f"{ENDING} {letter}") for letter in letters))
    split = [letter for letter, ids in zip(letters, with_letter, strict=True) if ids[:-1] != before]
    if split:
        raise ChoiceError(f"In this model's tokenizer {', '.join(split)} is no token of its own.")
    return [ids[-1] for ids in with_letter]


async def _post(server: httpx.AsyncClient, path: str, body: dict) -> dict:
    return (await server.post(path, json=body)).raise_for_status().json()
