"""Two runs on the same questions: the difference with its interval, who flips what, and whether it could be chance.

compare(Path("data/reports/slake-a"), Path("data/reports/slake-b"))["metrics"]["accuracy"]["difference"]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.evaluation.answers import read_lines
from serving.evaluation.intervals import intervals, mcnemar
from serving.evaluation.report import ReportError, read_report
from serving.evaluation.tables import METRICS

EXAMPLES = 20


def compare(a: Path, b: Path) -> dict[str, Any]:
    """B minus A over the questions that both answered, in points; intervals draw whole images.

    Args:
        a: folder of a run (report.json and scores.jsonl).
        b: folder of the other.

    Raises:
        ReportError: one is no run, they are of different data, or they share no question.
    """
    reports = [read_report(folder) for folder in (a, b)]
    for what, values in (
        ("benchmark", [report["benchmark"] for report in reports]),
        ("data", [report["hashes"]["data"] for report in reports]),
    ):
        if values[0] != values[1]:
            raise ReportError(f"{a} and {b} are of different {what} ({values[0]}, {values[1]}): nothing to pair.")
    left, right = (_scores(folder) for folder in (a, b))
    shared = [name for name in left if name in right]
    if not shared:
        raise ReportError(f"{a} and {b} share no question.")
    pairs = [(left[name], right[name]) for name in shared]
    names = [name for name in reports[0]["metrics"] if name in reports[1]["metrics"]]
    differences = np.array([[y[name] - x[name] for name in names] for x, y in pairs])
    measured = intervals(differences, [x["image"] for x, _ in pairs])
    metrics: dict[str, dict[str, Any]] = {
        name: {
            "a": round(100 * float(np.mean([x[name] for x, _ in pairs])), 1),
            "b": round(100 * float(np.mean([y[name] for _, y in pairs])), 1),
            "difference": difference,
        }
        for name, difference in zip(names, measured, strict=True)
    }
    only_a = [(x, y) for x, y in pairs if x["accuracy"] > y["accuracy"]]
    only_b = [(x, y) for x, y in pairs if y["accuracy"] > x["accuracy"]]
    return {
        "a": _who(reports[0]),
        "b": _who(reports[1]),
        "n": len(pairs),
        "left_out": {"only in a": len(left) - len(shared), "only in b": len(right) - len(shared)},
        "metrics": metrics,
        "flips": {
            "only a right": len(only_a),
            "only b right": len(only_b),
            "mcnemar_p": mcnemar(len(only_a), len(only_b)),
            "examples_only_a_right": _examples(only_a),
            "examples_only_b_right": _examples(only_b),
        },
    }


def in_words(comparison: Mapping[str, Any]) -> str:
    """A few lines for a terminal."""
    lines = [
        f"A: {comparison['a']}",
        f"B: {comparison['b']}",
        f"{comparison['n']} questions that both answered, B minus A in points (95 % interval over images):",
    ]
    for name, values in comparison["metrics"].items():
        d = values["difference"]
        told = f"{d['value']:+.1f} ({d['low']:+.1f} to {d['high']:+.1f})"
        lines.append(f"   {METRICS[name]}: {values['a']} -> {values['b']}, {told}")
    flips = comparison["flips"]
    lines.append(
        f"   only A right: {flips['only a right']}, only B right: {flips['only b right']}; "
        f"exact McNemar p = {flips['mcnemar_p']:.3g} (takes questions as independent, which those of one image are not)"
    )
    return "\n".join(lines)


def _scores(folder: Path) -> dict[str, dict[str, Any]]:
    path = (folder if folder.is_dir() else folder.parent) / "scores.jsonl"
    if not path.is_file():
        raise ReportError(f"{path} is missing: name the folder of a run.")
    return {row["question_id"]: row for row in read_lines(path)}


def _who(report: Mapping[str, Any]) -> str:
    model = report["model"].get("model", "unnamed")
    return f"{model} on {report['benchmark']} ({report['file']}, {report['split']}, n = {report['n']})"


def _examples(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, str]]:
    return [
        {
            "question_id": x["question_id"],
            "question": x["question"],
            "gold": x["gold"],
            "a": x["answer"],
            "b": y["answer"],
        }
        for x, y in pairs[:EXAMPLES]
    ]
