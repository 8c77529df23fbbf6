"""Reports side by side, as a page or a Markdown table: protocol, n, controls and calibration stand beside accuracy.

write_leaderboard([Path("data/reports/slake-validate")], Path("leaderboard.html"))
line(report)                # one row of the table
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.evaluation.controls import CONTROLS
from serving.evaluation.report import ReportError, find, read_report
from serving.evaluation.templates import render

COLUMNS = (
    "model", "benchmark", "n", "accuracy", "open", "closed", "original scoring", "question only",
    *CONTROLS, "ECE raw", "ECE calibrated", "protocol",
)  # fmt: skip
EXPLAINED = {
    "accuracy": "percent, strict, with the 95 % interval over images",
    "original scoring": "MedVInT's own: the nearest choice by difflib",
    "question only": "accuracy of the most frequent training answer",
    "ECE raw": "expected calibration error of the probabilities as the model gives them",
    "ECE calibrated": "after a temperature fitted on one half of the images, measured on the other; "
    "or as the product shows it, with the model's stored calibration",
    **{name: f"points of accuracy lost under: {about}" for name, about in CONTROLS.items()},
}
NOTHING = "–"
NO_CONTROLS = "without controls"
QUOTED = "quoted"


def row(report: Mapping[str, Any]) -> dict[str, str]:
    """A report as text by column."""
    every = find(report, "conditions", "image") or {}
    return {
        "model": str(find(report, "model", "model") or "unnamed"),
        "benchmark": f"{report['benchmark']} ({report['file']}, {report['split']})",
        "n": f"{report['n']:,}",
        "accuracy": _interval(find(every, "all", "accuracy")),
        "open": _value(find(every, "open", "accuracy")),
        "closed": _value(find(every, "closed", "accuracy")),
        "original scoring": _value(find(every, "all", "original")),
        "question only": _value(find(report, "question_only", "all", "accuracy")),
        **{name: _control(report, name) for name in CONTROLS},
        "ECE raw": _share(find(report, "calibration", "raw", "ece")),
        "ECE calibrated": _calibrated(report),
        "protocol": _protocol(report),
    }


def quoted_row(quoted: Mapping[str, Any]) -> dict[str, str]:
    """A figure of someone else's, with only what its source tells."""
    told = {name: f"{quoted[name]:.1f}" for name in ("open", "closed") if name in quoted}
    return dict.fromkeys(COLUMNS, NOTHING) | {
        "model": quoted["model"],
        "benchmark": f"{quoted['benchmark']} ({quoted['file']})",
        "n": f"{quoted['n']:,}",
        "original scoring": f"{quoted['original']:.1f}" if "original" in quoted else NOTHING,
        **told,
        "protocol": f"{QUOTED}: {quoted['source']}, {NO_CONTROLS}",
    }


def line(report: Mapping[str, Any]) -> str:
    """One row of the Markdown table."""
    return _markdown(row(report))


def write_leaderboard(reports: Sequence[Path], out: Path) -> int:
    """Write the table of reports and quoted figures: a page, or Markdown where `out` ends in .md; returns the rows.

    Raises:
        ReportError: a report cannot be read, or none is named.
    """
    if not reports:
        raise ReportError("Name at least one report.")
    read = [read_report(path) for path in reports]
    quoted = json.loads((Path(__file__).parent / "quoted.json").read_text(encoding="utf-8"))
    # The same benchmark together; of one benchmark ours by name: this is no race.
    entries = sorted(
        [(one["benchmark"], False, row(one)) for one in read]
        + [(one["benchmark"], True, quoted_row(one)) for one in quoted],
        key=lambda entry: (entry[0], entry[2]["benchmark"], entry[1], entry[2]["model"]),
    )
    rows = [entry[2] for entry in entries]
    if out.suffix == ".md":
        header = [_markdown({name: name for name in COLUMNS}), "|" + "---|" * len(COLUMNS)]
        text = "\n".join([*header, *map(_markdown, rows)]) + "\n"
    else:
        text = render(
            "leaderboard.html.jinja", columns=COLUMNS, explained=EXPLAINED, rows=rows, marks=(QUOTED, NO_CONTROLS)
        )
    out.write_text(text, encoding="utf-8")
    return len(rows)


def _markdown(cells: Mapping[str, str]) -> str:
    return "| " + " | ".join(" ".join(cells[name].replace("|", "\\|").split()) for name in COLUMNS) + " |"


def _value(interval: Mapping[str, float] | None) -> str:
    return f"{interval['value']:.1f}" if interval else NOTHING


def _interval(interval: Mapping[str, float] | None) -> str:
    return f"{interval['value']:.1f} ({interval['low']:.1f} to {interval['high']:.1f})" if interval else NOTHING


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _control(report: Mapping[str, Any], name: str) -> str:
    lost = find(report, "controls", name, "accuracy_lost")
    return _interval(lost) if lost else "not run"


def _calibrated(report: Mapping[str, Any]) -> str:
    shown = find(report, "calibration", "as_shown", "ece")
    return _share(find(report, "calibration", "fitted", "after", "ece") if shown is None else shown)


def _protocol(report: Mapping[str, Any]) -> str:
    parts = ["greedy, the product's chat turn"]
    if report["instruction"]:
        parts.append(f"instruction: {report['instruction']}")
    missing = [name for name in CONTROLS if name not in report["controls"]]
    if {"blank", "other-image"} & set(missing):
        parts.append(NO_CONTROLS)
    elif missing:
        parts.append(f"not run: {', '.join(missing)}")
    if failed := report["failures"]["image"]:
        parts.append(f"{failed} without an answer, counted as wrong")
    return "; ".join(parts)
