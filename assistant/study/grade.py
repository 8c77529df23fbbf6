"""Free text against the key, by slots and never by likeness: right, wrong (with the slot that failed) or not graded.

    grade(Gold("left pleural effusion"), "Effusion on the right").failed        # ("side",)

In doubt it is not graded, and a teacher may accept it later; an answer is never refused for its wording.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from assistant.evidence import words
from assistant.study import vocabulary
from assistant.study.items import Box, Gold, Outcome, Point
from assistant.study.reading import SILENT, SLOTS, Part, Reading, plain, read

VERSION = "1"
WORDS_FILE = Path(__file__).parent / "words.json"
# A box is grown by this share of its sides, and to at least this share of the image, before a click is judged.
GROWN, LEAST_SIDE = 0.25, 0.06
SHORTEST_TYPO = 5
FITS = 0.4
"""A drawn box fits where its intersection with the key's is this share of their union, as in RadGame."""
# Said beside the key, these deny nothing of it.
MAY_BE_ADDED = frozenset({"side", "level"})


@dataclass(frozen=True)
class Graded:
    """`failed` names the slots that were wrong, "finding" for the finding; `note` what was said but not checked."""

    outcome: Outcome
    failed: tuple[str, ...] = ()
    note: str = ""


RIGHT = Graded("right")
NOT_GRADED = Graded("not graded")


def grade(gold: Gold, said: str) -> Graded:
    """Whether a free text says what the key says, exactly, in any of its words."""
    keys = (gold.answer, *gold.synonyms)
    answer = plain(said)
    if not answer:
        return NOT_GRADED
    if answer in {plain(key) for key in keys}:
        return RIGHT
    answer = _mended(answer, keys)
    reading = read(answer)
    verdicts = [_compared(read(key), reading) for key in keys]
    if right := next((item for item in verdicts if item.outcome == "right"), None):
        return right
    if _unknown(answer, keys):
        return NOT_GRADED
    # What is nearest to one of the key's names tells best what was wrong.
    wrong = [item for item in verdicts if item.outcome == "wrong"]
    if len(wrong) < len(verdicts):
        return NOT_GRADED
    return min(wrong, key=lambda item: ("finding" in item.failed, len(item.failed)))


def grade_point(boxes: Sequence[Box], point: Point) -> Graded:
    """A click is right inside one of the boxes, a little grown."""
    for x, y, width, height in boxes:
        grown_w, grown_h = max(width * (1 + 2 * GROWN), LEAST_SIDE), max(height * (1 + 2 * GROWN), LEAST_SIDE)
        if abs(point[0] - x - width / 2) <= grown_w / 2 and abs(point[1] - y - height / 2) <= grown_h / 2:
            return RIGHT
    return Graded("wrong", ("place",))


