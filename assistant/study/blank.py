"""The model's blind check: it gets the question and the options with a black picture. Above chance, words tell the key.

    await check(model, items, settings)      # {"the model, blank image": {"score": 0.33, "chance": 0.33, ...}}

Where it names none of the options it counts as a guess among all, so that a model that says nothing scores chance.
"""

import io
import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from PIL import Image

from assistant.chat import Turn
from assistant.conversation import fit
from assistant.model import ModelClient
from assistant.settings import Settings
from assistant.study import blind
from assistant.study.grade import grade
from assistant.study.items import Gold, Item
from assistant.study.reading import plain
from assistant.uploads import CleanImage, UploadLimits, clean_upload

NAME = "the model, blank image"
SIDE_PX = 256
MOST = 200
"""Questions that are asked at most; a larger pack is judged by its first ones."""
LONGEST_ANSWER = 300
"""Characters: an option is short."""

_Question = tuple[str, tuple[str, ...]]


async def check(model: ModelClient, items: Sequence[Item], settings: Settings) -> dict[str, dict[str, Any]]:
    """The score of one guesser more, as `blind.check` has them; {} where no item has options.

    Items with one stem and the same options are one question: with a black picture they cannot be told apart.

    Raises ModelError where the model does not answer.
    """
    by_question: dict[_Question, list[Item]] = {}
    for item in items:
        if item.options:
            by_question.setdefault((item.stem, item.options), []).append(item)
    questions = list(by_question)[:MOST]
    if not questions:
        return {}
    picture = clean_upload(_black(), "blank.png", UploadLimits())
    said = {one: named(one[1], await _answer(model, one, picture, settings)) for one in questions}
    asked = [(item, said[question]) for question in questions for item in by_question[question]]
    score = sum((item.gold.answer in guesses) / len(guesses) for item, guesses in asked) / len(asked)
    chance = sum(1 / len(item.options) for item, _ in asked) / len(asked)
    decided = sum(len(guesses) < len(options) for (_, options), guesses in said.items()) / len(questions)
    told = {"questions": len(questions), "decided": round(decided, 3), "model": model.name}
    return {NAME: {**blind.result(score, chance, len(asked)), **told}}


def named(options: Sequence[str], answer: str) -> tuple[str, ...]:
    """The options that an answer names; all of them where it names none."""
    if exact := tuple(option for option in options if grade(Gold(option), answer.strip(" .")).outcome == "right"):
        return exact
    said = plain(answer)
    found = [option for option in options if re.search(rf"\b{re.escape(plain(option))}\b", said)]
    return tuple(found or options)


def _black() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE_PX, SIDE_PX)).save(buffer, "PNG")
    return buffer.getvalue()


async def _answer(model: ModelClient, question: _Question, picture: CleanImage, settings: Settings) -> str:
    stem, options = question
    words = f"{stem} {', '.join(options[:-1])} or {options[-1]}?"
    served = await model.served()
    fitted = await fit([Turn(words, (picture,))], [], served, model.count, settings.max_answer_tokens)
    answer = ""
    async with aclosing(model.stream(fitted.messages)) as tokens:
        async for token in tokens:
            answer += token.text
            if len(answer) > LONGEST_ANSWER:
                break
    return answer
