"""What each exercise asks: practice as it comes, look-alikes in pairs, the model's answers to accept or reject."""

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

from PIL import Image, ImageDraw, ImageFont

from assistant.study import features, schedule
from assistant.study.items import Attempt, Gold, Item, Mode, Skill
from assistant.study.packs import Shelf

NOTHING: dict[Mode, str] = {
    "practise": "There is nothing to practise in these packs. Import one: medvint study import",
    "look-alikes": "These packs have no two findings that look alike.",
    "trial": "These packs have too few images for a trial.",
    "judge": "No pack has the model's answers yet. Collect them: medvint study readings PACK",
}
SAME_SHARE = 1 / 3
PAIRS, PAIR = 4, "pair/"
ACCEPT, REJECT = "Accept", "Reject"
BOTH = "Both"
GAP_PX, LETTER_PX = 8, 24


def choose(
    mode: Mode,
    items: Sequence[Item],
    attempts: Sequence[Attempt],
    now: datetime,
    draw: random.Random,
    exam: date | None = None,
) -> Item | None:
    """The next item of an exercise; None where there is none."""
    plain = [item for item in items if not item.model_answer]
    if mode == "judge":
        return _judge([item for item in items if item.model_answer], attempts, draw)
    if mode == "look-alikes":
        return _single_after_pairs(plain, attempts, now, draw, exam) or _pair(plain, attempts, draw)
    return schedule.choose(plain, attempts, now, draw, schedule.replay(attempts, exam))


def _judge(items: Sequence[Item], attempts: Sequence[Attempt], draw: random.Random) -> Item | None:
    """The model right and wrong in equal numbers, each image as seldom as can be."""
    if not items:
        return None
    wanted = draw.choice((ACCEPT, REJECT))
    chosen = [item for item in items if item.gold.answer == wanted] or list(items)
    times: dict[str, int] = {}
    for attempt in attempts:
        if attempt.mode == "judge":
            times[attempt.item_id] = times.get(attempt.item_id, 0) + 1
    fewest = min(times.get(item.item_id, 0) for item in chosen)
    return draw.choice([item for item in chosen if times.get(item.item_id, 0) == fewest])


def _single_after_pairs(
    items: Sequence[Item], attempts: Sequence[Attempt], now: datetime, draw: random.Random, exam: date | None
) -> Item | None:
    """After four pairs a picture alone, unseen, of what they were about: that one the scheduler counts."""
    own = [attempt for attempt in attempts if attempt.mode == "look-alikes"][-PAIRS:]
    if len(own) < PAIRS or any(schedule.is_practice(attempt) for attempt in own):
        return None
    skills = {attempt.skill_id.removeprefix(PAIR) for attempt in own}
    seen = {case for attempt in attempts for case in attempt.case.split("+")}
    new = [item for item in items if item.skill.skill_id in skills and item.case not in seen and item.kind != "place"]
    return schedule.choose(new, attempts, now, draw, schedule.replay(attempts, exam))


def _pair(items: Sequence[Item], attempts: Sequence[Attempt], draw: random.Random) -> Item | None:
    """Two pictures of one question with different keys, in a third of the cases with the same."""
    groups: dict[tuple[str, str], dict[str, list[Item]]] = {}
    for item in items:
        # Nobody takes a film for a slice: only what is on the picture looks alike.
        is_alike = item.vocabulary not in ("modality", "plane")
        if is_alike and item.kind != "place" and len(item.options) > 2 and not item.is_negative:
            groups.setdefault((item.pack, item.stem), {}).setdefault(item.gold.answer, []).append(item)
    groups = {name: keys for name, keys in groups.items() if sum(len(found) > 1 for found in keys.values()) > 1}
    if not groups:
        return None
    missed = {attempt.skill_id for attempt in attempts[-40:] if attempt.verdict.outcome == "wrong"}
    of_missed = [name for name, keys in groups.items() if any(one[0].skill.skill_id in missed for one in keys.values())]
    keys = groups[draw.choice(sorted(of_missed or groups))]
    many = sorted(key for key, found in keys.items() if len(found) > 1)
    pair = _confused(keys, many, attempts)
    first, other = draw.sample(pair, 2) if pair else draw.sample(many, 2)
    shown = draw.sample(keys[first], 2)
    same = draw.random() < SAME_SHARE
    if not same:
        different = [item for item in keys[other] if item.case != shown[0].case]
        shown = [shown[0], draw.choice(different or keys[other])]
        draw.shuffle(shown)
    answer = BOTH if same else "AB"[[item.gold.answer for item in shown].index(first)]
    used = {item.gold.answer for item in shown}
    others = [keys[key][0] for key in sorted(keys) if key not in used]
    return _paired(shown, first, answer, features.checklist(shown, others, draw))


