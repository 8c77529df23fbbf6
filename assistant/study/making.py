"""From labelled pictures to items whose keys cannot be guessed without looking.

    for question, options in balanced(questions, random.Random(0)): ...

Every set of options is used as often with each of its members as the key, so that neither the stem, the length of an
option nor its frequency tells anything.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from assistant.study.grade import grade_point
from assistant.study.items import Box, Gold, Item, Kind, Skill
from assistant.study.packs import PackWriter
from assistant.study.vocabulary import synonyms

OPTIONS = 3
MARGIN = 0.05
YES_NO = ("Yes", "No")


@dataclass(frozen=True)
class Question:
    """A picture with its key, before there are options. `tag` tells the kinds of question on one case apart."""

    case_id: str
    tag: str
    stem: str
    key: str
    picture: Callable[[], Image.Image]
    skill: Skill
    kind: Kind = "option"
    vocabulary: str = ""
    mark: Box | None = None
    boxes: tuple[Box, ...] = ()
    facts: tuple[str, ...] = ()
    is_negative: bool = False
    explanation: str = ""
    more_names: tuple[str, ...] = field(default=())


def opened(path: Path) -> Callable[[], Image.Image]:
    """A picture that is read when it is wanted."""
    return lambda: Image.open(path).convert("RGB")


def balanced(questions: Iterable[Question], draw: random.Random) -> Iterator[tuple[Question, tuple[str, ...]]]:
    """Questions of one stem with their options, three at a time: one of each of the three keys that most are left of,
    so that every key is asked about and none of a set is the better guess. What is left over is left out."""
    left: dict[str, list[Question]] = {}
    for question in questions:
        left.setdefault(question.key, []).append(question)
    for group in left.values():
        draw.shuffle(group)
    while True:
        keys = sorted((key for key in left if left[key]), key=lambda key: (-len(left[key]), key))[:OPTIONS]
        if len(keys) < min(OPTIONS, len(left)) or len(keys) < 2:
            return
        options = tuple(sorted(keys, key=_in_order))
        for key in keys:
            yield left[key].pop(), options


def _in_order(key: str) -> tuple[float, str]:
    return (float(key), key) if key.isdigit() else (0.0, key)


def by_stem(questions: Iterable[Question]) -> dict[str, list[Question]]:
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.stem, []).append(question)
    return groups


def make_items(writer: PackWriter, questions: Iterable[Question], draw: random.Random) -> list[Item]:
    """Every question that can be asked fairly, as an item with its picture in the pack."""
    items: list[Item] = []
    for group in by_stem(questions).values():
        if group[0].kind == "place":
            if not clicks_blindly(tuple(question.boxes for question in group)):
                items.extend(_item(writer, question, ()) for question in group)
        else:
            items.extend(_item(writer, question, options) for question, options in balanced(group, draw))
    return _with_siblings(items)


def _item(writer: PackWriter, question: Question, options: tuple[str, ...]) -> Item:
    picture = question.picture()
    case = writer.image(picture)
    shown = writer.image(picture, question.mark) if question.mark else case
    names = (*synonyms(question.vocabulary, question.key), *question.more_names)
    return Item(
        item_id=f"{writer.pack.name}/{question.case_id}/{question.tag}",
        pack=writer.pack.name,
        version="",
        kind=question.kind,
        skill=question.skill,
        images=(shown,),
        case=case,
        stem=question.stem,
        gold=Gold(question.key, names, question.boxes, question.facts),
        options=options,
        vocabulary=question.vocabulary,
        is_negative=question.is_negative,
        explanation=question.explanation,
        source=writer.pack.source,
        licence=writer.pack.licence,
    )


def _with_siblings(items: Sequence[Item]) -> list[Item]:
    """Skills whose keys stand in one set of options are look-alikes of each other."""
    skill_of: dict[tuple[str, str], str] = {(item.stem, item.gold.answer): item.skill.skill_id for item in items}
    found: dict[str, set[str]] = {}
    for item in items:
        own = item.skill.skill_id
        near = {skill_of[item.stem, option] for option in item.options if (item.stem, option) in skill_of}
        found.setdefault(own, set()).update(near - {own})
    return [
        replace(item, skill=replace(item.skill, siblings=tuple(sorted(found.get(item.skill.skill_id, ())))))
        for item in items
    ]


def clicks_blindly(boxes: Sequence[tuple[Box, ...]]) -> bool:
    """Whether clicking always at the best place, learned on the other images, beats chance by more than the margin."""
    score, chance = blind_click(boxes)
    return score > chance + MARGIN


def blind_click(boxes: Sequence[tuple[Box, ...]]) -> tuple[float, float]:
    """Share that the best fixed click would hit, leaving each image out in turn, and the share a random click would."""
    if len(boxes) < 2:
        return 0.0, 0.0
    centres = [(box[0] + box[2] / 2, box[1] + box[3] / 2) for own in boxes for box in own]
    hits = [[grade_point(own, centre).outcome == "right" for centre in centres] for own in boxes]
    totals = [sum(row[at] for row in hits) for at in range(len(centres))]
    owner = [number for number, own in enumerate(boxes) for _ in own]
    score = 0.0
    for number, row in enumerate(hits):
        best = max((at for at in range(len(centres)) if owner[at] != number), key=lambda at: totals[at] - row[at])
        score += row[best]
    grid = [((x + 0.5) / 20, (y + 0.5) / 20) for x in range(20) for y in range(20)]
    chance = sum(grade_point(own, point).outcome == "right" for own in boxes for point in grid) / (400 * len(boxes))
    return score / len(boxes), chance
