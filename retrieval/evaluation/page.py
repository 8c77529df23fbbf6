"""report.html: the report as one file that needs no other and no network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from retrieval.evaluation.plots import rejection
from serving.evaluation import plots, templates
from serving.evaluation.intervals import Interval

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(report: Mapping[str, Any], out: Path) -> None:
    style = (templates.FOLDER / "page.css").read_text(encoding="utf-8")
    page = _ENVIRONMENT.get_template("report.html.jinja").render(
        report=report,
        style=Markup(style),  # noqa: S704 - our own file
        span=_span,
        agreements=[("SLAKE validate", report["agreement"]), ("Other sets, held out", report["other_findings"])],
        known_item_plots=[
            (form, plots.bars([(way, cells["recall@5"]) for way, cells in one["ways"].items()]))
            for form, one in report["known_item"]["forms"].items()
        ],
        scope_plots=[
            (f"Rejection of {title} that do not belong", rejection(list(part["curves"].items())))
            for title, part in report["scope"].items()
        ],
        relevance_plots=[
            (
                f"{kind}: on the diagonal a probability is what it says",
                plots.reliability([(kind, [(b["probability"], b["right"]) for b in one["bins"]])]),
            )
            for kind, one in report["relevance"].items()
        ],
    )
    out.write_text(page, encoding="utf-8")


def _span(interval: Interval | None) -> str:
    return f"{interval['value']} ({interval['low']} to {interval['high']})" if interval else "–"
