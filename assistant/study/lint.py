"""Item flaws that give the answer away or make a question unfair, and how to mend each [NBME guide; Haladyna 2002]."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assistant.study.items import Item
from assistant.study.reading import read
from assistant.study.vocabulary import names

_ABSOLUTE = re.compile(r"\b(?:always|never|all|none|only|must|every|completely|entirely)\b", re.IGNORECASE)
_OF_ABOVE = re.compile(r"\b(?:all|none|both|neither) of (?:the above|these|them)\b|\ba and b\b", re.IGNORECASE)
_NEGATIVE_STEM = re.compile(r"\b(?:NOT|EXCEPT)\b|\b(?:not true|incorrect|except)\b")
_SILENT = frozenset("the a an of in on is are this that which what where with and or to".split())  # noqa: SIM905
LONGER = 1.5
"""A key so many times as long as the longest other option stands out."""


@dataclass(frozen=True)
class Flaw:
    """`is_error` stops publishing; else it is a flaw to weigh."""

    item_id: str
    kind: str
    words: str
    fix: str
    is_error: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check(items: Sequence[Item]) -> list[Flaw]:
    """Every flaw of a set of items."""
    fair = _fair_sets(items)
    options = {item.item_id: frozenset(item.options) for item in items}
    flaws = [
        flaw
        for item in items
        for flaw in check_item(item)
        if flaw.kind != "longest key" or options[item.item_id] not in fair
    ]
    seen: dict[str, str] = {}
    for item in items:
        if item.item_id in seen:
            flaws.append(
                Flaw(item.item_id, "same id", "Two items have one id.", "Give each row a case_id of its own.", True)
            )
        seen[item.item_id] = item.stem
    return flaws


def _fair_sets(items: Sequence[Item]) -> set[frozenset[str]]:
    """Sets of options of which each is the key as often as any other: there its length tells nothing."""
    keys: dict[frozenset[str], Counter[str]] = {}
    for item in items:
        if item.options:
            keys.setdefault(frozenset(item.options), Counter())[item.gold.answer] += 1
    return {options for options, counts in keys.items() if len({counts[option] for option in options}) == 1}


def check_item(item: Item) -> Iterator[Flaw]:
    """The flaws of one item."""

    def flaw(kind: str, words: str, fix: str, *, is_error: bool = False) -> Flaw:
        return Flaw(item.item_id, kind, words, fix, is_error)

    key, options = item.gold.answer, item.options
    if not item.stem.strip():
        yield flaw("no stem", "There is no question.", "Write one.", is_error=True)
    if item.kind == "place":
        if not item.gold.boxes:
            yield flaw("no place", "A click is asked for and no box is given.", "Give boxes=x,y,w,h.", is_error=True)
        return
    if not key.strip():
        yield flaw("no key", "There is no answer.", "Fill in the column answer.", is_error=True)
        return
    if _NEGATIVE_STEM.search(item.stem):
        yield flaw("negative stem", "The question asks for what is not so.", "Ask for what is so.")
    if item.vocabulary and item.kind == "text" and key not in names(item.vocabulary):
        yield flaw("key not in class", f"{key!r} is not among the suggested answers.", "Use one of the class's words.")
    if not options:
        if item.kind == "option":
            yield flaw("no options", "There are no options to choose from.", "Give at least two.", is_error=True)
        return
    yield from _of_options(item, flaw)


def _of_options(item: Item, flaw: Any) -> Iterator[Flaw]:
    key, options = item.gold.answer, item.options
    others = [option for option in options if option != key]
    if key not in options:
        yield flaw("key among no options", f"The answer {key!r} is not among the options.", "Add it.", is_error=True)
        return
    if len(set(map(str.lower, options))) < len(options):
        yield flaw("same option", "Two options are the same.", "Change one.", is_error=True)
    if len(options) < 2:
        yield flaw("one option", "There is nothing to choose.", "Give at least two options.", is_error=True)
        return
    if len(key) > 12 and len(key) > LONGER * max(map(len, others)):
        yield flaw("longest key", "The right option is much the longest.", "Make the options alike in length.")
    if found := [option for option in options if _OF_ABOVE.search(option)]:
        yield flaw("all of the above", f"{found[0]!r} tests logic.", "Replace it by an answer.")
    elif found := [option for option in options if len(option.split()) > 2 and _ABSOLUTE.search(option)]:
        yield flaw("absolute", f"{found[0]!r} has an absolute word.", "Leave the word out.")
    # "an" before the key alone.
    if match := re.search(r"\b(an?) ?\W*$", item.stem.rstrip("?:. _")):
        fits = [option for option in options if (option[:1].lower() in "aeiou") == (match[1] == "an")]
        if fits == [key]:
            yield flaw("grammar", "Only the right option fits the article.", 'Write "a(n)".')
    cue = _words(item.stem) & _words(key)
    if cue and not any(cue & _words(option) for option in others):
        yield flaw(
            "cue word", f"{sorted(cue)[0]!r} stands in the question and in the right option alone.", "Say it otherwise."
        )
    readings = [(option, read(option)) for option in options]
    names_of_key = {read(name).terms for name in (key, *item.gold.synonyms)}
    for at, (one, said) in enumerate(readings):
        for other, told in readings[at + 1 :]:
            alike = said.reply == told.reply and said.parts == told.parts and (said.parts or said.reply)
            if alike:
                yield flaw("same meaning", f"{one!r} and {other!r} say the same.", "Change one.", is_error=True)
        if one != key and said.terms and said.terms in names_of_key and said.parts == read(key).parts:
            yield flaw("second right option", f"{one!r} is another name of the answer.", "Change it.", is_error=True)
    for option in others:
        if option.lower() in (fact.lower() for fact in item.gold.facts):
            yield flaw("second right option", f"{option!r} is true of this image too.", "Change it.", is_error=True)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]{3,}", text.lower()) if word not in _SILENT}
