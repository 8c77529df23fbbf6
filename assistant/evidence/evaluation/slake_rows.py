"""Labelled rows from SLAKE's triples: its own questions and answers beside a caption made of the same image's facts.

The questions are people's, the answers short, so this is where a claim is only complete with its question.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistant.evidence.evaluation.rows import Half, Label, Row

FILES: dict[Half, str] = {"development": "train.json", "held_out": "validate.json"}
MODALITIES = {"CT": "CT scan", "MRI": "Magnetic resonance image", "X-Ray": "Radiograph"}
PLACES = {"Lung": "chest", "Brain_Tissue": "brain", "Brain": "brain", "Pelvic Cavity": "pelvis", "Chest_heart": "chest"}
_SIDED = re.compile(r"(?:(Upper|Lower) )?(Left|Right) (Lung|Lobe|Kidney)", re.IGNORECASE)
_CONTAINS = re.compile(
    r"Does the picture contain (?!the )(\w[\w ]*)\?|Is there an? (\w[\w ]*?) in the (?:image|picture)\?"
)
_LOCATES = re.compile(
    r"(?:Where|What part of the lung)\b.*\b(?:abnormalit|locat|tumor|edema|cancer|mass|nodule|lesion)"
)


@dataclass
class _Facts:
    """What the triples of one image say."""

    modality: str = ""
    place: str = ""
    findings: list[str] = field(default_factory=list)
    where: tuple[str, str, str] | None = None
    organs: list[str] = field(default_factory=list)


def slake_rows(data: Path, half: Half, draw: random.Random) -> Iterator[Row]:
    """Rows of every label but "number" from the images of one half."""
    rows = json.loads((data / "slake" / FILES[half]).read_text(encoding="utf-8"))
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        images[row["img_name"]].append(row)
    facts = {name: _facts(asked) for name, asked in images.items()}
    for name, asked in images.items():
        maker = _Maker(half, name, facts[name], draw)
        yield from maker.of_questions(asked)
        yield from maker.of_unrelated(facts)


def _facts(asked: Sequence[dict[str, Any]]) -> _Facts:
    facts = _Facts(
        asked[0]["modality"], PLACES.get(asked[0]["location"], asked[0]["location"].lower().replace("_", " "))
    )
    for row in asked:
        question, answer = row["question"], row["answer"]
        if question.startswith("What diseases are") and answer.lower() not in ("none", "no"):
            facts.findings = [part.strip().lower() for part in answer.replace("Brian", "Brain").split(",")]
        located = _SIDED.fullmatch(answer) or _SIDED.fullmatch(" ".join(reversed(answer.split(", "))))
        if row["content_type"] == "Position" and _LOCATES.match(question) and located and facts.where is None:
            facts.where = (located[1] or "").lower(), located[2].lower(), located[3].lower()
        contained = _CONTAINS.fullmatch(question)
        if contained and answer == "Yes":
            facts.organs.append((contained[1] or contained[2]).replace("brian", "brain"))
    return facts


class _Maker:
    def __init__(self, half: Half, name: str, facts: _Facts, draw: random.Random) -> None:
        self._half, self._name, self._facts, self._draw = half, name, facts, draw
        self._caption = self._of(facts)

    def _of(self, facts: _Facts) -> str:
        """A caption as an article would have it."""
        said = f"{MODALITIES.get(facts.modality, facts.modality)} of the {facts.place}"
        if facts.findings:
            said += self._draw.choice((" showing ", " demonstrates ", " reveals ")) + " and ".join(facts.findings[:2])
        if facts.where:
            height, side, part = facts.where
            at = f"{side} {height} {part}" if self._draw.random() < 0.5 else f"{height} {side} {part}"
            said += f" in the {' '.join(at.split())}"
        if facts.organs:
            said += ". The " + " and the ".join(facts.organs[:3]) + f" {'are' if facts.organs[1:] else 'is'} visible"
        return said + "."

    def _row(self, label: Label, made: str, question: str, answer: str, caption: str = "") -> Row:
        return Row("slake", self._half, label, made, question, answer, caption or self._caption, self._name)

    def of_questions(self, asked: Sequence[dict[str, Any]]) -> Iterator[Row]:
        facts = self._facts
        for question, answer in dict.fromkeys((row["question"], row["answer"]) for row in asked):
            contained = _CONTAINS.fullmatch(question)
            if (
                contained
                and answer == "Yes"
                and (contained[1] or contained[2]).replace("brian", "brain") in facts.organs[:3]
            ):
                if "brian" in question:
                    continue
                yield self._row("supported", "contains", question, "Yes")
                yield self._row("negation", "contains", question, "No")
            elif question.startswith("What modality is used"):
                yield self._row("supported", "modality", question, answer)
        for finding in facts.findings[:2]:
            yield self._row("supported", "disease", "What diseases are included in the picture?", finding.title())
            yield self._row("supported", "observed", f"Can {finding} be observed in the picture?", "Yes")
            yield self._row("negation", "observed", f"Can {finding} be observed in the picture?", "No")
            yield self._row("negation", "has", f"Does the patient have {finding}?", "No.")
            for other in ("CT", "MRI", "X-Ray"):
                if other != facts.modality:
                    yield self._row("modality", "shows", f"Does this {other} show {finding}?", "Yes")
        if facts.where and len(facts.findings) == 1:
            height, side, part = facts.where
            finding, other = facts.findings[0], "right" if side == "left" else "left"
            part = "lung" if facts.place == "chest" else part
            question = f"Where is the {finding} located?"
            yield self._row("supported", "where", question, f"{height} {side} {facts.where[2]}".strip().title())
            yield self._row("side", "where", question, f"{height} {other} {facts.where[2]}".strip().title())
            yield self._row("side", "which side", f"Which side is the {finding} on, left or right?", other.title())
            yield self._row("supported", "which side", f"Which side is the {finding} on, left or right?", side.title())
            yield self._row(
                "side", "observed", f"Can {finding} be observed on the {other} {part} in this picture?", "Yes"
            )

    def of_unrelated(self, facts: dict[str, _Facts]) -> Iterator[Row]:
        own = self._facts
        others = [
            item for item in facts.values() if item.place != own.place or not set(item.findings) & set(own.findings)
        ]
        if not own.findings or not others:
            return
        other = self._draw.choice(others)
        family = {word for finding in own.findings for word in finding.split()} - {"brain", "lung", "liver"}
        if family & {word for finding in other.findings for word in finding.split()}:
            return
        caption = self._of(other)
        yield self._row(
            "unrelated", "disease", "What diseases are included in the picture?", own.findings[0].title(), caption
        )
        yield self._row("unrelated", "observed", f"Can {own.findings[0]} be observed in the picture?", "Yes", caption)
        if own.where:
            yield self._row(
                "unrelated",
                "where",
                f"Where is the {own.findings[0]} located?",
                " ".join(own.where).strip().title(),
                caption,
            )
