"""An answer to its verdict in words: what was right, which slot was wrong, and the marks."""

from collections.abc import Sequence

from assistant.study.grade import FITS, Graded, grade, grade_box, grade_point
from assistant.study.items import MARKS, Commitment, Item, Reasons, Ticked, Verdict
from assistant.study.reading import read

LONGEST_ANSWER = 300
_NAMES = {
    "finding": "another finding", "side": "wrong side", "level": "wrong level", "plane": "another plane",
    "modality": "another kind of image", "number": "another number", "polarity": "the opposite",
    "place": "another place",    "negation": "the opposite: said to be there, or not to be there",
}  # fmt: skip


def mark(item: Item, commitment: Commitment, hints_used: int = 0) -> Verdict:
    """The verdict of code, and the certainty-based marks: +1, +2, +3 where right; 0, -2, -6 where wrong."""
    if commitment.gave_up:
        return Verdict("wrong", "You gave up on this one.", 0, ("gave up",))
    graded = _graded(item, commitment)
    if graded.outcome == "not graded":
        return Verdict("not graded", "This answer could not be marked; it costs nothing, and the teacher sees it.", 0)
    right = graded.outcome == "right"
    words = "Right." if right else _wrong(item, commitment.answer, graded.failed)
    if right and hints_used:
        words = f"Right, with {hints_used} hint{'s' if hints_used > 1 else ''}."
    marks, reasons = MARKS[commitment.certainty, right], _reasons(item, commitment)
    return Verdict(graded.outcome, words, marks, graded.failed, graded.note, reasons)


def ticked(item: Item, commitment: Commitment) -> tuple[Ticked, ...]:
    """Each feature of a pair's checklist as it is and as it was ticked."""
    tells = dict(item.gold.tells)
    return tuple(Ticked(one, tells.get(one, ""), one in commitment.ticks) for one in item.checklist)


def _reasons(item: Item, commitment: Commitment) -> Reasons | None:
    if not item.checklist:
        return None
    hits = [bool(one.picture) for one in ticked(item, commitment) if one.ticked]
    return Reasons(len(item.gold.tells), sum(hits), len(hits) - sum(hits))


def _graded(item: Item, commitment: Commitment) -> Graded:
    if item.kind == "place":
        if commitment.box:
            return grade_box(item.gold.boxes, commitment.box)
        return grade_point(item.gold.boxes, commitment.point or (-1.0, -1.0))
    if item.kind == "option" or commitment.answer in item.options:
        right = commitment.answer == item.gold.answer
        return Graded("right") if right else _slots(item, commitment.answer)
    return grade(item.gold, commitment.answer)


def _slots(item: Item, answer: str) -> Graded:
    """A wrong option: which slot it is wrong in, where that can be told."""
    graded = grade(item.gold, answer)
    return Graded("wrong", graded.failed if graded.outcome == "wrong" else ())


def _wrong(item: Item, answer: str, failed: Sequence[str]) -> str:
    if "size" in failed:
        return f"Right place, but the box does not fit: it has to overlap the key's by more than {FITS:.0%}."
    if item.kind == "place":
        return "Not there: the box shows where it is."
    slots = [slot for slot in failed if slot != "finding"]
    if slots and "finding" not in failed and read(item.gold.answer).terms:
        said = f"Right finding, {_NAMES[slots[0]]}"
    elif slots:
        said = _NAMES[slots[0]].capitalize()
    else:
        said = "Wrong"
    return f"{said}: you said {answer.strip()}; it is {item.gold.answer}."
