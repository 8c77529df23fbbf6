"""Figures of one way to judge over labelled rows, each with its 95 % interval over figures and images."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from assistant.evidence import support
from assistant.evidence.evaluation.rows import LABELS, Row
from retrieval.figures import Figure, Hit
from serving.evaluation.intervals import interval

Judge = Callable[[Row], str]
# What the issue asks for: at least, or at most where the figure is an error.
GOALS = {"precision of supported": 90, "side flagged": 90, "negation flagged": 90}


def judged(row: Row) -> str:
    """ "supported", the kind of contradiction, or "not_found": what the product says of the row."""
    figure = Figure(row.origin, "", row.origin, "", row.caption, "", "", row.source)
    found = support(row.question, row.answer, [Hit(figure, 1.0, 1, ("text",))])
    if len(found) != 1:
        return "not_found"
    (item,) = found
    return item.contradictions[0].kind if item.verdict == "contradicted" else item.verdict


def measured(rows: Sequence[Row], judge: Judge) -> dict[str, Any]:
    """Every figure as {"value", "low", "high", "n"} in percent, and the counts of each label by what was said of it."""
    said = [judge(row) for row in rows]
    counts = {
        label: Counter(way for row, way in zip(rows, said, strict=True) if row.label == label) for label in LABELS
    }
    figures: dict[str, Any] = {
        "precision of supported": _share(rows, said, among=lambda _, way: way == "supported", label="supported"),
        "recall of supported": _share(rows, said, among=lambda row, _: row.label == "supported", way="supported"),
    }
    for label in LABELS[1:5]:
        figures[f"{label} flagged"] = _share(rows, said, among=lambda row, _, name=label: row.label == name, way=label)
        figures[f"{label} called supported"] = _share(
            rows, said, among=lambda row, _, name=label: row.label == name, way="supported"
        )
    unrelated: dict[str, Any] = {"among": lambda row, _: row.label == "unrelated"}
    figures["unrelated called supported"] = _share(rows, said, way="supported", **unrelated)
    figures["unrelated called contradicted"] = _share(rows, said, way="contradicted", **unrelated)
    figures["supported called contradicted"] = _share(
        rows, said, among=lambda row, _: row.label == "supported", way="contradicted"
    )
    return {"figures": figures, "counts": {label: dict(found) for label, found in counts.items() if found}}


def _share(
    rows: Sequence[Row],
    said: Sequence[str],
    *,
    among: Callable[..., bool],
    way: str = "",
    label: str = "",
) -> dict[str, Any] | None:
    """The share of those `among` that were judged `way`, or are labelled `label`; None where there are none."""
    chosen = [(row, told) for row, told in zip(rows, said, strict=True) if among(row, told)]
    if not chosen:
        return None
    hits = [float(_is(told, way) if way else row.label == label) for row, told in chosen]
    return {**interval(hits, [row.origin for row, _ in chosen]), "n": len(chosen)}


def _is(told: str, way: str) -> bool:
    return told not in ("supported", "not_found") if way == "contradicted" else told == way


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures of several judges side by side, as text."""
    names = list(results)
    lines = [f"{'percent (n)':<32}" + "".join(f"{name:>26}" for name in names)]
    for figure in next(iter(results.values()))["figures"]:
        cells = [_cell(results[name]["figures"][figure]) for name in names]
        goal = f"   goal >= {GOALS[figure]}" if figure in GOALS else ""
        lines.append(f"{figure:<32}" + "".join(f"{cell:>26}" for cell in cells) + goal)
    return "\n".join(lines)


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "-"
    return f"{figure['value']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}] ({figure['n']})"
