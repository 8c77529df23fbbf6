"""The grader on answers that are made right or wrong on purpose, beside two ways that compare by likeness.

Keys are SLAKE's and VQA-RAD's answers and short sentences of ROCO's captions. What turns a key into another statement
must not be accepted; what only says it otherwise must be.
"""

import difflib
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from assistant.study import vocabulary
from assistant.study.grade import grade, known_words
from assistant.study.items import Gold
from assistant.study.reading import plain, read
from serving.evaluation.benchmarks import slake_rows, vqa_rad_rows

MOST_OF_A_SOURCE = 1500
SHORT = (2, 7)
_SWAPS: dict[str, tuple[tuple[str, str], ...]] = {
    "side": (("left", "right"),),
    "level": (("upper", "lower"), ("superior", "inferior"), ("anterior", "posterior"), ("above", "below"),
              ("medial", "lateral"), ("proximal", "distal")),
    "T1/T2": (("T1", "T2"),),
    "plane": (("axial", "coronal"), ("transverse", "sagittal")),
    "hyper/hypo": (("hyper", "hypo"),),
    "more/less": (("increased", "decreased"), ("enlarged", "small"), ("high", "low")),
}  # fmt: skip
_FINDINGS = (
    ("pneumothorax", "pneumonia"), ("effusion", "atelectasis"), ("edema", "hemorrhage"), ("tumor", "infarct"),
    ("mass", "cyst"), ("nodule", "abscess"), ("cancer", "stone"), ("fracture", "dislocation"),
    ("aneurysm", "thrombosis"),
    ("cardiomegaly", "emphysema"), ("hematoma", "metastasis"), ("stenosis", "aneurysm"), ("liver", "spleen"),
    ("kidney", "pancreas"), ("lung", "heart"), ("brain", "bladder"),
)  # fmt: skip
SWAPPED = (*_SWAPS, "negation")
GOALS = {"false accept": 0.5, "false reject": 3.0, "not graded": 5.0}
_SPELLED = {full: short for short, full in vocabulary.ABBREVIATIONS.items()}

Judge = Callable[[str, str], str]


@dataclass(frozen=True)
class Mutation:
    """A key, an answer made of it, and whether it says the same."""

    source: str
    kind: str
    key: str
    answer: str
    is_same: bool


def keys(data: Path, held_out: bool = False) -> Iterator[tuple[str, str]]:
    """Source and key, each once. Held out are captions that nobody looked at while the grader was made."""
    seen: set[str] = set()
    seen_sets = (("slake", _slake(data)), ("vqa-rad", _vqa_rad(data)), ("roco", _roco(data, "test")))
    for source, texts in (("roco held out", _roco(data, "validation")),) if held_out else seen_sets:
        number = 0
        for text in texts:
            text = " ".join(text.split()).strip(" .")
            if text.lower() not in seen and number < MOST_OF_A_SOURCE and re.search("[A-Za-z]{2}", text):
                seen.add(text.lower())
                number += 1
                yield source, text


def _slake(data: Path) -> Iterator[str]:
    return (
        row.answer
        for split in ("validate", "train")
        for row in slake_rows(data / "slake", split)
        if len(row.answer) < 80
    )


def _vqa_rad(data: Path) -> Iterator[str]:
    rows = (row for split in ("validate", "train") for row in vqa_rad_rows(data / "vqa-rad", split))
    return (row.answer for row in rows if len(row.answer) < 80)


def _roco(data: Path, part: str) -> Iterator[str]:
    """Short sentences of captions, without marks and letters of panels."""
    for line in (data / "roco-captions" / part / "radiology" / "captions.txt").read_text("utf-8").splitlines():
        text = line.partition("\t")[2].strip()
        for sentence in re.split(r"(?<=[a-z])\.\s+(?=[A-Z])", text):
            if SHORT[0] <= len(sentence.split()) <= SHORT[1] and not re.search(
                r"[()=:;\[\]/]|arrow|\bfig", sentence.lower()
            ):
                yield sentence


def mutations(data: Path, held_out: bool = False, seed: int = 0) -> list[Mutation]:
    """Every mutation of every key that can be made."""
    draw = random.Random(seed)  # noqa: S311
    found = []
    for source, key in keys(data, held_out):
        for kind, answer in _others(key):
            found.append(Mutation(source, kind, key, answer, False))
        for kind, answer in _sames(key, draw):
            found.append(Mutation(source, kind, key, answer, True))
    return [one for one in found if plain(one.answer) != plain(one.key) or one.is_same]


def _others(key: str) -> Iterator[tuple[str, str]]:
    for kind, pairs in _SWAPS.items():
        swapped = key
        for one, other in pairs:
            swapped = _swapped(swapped, one, other, whole=kind != "hyper/hypo")
        if swapped != key:
            yield kind, swapped
    if re.match(r"(?i)no (?!longer)", key):
        yield "negation", key[3:]
    elif not re.search(r"(?i)\b(?:no|not|without|none|yes|normal|absent|free)\b", key) and read(key).terms:
        yield "negation", f"no {key[0].lower()}{key[1:]}"
    for one, other in _FINDINGS:
        swapped = _swapped(key, one, other, whole=True)
        if set(re.findall(r"\w+", swapped.lower())) != set(re.findall(r"\w+", key.lower())):
            yield "another finding", swapped
            break
    if number := re.search(r"(?<![\w.])\d(?![\w.])", key):
        yield "number", f"{key[: number.start()]}{int(number[0]) + 1}{key[number.end() :]}"