def _confused(keys: Mapping[str, Sequence[Item]], many: Sequence[str], attempts: Sequence[Attempt]) -> list[str]:
    """Two keys of which the learner has lately said one for the other; [] for none."""
    items = {item.item_id for found in keys.values() for item in found}
    for attempt in reversed(attempts[-40:]):
        said = attempt.commitment.answer
        if attempt.item_id in items and attempt.verdict.outcome == "wrong" and {said, attempt.key} <= set(many):
            return [attempt.key, said]
    return []


def _paired(
    shown: Sequence[Item], concept: str, answer: str, reasons: tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
) -> Item:
    one, other = shown
    listed, tells = reasons
    name = hashlib.sha256(f"{one.item_id}|{other.item_id}|{concept}".encode()).hexdigest()[:16]
    told = " ".join(f"{letter} shows: {item.gold.answer}." for letter, item in zip("AB", shown, strict=True))
    skill = Skill(f"{PAIR}{one.skill.skill_id}", one.skill.modality, one.skill.region, one.skill.concept)
    why = " ".join(item.explanation for item in shown if item.explanation)
    return replace(
        one,
        item_id=f"{one.pack}/pair/{name}",
        kind="option",
        skill=skill,
        images=(one.images[0], other.images[0]),
        case=f"{one.case}+{other.case}",
        stem=f"{one.stem} Which picture has the answer “{concept}”: A, B, or both?",
        gold=Gold(answer, tells=tells),
        options=("A", "B", BOTH),
        checklist=listed,
        vocabulary="",
        explanation=f"{told} {why}".strip(),
    )


def judged_item(item: Item, question: str, answer: str, is_right: bool) -> Item:
    """An item that asks whether the model's answer is right."""
    return replace(
        item,
        item_id=f"{item.item_id}/judge",
        kind="option",
        skill=replace(item.skill, skill_id=f"judge/{item.skill.skill_id}", siblings=()),
        stem=f"{question} The model says: “{answer}”. Is it right?",
        gold=Gold(ACCEPT if is_right else REJECT),
        options=(ACCEPT, REJECT),
        vocabulary="",
        is_negative=False,
        explanation=f"The key is: {item.gold.answer}.",
        model_answer=answer,
    )


def picture(shelf: Shelf, item: Item) -> bytes:
    """An item's picture as PNG; two are set side by side."""
    found = [shelf.image(item.pack, digest) for digest in item.images]
    if len(found) == 1:
        return found[0]
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in found]
    high = min(one.height for one in pictures)
    pictures = [one.resize((round(one.width * high / one.height), high)) for one in pictures]
    both = Image.new("RGB", (sum(one.width for one in pictures) + GAP_PX, high), "dimgray")
    both.paste(pictures[0], (0, 0))
    both.paste(pictures[1], (pictures[0].width + GAP_PX, 0))
    letters = ImageDraw.Draw(both)
    for letter, left in (("A", 0), ("B", pictures[0].width + GAP_PX)):
        letters.rectangle((left, high - LETTER_PX - 8, left + LETTER_PX, high), fill="dimgray")
        letters.text((left + 6, high - LETTER_PX - 4), letter, fill="white", font=ImageFont.load_default(LETTER_PX))
    buffer = io.BytesIO()
    both.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
