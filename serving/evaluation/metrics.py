"""Scores of one answer, each in [0, 1] or a truth value.

exact_match("The left lung.", "left lung")    # True
token_f1("left lower lobe", "left lung")      # 0.4
right(row, "B")                               # by the strict scoring that belongs to the row
"""

import difflib
import math
import re
from collections import Counter
from collections.abc import Sequence

from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.pmc_vqa import choice_text

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s/%+-]")
# A letter alone or with a mark behind it: "A", "(b)", "C: lateral"; not the article of "a lateral view".
_LETTER = re.compile(r"^\W*(?:([A-Z])(?![A-Za-z])|([a-z])(?=\s*(?:[:.)]|$)))")


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation, articles and runs of spaces (as SQuAD's scorer does)."""
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split())


def exact_match(answer: str, gold: str) -> bool:
    return normalise_answer(answer) == normalise_answer(gold)


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over words, in [0, 1]."""
    said, wanted = normalise_answer(answer).split(), normalise_answer(gold).split()
    shared = _shared(said, wanted)
    if not shared:
        return float(said == wanted)
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def bleu_1(answer: str, gold: str) -> float:
    """BLEU of one word for one answer (Papineni et al., 2002): clipped precision times the brevity penalty."""
    said, wanted = normalise_answer(answer).split(), normalise_answer(gold).split()
    if not said:
        return float(said == wanted)
    return _shared(said, wanted) / len(said) * min(1.0, math.exp(1 - len(wanted) / len(said)))


def _shared(said: list[str], wanted: list[str]) -> int:
    return sum((Counter(said) & Counter(wanted)).values())


def chosen_letter(answer: str, choices: Sequence[str]) -> int | None:
    """The choice whose letter the answer begins with."""
    found = _LETTER.match(answer.strip())
    index = ord((found[1] or found[2]).upper()) - ord("A") if found else len(choices)
    return index if index < len(choices) else None


def chosen(answer: str, choices: Sequence[str]) -> int | None:
    """Strictly: the choice that the answer names by its letter or by its whole text; None if by neither."""
    letter = chosen_letter(answer, choices)
    if letter is not None:
        return letter
    same = [index for index, choice in enumerate(choices) if exact_match(answer, choice_text(choice))]
    return same[0] if len(same) == 1 else None


def nearest_choice(answer: str, choices: Sequence[str]) -> int | None:
    """MedVInT's own scoring: the first choice with the highest ratio of `difflib.SequenceMatcher`, none if all are 0.

    The choices keep their letters and spaces, as the original compares them (PMC-VQA, src/MedVInT_TD/test.py), so a
    lone "A" goes to the shortest choice with an A in it, which is not always choice A.
    """
    ratios = [difflib.SequenceMatcher(None, choice, answer).ratio() for choice in choices]
    best = max(ratios)
    return ratios.index(best) if best > 0 else None


def original_right(row: VqaRow, answer: str) -> bool:
    """As MedVInT's test.py counts it: one letter where the choices are shown, else the whole text, to the nearest.

    Raises ValueError for a row without choices: the original has no scorer for it.
    """
    if not row.choices:
        raise ValueError(f"{row.question_id} has no choices")
    said = answer
    if row.choices_shown and (letter := chosen_letter(answer, row.choices)) is not None:
        said = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[letter]
    return nearest_choice(said, row.choices) == row.correct


def right(row: VqaRow, answer: str) -> bool:
    """The strict scoring: the right choice where choices are shown, else normalised exact match."""
    return chosen(answer, row.choices) == row.correct if row.choices_shown else exact_match(answer, row.answer)