def _swapped(text: str, one: str, other: str, *, whole: bool) -> str:
    edge = r"\b" if whole else ""
    pattern = re.compile(rf"\b({one}|{other}){edge}", re.IGNORECASE)
    return pattern.sub(lambda match: other if match[0].lower() == one.lower() else one, text)


def _sames(key: str, draw: random.Random) -> Iterator[tuple[str, str]]:
    yield "case", key.upper() if not re.search(r"[A-Z]{2}|\d", key) else key.lower()
    words = key.split()
    sides, levels = ("left", "right"), ("upper", "lower", "middle")
    for at, (one, other) in enumerate(pairwise(words)):
        pair = one.lower(), other.lower()
        if (pair[0] in sides and pair[1] in levels) or (pair[1] in sides and pair[0] in levels):
            yield "word order", " ".join([*words[:at], other, one, *words[at + 2 :]])
            break
    parts = [part.strip() for part in key.split(",")]
    if len(parts) > 1 and all(parts) and not re.search(r"\b(?:and|or|no|not|with)\b", key.lower()):
        yield "order of a list", ", ".join(reversed(parts))
    last = words[-1]
    if last.isalpha() and last.islower() and len(last) > 4 and last[-1] in "aeltrnm" and f"{last}s" in known_words():
        yield "plural", f"{key}s"
    for full, short in _SPELLED.items():
        if len(short) > 1 and re.search(rf"\b{full}\b", key.lower()):
            yield "abbreviation", re.sub(rf"\b{full}\b", short, key.lower(), count=1)
            break
    longest = max(re.findall(r"[A-Za-z]+", key), key=len)
    if len(longest) >= 7 and (typo := _typo(longest.lower(), draw)):
        yield "one typo", key.replace(longest, typo, 1)


def _typo(word: str, draw: random.Random) -> str:
    """One edit that gives no word."""
    for _ in range(20):
        at = draw.randrange(1, len(word) - 1)
        edited = draw.choice(
            (
                word[:at] + word[at + 1 :],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + draw.choice("aeiounrst") + word[at:],
                word[:at] + draw.choice("aeiounrst") + word[at + 1 :],
            )
        )
        if edited != word and edited not in known_words():
            return edited
    return ""


def by_slots(key: str, answer: str) -> str:
    return grade(Gold(key), answer).outcome


def by_likeness(key: str, answer: str) -> str:
    """difflib at 0.85, a rule that tutors use."""
    same = difflib.SequenceMatcher(None, key.lower(), answer.lower()).ratio() >= 0.85
    return "right" if same else "wrong"


def by_token_set(key: str, answer: str) -> str:
    """Shared words over the shorter text's words, at 0.85."""
    one, other = set(re.findall(r"\w+", key.lower())), set(re.findall(r"\w+", answer.lower()))
    return "right" if one and other and len(one & other) / min(len(one), len(other)) >= 0.85 else "wrong"


JUDGES: dict[str, Judge] = {"slots": by_slots, "difflib 0.85": by_likeness, "token set 0.85": by_token_set}


def measure(data: Path, held_out: bool = False) -> dict[str, Any]:
    """Percent by judge and kind of mutation, and rows that went wrong."""
    made = mutations(data, held_out)
    report: dict[str, Any] = {"mutations": len(made), "goals": GOALS, "judges": {}}
    for name, judge in JUDGES.items():
        outcomes = [(one, judge(one.key, one.answer)) for one in made]
        others = [(one, said) for one, said in outcomes if not one.is_same]
        sames = [(one, said) for one, said in outcomes if one.is_same]
        report["judges"][name] = {
            "false accept": _percent(said == "right" for _, said in others),
            "false accept of swaps": _percent(said == "right" for one, said in others if one.kind in SWAPPED),
            "false reject": _percent(said == "wrong" for _, said in sames),
            "not graded": _percent(said == "not graded" for _, said in outcomes),
            "n": [len(others), len(sames)],
            "by kind": {
                kind: {
                    outcome: sum(said == outcome for one, said in outcomes if one.kind == kind)
                    for outcome in ("right", "wrong", "not graded")
                }
                for kind in dict.fromkeys(one.kind for one in made)
            },
        }
        if name == "slots":
            bad = [(one, said) for one, said in outcomes if said != ("right" if one.is_same else "wrong")]
            report["rows"] = [{**vars(one), "said": said} for one, said in bad]
    return report


def _percent(values: Iterator[bool] | Any) -> float:
    found = list(values)
    return round(100 * sum(found) / max(len(found), 1), 2)


def main() -> None:
    """Print the rows that go wrong, for work on the grader."""
    import sys

    report = measure(Path(sys.argv[1]))
    for name, found in report["judges"].items():
        print(name, json.dumps(found))
    for row in random.Random(1).sample(report["rows"], min(60, len(report["rows"]))):  # noqa: S311
        print(row["source"], row["kind"], "|", row["key"], "|", row["answer"], "|", row["said"])


if __name__ == "__main__":
    main()
