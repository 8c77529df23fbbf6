"""report.html: a report as one file that needs no other and no network.

write_page(report, {"xmlab1/source.jpg": path}, Path("report.html"))
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from serving.evaluation import plots
from serving.evaluation.controls import CONTROLS
from serving.evaluation.intervals import Interval
from serving.evaluation.report import find
from serving.evaluation.tables import METRICS
from serving.evaluation.templates import render

THUMBNAIL = 160
FIELDS = ("kind", "content_type", "modality")


def write_page(report: Mapping[str, Any], images: Mapping[str, Path], out: Path) -> None:
    """Write the page; `images` are the files behind the names in `report["worst"]`."""
    worst = report["worst"]
    shown = {name: path for name, path in images.items() if name in {one["image"] for one in worst}}
    page = render(
        "report.html.jinja",
        report=report,
        title=f"{find(report, 'model', 'model') or 'A model'} on {report['benchmark']}",
        controls=CONTROLS,
        metrics=METRICS,
        span=_span,
        plots=_plots(report),
        fields={field: sorted({one[field] for one in worst if one[field]}) for field in FIELDS},
        thumbnails={name: thumbnail(path) for name, path in shown.items()},
    )
    out.write_text(page, encoding="utf-8")


def thumbnail(path: Path) -> str:
    """The image as a small data URI; "" for a kind of file that Pillow cannot open, such as DICOM."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except UnidentifiedImageError:
        return ""
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _plots(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    values = [(name, table["all"]["accuracy"]) for name, table in report["conditions"].items()]
    if report["question_only"]:
        values.append(("question only", report["question_only"]["all"]["accuracy"]))
    drawn: list[tuple[str, str]] = [("Accuracy under each condition, with 95 % intervals", plots.bars(values))]
    calibration = report["calibration"]
    after = find(calibration, "fitted", "after")
    measured = [("before", calibration["fitted"]["before"]), ("after", after)] if after else []
    measured = measured or ([("as it says", calibration["raw"])] if "raw" in calibration else [])
    if measured:
        curves = [(name, [(b["probability"], b["right"]) for b in one["bins"]]) for name, one in measured]
        drawn.append(("Reliability: on the diagonal a probability is what it says", plots.reliability(curves)))
        risks = [(name, [(point[0], point[1]) for point in one["risk_coverage"]]) for name, one in measured[:1]]
        drawn.append(("Risk against coverage, surest answers first", plots.risk_coverage(risks)))
    return drawn


def _span(interval: Interval | None) -> str:
    return f"{interval['value']} ({interval['low']} to {interval['high']})" if interval else "–"