def grade_box(boxes: Sequence[Box], drawn: Box) -> Graded:
    """A drawn box is right where it fits one of the boxes; "size" failed where only its middle is in the place."""
    best = max((overlap(box, drawn) for box in boxes), default=0.0)
    if best > FITS:
        return RIGHT
    middle = (drawn[0] + drawn[2] / 2, drawn[1] + drawn[3] / 2)
    there = grade_point(boxes, middle).outcome == "right"
    return Graded("wrong", ("size" if there else "place",), f"Your box and the key's overlap by {best:.0%}.")


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(wide, 0.0) * max(high, 0.0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def mentions(gold: Gold, text: str) -> bool:
    """Whether a text names the key, a synonym, or a slot of the key: no hint may."""
    said = plain(text)
    if any(re.search(rf"\b{re.escape(plain(key))}\b", said) for key in (gold.answer, *gold.synonyms) if key):
        return True
    key, told = read(gold.answer), read(text)
    return any(key.slot(slot) & told.slot(slot) for slot in SLOTS) or bool(key.terms and key.terms <= told.terms)


def _compared(key: Reading, said: Reading) -> Graded:
    if key.reply or said.reply:
        return _reply(key, said)
    if said.is_open != key.is_open:
        return NOT_GRADED
    if not key.parts:
        return NOT_GRADED
    failed, note = [], ""
    for slot in SLOTS:
        wanted, given = key.slot(slot), said.slot(slot)
        if slot == "negation":
            if (key.terms & said.denied) or (key.denied & said.terms):
                failed.append(slot)
            continue
        if wanted == given:
            continue
        if wanted or slot not in MAY_BE_ADDED or not (key.terms or key.denied):
            failed.append(slot)
        else:
            note = f"the {slot} is not checked: the source does not tell it"
    finding = _finding(key, said)
    if finding == "same" and key.denials != said.denials and "negation" not in failed:
        failed.append("negation")
    if finding == "other":
        failed.append("finding")
    if failed:
        only_added = all(not key.slot(slot) for slot in failed if slot not in ("finding", "negation"))
        is_sure = "finding" in failed or "negation" in failed or not only_added
        return Graded("wrong", tuple(failed)) if is_sure and finding != "unclear" else _unsure(failed, key, said)
    if finding == "unclear":
        return NOT_GRADED
    if _bound_otherwise(key, said):
        return _binding(key, said)
    return NOT_GRADED if _sides_stand_otherwise(key, said) else Graded("right", (), note)


def _unsure(failed: Sequence[str], key: Reading, said: Reading) -> Graded:
    """A slot that is said otherwise is wrong whatever else is unclear."""
    sure = [
        slot
        for slot in failed
        if slot == "negation" or (key.slot(slot) and said.slot(slot) and _one_word(slot, key, said))
    ]
    return Graded("wrong", tuple(sure)) if sure else NOT_GRADED


def _one_word(slot: str, key: Reading, said: Reading) -> bool:
    return slot != "finding" and not key.slot(slot) & said.slot(slot)


def _reply(key: Reading, said: Reading) -> Graded:
    """Yes, no and normal: only a reply answers a reply."""
    if key.reply and said.reply:
        same = key.reply == said.reply
        return (
            RIGHT
            if same
            else Graded("wrong", ("negation",))
            if {key.reply, said.reply} == {"yes", "no"}
            else NOT_GRADED
        )
    if key.reply == "normal":
        # Any finding that is affirmed contradicts a normal image.
        return Graded("wrong", ("finding",)) if said.terms and not said.denied and not said.is_open else NOT_GRADED
    if said.reply == "normal":
        return Graded("wrong", ("finding",)) if key.terms and not key.denied else NOT_GRADED
    return NOT_GRADED


def _finding(key: Reading, said: Reading) -> str:
    """ "same", "other", or "unclear" where one says more than the other."""
    wanted, given = key.terms | key.denied, said.terms | said.denied
    if wanted == given:
        return "same"
    implied = {more for term in wanted for more in words.WIDER.get(term, ())}
    missing, extra = wanted - given, given - wanted - implied
    if not missing and not extra:
        return "same"
    if not given:
        return "unclear" if said.parts else "other"
    places = _places() | words.DEGREES
    if missing and not missing <= places and extra and not extra <= places:
        return "other"
    return "other" if missing and extra and missing <= _places() and extra <= _places() else "unclear"


@lru_cache(maxsize=1)
def _places() -> frozenset[str]:
    """Terms that say where, the organs among them: of two places one is not the other."""
    organs = (term for name in vocabulary.names("organ") for term in read(name).terms)
    return words.PLACES | frozenset(organs)


def _bound_otherwise(key: Reading, said: Reading) -> bool:
    """Whether the same words stand together differently where it matters: two sides, or two levels."""
    if set(key.parts) == set(said.parts):
        return False
    return any(
        len(reading.slot(slot)) > 1 for reading in (key, said) for slot in ("side", "level", "polarity", "number")
    )


def _sides_stand_otherwise(key: Reading, said: Reading) -> bool:
    """Whether left and right stand before other words, where both are named: which is whose cannot be told then."""
    if len(key.slot("side")) < 2:
        return False
    return set(_SIDE_AND_NEXT.findall(key.plain)) != set(_SIDE_AND_NEXT.findall(said.plain))


def _binding(key: Reading, said: Reading) -> Graded:
    by_terms = {part.terms: part for part in key.parts}
    if len(key.parts) == len(said.parts) and all(part.terms in by_terms for part in said.parts):
        failed = [
            slot for slot in SLOTS for part in said.parts if _slot(part, slot) != _slot(by_terms[part.terms], slot)
        ]
        return Graded("wrong", tuple(dict.fromkeys(failed))) if failed else NOT_GRADED
    return NOT_GRADED


def _slot(part: Part, slot: str) -> frozenset[str]:
    return part.denied if slot == "negation" else part.slots.get(slot, frozenset())


_SIDE_AND_NEXT = re.compile(r"\b(?:left|right)\W+\w+")
_WORD = re.compile(r"[a-z]{2,}")


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Every word that is a word, so that none is taken for another one's typo."""
    listed: list[str] = json.loads(WORDS_FILE.read_text(encoding="utf-8"))
    own = " ".join(name for groups in vocabulary.CLASSES.values() for group in groups for name in group)
    groups = (word for group in words.SYNONYMS for word in group)
    return frozenset(
        (*listed, *_WORD.findall(own.lower()), *groups, *words.EMPTY_WORDS, *words.PLACES, *words.SIDES, *SILENT,
         *vocabulary.CONFUSABLE)
    )  # fmt: skip


def _unknown(answer: str, keys: Iterable[str]) -> bool:
    """Whether there is a word of which nothing is known: then it may say the same as the key."""
    of_keys = {word for key in keys for word in _WORD.findall(plain(key))}
    return any(
        word not in known_words() and word not in of_keys and not _is_form(word) for word in _WORD.findall(answer)
    )


def _is_form(word: str) -> bool:
    return any(
        word.removesuffix(end) in known_words() for end in ("s", "es", "ed", "ing", "ly", "al") if word.endswith(end)
    )


def _mended(answer: str, keys: Iterable[str]) -> str:
    """The answer with its typos of one edit mended: of words that are none, and near one word of the key alone."""
    wanted = {word for key in keys for word in _WORD.findall(plain(key))}

    def mend(match: re.Match[str]) -> str:
        word = match[0]
        if len(word) < SHORTEST_TYPO or word in wanted or word in known_words():
            return word
        near = _one_edit(word)
        meant = near & wanted
        others = {one for one in (near & known_words()) - meant if not _same_stem(one, meant)}
        return next(iter(meant)) if len(meant) == 1 and not others else word

    return _WORD.sub(mend, answer)


def _same_stem(word: str, meant: frozenset[str]) -> bool:
    return any(word.removesuffix("s") == other.removesuffix("s") for other in meant)


@cache
def _one_edit(word: str) -> frozenset[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    removed = (left + right[1:] for left, right in cuts if right)
    swapped = (left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1)
    changed = (left + letter + right[1:] for left, right in cuts if right for letter in letters)
    added = (left + letter + right for left, right in cuts for letter in letters)
    return frozenset((*removed, *swapped, *changed, *added)) - {word}
