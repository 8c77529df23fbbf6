"""Can a pack be answered without looking? Guessers that see the words alone, each with its score and chance.

    blind.check(items)["longest option"]      # {"score": 0.34, "chance": 0.33, "n": 120}

A guesser that is more than five points over chance means that the pack gives itself away.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from assistant.study.items import Item
from assistant.study.making import MARGIN, blind_click

Guesser = Callable[[Item, "_Known"], str]


class _Known:
    """How often each key was right, over a whole pack."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.by_question: dict[object, Counter[str]] = {}
        self.shown: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        for item in items:
            for name in (item.stem, (item.stem, frozenset(item.options))):
                self.by_question.setdefault(name, Counter())[item.gold.answer] += 1
            self.shown.update(item.options)
            self.right[item.gold.answer] += 1


def check(items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Scores in [0, 1] by guesser; guessers for which there are no items are left out.

    Keys are learned on all other items, so a guesser knows the pack as well as anybody who has played it.
    """
    chosen = [item for item in items if item.options]
    found: dict[str, dict[str, Any]] = {}
    if chosen:
        known = _Known(chosen)
        chance = sum(1 / len(item.options) for item in chosen) / len(chosen)
        for name, guess in _GUESSERS.items():
            hits = [_share_right(item, guess(item, known)) for item in chosen]
            found[name] = result(sum(hits) / len(hits), chance, len(hits))
    clicked: dict[str, list[Item]] = {}
    for item in items:
        if item.kind == "place":
            clicked.setdefault(item.stem, []).append(item)
    if clicked:
        scores = [(*blind_click(tuple(item.gold.boxes for item in group)), len(group)) for group in clicked.values()]
        total = sum(number for *_, number in scores)
        score = sum(hit * number for hit, _, number in scores) / total
        found["best fixed click"] = result(score, sum(chance * number for _, chance, number in scores) / total, total)
    return found


def fails(checked: dict[str, dict[str, Any]]) -> list[str]:
    """Guessers that beat chance by more than the margin."""
    return [name for name, one in checked.items() if one["score"] > one["chance"] + MARGIN]


def result(score: float, chance: float, number: int) -> dict[str, Any]:
    """A guesser's line; it passes within the margin over chance."""
    return {"score": round(score, 4), "chance": round(chance, 4), "n": number, "passes": score <= chance + MARGIN}


def _share_right(item: Item, guesses: str) -> float:
    """A guess among equals counts in part."""
    said = guesses.split("\n")
    return (item.gold.answer in said) / len(said)


def _by_question(item: Item, known: _Known) -> str:
    return _best(item, known.by_question[item.stem])


def _by_question_and_options(item: Item, known: _Known) -> str:
    return _best(item, known.by_question[item.stem, frozenset(item.options)])


def _by_option(item: Item, known: _Known) -> str:
    """The option that is most often right where it is shown."""
    share = {option: known.right[option] / known.shown[option] for option in item.options}
    return "\n".join(option for option in item.options if share[option] == max(share.values()))


def _longest(item: Item, _: _Known) -> str:
    most = max(map(len, item.options))
    return "\n".join(option for option in item.options if len(option) == most)


def _best(item: Item, counts: Counter[str]) -> str:
    most = max(counts[option] for option in item.options)
    return "\n".join(option for option in item.options if counts[option] == most)


_GUESSERS: dict[str, Guesser] = {
    "most frequent key of the question": _by_question,
    "most frequent key of these options": _by_question_and_options,
    "option most often right": _by_option,
    "longest option": _longest,
}
