"""The Library page's parts in HTML: results, a figure's page, a preview, a job.

The corpora are in `figure_library_overview`.

Everything that a person or a corpus wrote is escaped here.
"""

import base64
import io
import time
from collections.abc import Sequence
from html import escape

from PIL import ImageOps

from assistant import figure_cards as cards
from assistant import figure_library_words as words
from assistant.figure_library import FigurePage, Preview, Query, Results
from assistant.figure_library_jobs import Job
from assistant.pages import root_of
from assistant.progress import elapsed
from retrieval.figures import Figure, Hit

ROOT = root_of("Library")
EXAMPLES = 3
LONGEST_QUOTE = 120
QUERY_IMAGE_SIDE = 96
SECONDS_BEFORE_TIME_IS_SHOWN = 3

COLUMNS_READ = ("licence", "label", "description", "modality", "region", "findings", "year", "url")
NO_SUCH_FIGURE = (
    f'<article class="figure-page" tabindex="-1"><p class="problem">{words.NO_SUCH_FIGURE}</p>'
    f'<p><a href="./" data-figure="">{words.CLOSE}</a></p></article>'
)


def invitation() -> str:
    """What the page shows before the first search."""
    examples = " ".join(
        f'<button type="button" class="copy" data-find="{escape(example)}">{escape(example)}</button>'
        for example in words.EXAMPLES
    )
    return (
        f'<div class="panel-empty"><h2>{words.FIND}</h2><p>{words.INVITATION}</p>'
        f'<p class="buttons"><span class="small">{words.SUCH_AS}</span> {examples}</p></div>'
    )


def nothing_yet() -> str:
    """In the place of the corpora where there are none."""
    return f'<p role="status">{words.NO_FIGURES}</p>'


def form_of_own() -> str:
    """What an own collection has to look like."""
    others = ", ".join(_code(name) for name in COLUMNS_READ)
    form = words.FORM_OF_OWN.format(image=_code("image"), caption=_code("caption"), others=others)
    return f'<p>{form}</p><p class="small">{words.FORM_OF_OWN_NOTE}</p>'


def _code(name: str) -> str:
    return f"<code>{name}</code>"


def waiting(stage: str, since: float | None = None) -> str:
    """What is being done, with the time so far once it takes long; `since` is a `time.monotonic()`."""
    takes_long = since is not None and time.monotonic() - since >= SECONDS_BEFORE_TIME_IS_SHOWN
    taken = f" · {elapsed(since)}" if since is not None and takes_long else ""
    return f'<p class="stage" role="status">{escape(stage)}{taken}</p>'


def problem(told: str) -> str:
    """Why something cannot be shown or done."""
    return f'<p class="problem" role="status">{escape(told)}</p>'


def results(found: Results, pictures: cards.Pictures) -> str:
    """The hits as cards, or why there are none."""
    if found.problem:
        return problem(found.problem)
    asked = _asked(found.query)
    if not found.hits:
        said = words.NOTHING_SIMILAR_FILTERED if found.filtered else words.NOTHING_SIMILAR
        advice = words.FILTERED_ADVICE if found.filtered else words.NOTHING_SIMILAR_ADVICE
        return (
            f'<div class="results"><p role="status">{said.format(asked=asked)}</p><p class="small">{advice}</p></div>'
        )
    said = words.FOUND_LIKE if found.query.figure else words.FOUND
    told = said.format(figures=words.figures(len(found.hits)), asked=asked)
    heading = f'<h2 class="visually-hidden">{words.RESULTS}</h2>'
    shown = "".join(_card(hit, pictures, by=not found.query.figure) for hit in found.hits)
    return f'<div class="results"><p role="status">{told}</p>{heading}<div class="figure-grid">{shown}</div></div>'


def _asked(query: Query) -> str:
    said = []
    if query.figure is not None:
        said.append(_internal(query.figure))
    if query.text:
        said.append(f"“{escape(_short(query.text))}”")
    if query.image is not None:
        buffer = io.BytesIO()
        ImageOps.contain(query.image.image, (QUERY_IMAGE_SIDE, QUERY_IMAGE_SIDE)).save(buffer, "JPEG")
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        said.append(f'{words.YOUR_IMAGE} <img class="query-image" alt="" src="data:image/jpeg;base64,{data}">')
    return words.AND.join(said)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


def _card(hit: Hit, pictures: cards.Pictures, by: bool) -> str:
    """A hit; `by` says which query found it."""
    figure = hit.figure
    picture = cards.picture(figure, ROOT, pictures)
    opened = f'href="{escape(cards.page_address(figure.figure_id))}" data-figure="{escape(figure.figure_id)}"'
    told = cards.relevance(hit) or words.SIMILARITY.format(score=hit.score)
    found_by = f" <span>{words.FOUND_BY.format(query=cards.found_by(hit))}</span>" if by else ""
    return (
        '<article class="figure-card">'
        + (f'<a class="thumb-link" {opened} tabindex="-1" aria-hidden="true">{picture}</a>' if picture else "")
        + f"<h3><a {opened}>{escape(cards.source(figure))}</a></h3>"
        f'<p class="card-head"><span>{told}</span>{found_by}</p>'
        f'<p class="caption">{escape(figure.caption)}</p>'
        f'<p class="small facets">{_facets(figure)}</p>{cards.duplicates(hit.also, ROOT)}'
        f'<p class="small">{escape(figure.license)} · {cards.copy_button(figure)}</p></article>'
    )


def _facets(figure: Figure) -> str:
    year = str(figure.year) if figure.year else ""
    parts = (figure.modality, figure.region, year, cards.corpus_title(figure.source))
    return " · ".join(escape(part) for part in parts if part)


def figure_page(page: FigurePage, pictures: cards.Pictures, large: cards.Pictures) -> str:
    """One figure with all that is known of it; its own picture is the `large` one."""
    figure = page.figure
    picture = cards.picture(figure, ROOT, large) or f'<p class="no-picture">{words.NOT_HERE}</p>'
    whose = cards.OURS if figure.caption_by == "medvint" else words.CAPTION
    description = f"<h3>{words.DESCRIPTION}</h3><p>{escape(figure.description)}</p>" if figure.description else ""
    known = {
        "source": cards.link(figure),
        "licence": escape(figure.license),
        "year": str(figure.year or ""),
        "corpus": escape(cards.corpus_title(figure.source)),
        "modality": escape(figure.modality),
        "region": escape(figure.region),
        "findings": escape(", ".join(figure.findings)),
        "also": ", ".join(f"{_internal(other)} ({escape(other.license)})" for other in page.also),
    }
    facts = "".join(f"<dt>{words.FACTS[name]}</dt><dd>{value}</dd>" for name, value in known.items() if value)
    similar = "".join(_line(hit, pictures) for hit in page.similar)
    like = f'<button type="button" class="copy" data-like="{escape(figure.figure_id)}">{words.MORE_LIKE}</button>'
    return (
        f'<article class="figure-page" tabindex="-1" aria-label="{escape(cards.source(figure))}">'
        f'<div class="page-head"><h2>{escape(cards.source(figure))}</h2>'
        f'<a href="./" data-figure="">{words.CLOSE}</a></div>'
        f'{picture}<p class="caption">{escape(figure.caption)}</p><p class="small">{whose}</p>{description}'
        f'<dl>{facts}</dl><p class="buttons">{cards.copy_button(figure)} {like if similar else ""}</p>'
        f"<h3>{words.SIMILAR}</h3>"
        + cards.look_alike_button(figure.figure_id)
        + (f'<ul class="similar">{similar}</ul>' if similar else f'<p class="small">{words.NOTHING_LIKE_IT}</p>')
        + "</article>"
    )


def _internal(figure: Figure) -> str:
    address, figure_id = escape(cards.page_address(figure.figure_id)), escape(figure.figure_id)
    return f'<a href="{address}" data-figure="{figure_id}">{escape(cards.source(figure))}</a>'


def _line(hit: Hit, pictures: cards.Pictures) -> str:
    picture = cards.picture(hit.figure, ROOT, pictures)
    return f"<li>{picture}<div>{_internal(hit.figure)}<br>{escape(_short(hit.figure.caption))}</div></li>"


def preview(found: Preview) -> str:
    """What would be added and what would be left out, and why."""
    if found.report is None:
        return problem(found.problem)
    report = found.report
    left_out = sum(report.skipped.values())
    added = words.WOULD_BE_ADDED.format(figures=words.figures(report.figures))
    said = f'<p role="status"><b>{escape(found.name)}</b>: {added}'
    if not left_out:
        return f'<div class="preview">{said}{words.NOTHING_LEFT_OUT}</p></div>'
    rows = "".join(
        f'<tr><td>{escape(reason)}</td><td class="count">{count:,}</td>'
        f"<td>{_examples(report.examples.get(reason, ()), count)}</td></tr>"
        for reason, count in report.skipped.most_common()
    )
    return (
        f'<div class="preview">{said}{words.LEFT_OUT.format(rows=words.rows(left_out))}</p>'
        f'<table><thead><tr><th scope="col">{words.WHY}</th><th scope="col" class="count">{words.ROWS}</th>'
        f'<th scope="col">{words.WHICH}</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _examples(names: Sequence[str], count: int) -> str:
    shown = escape(", ".join(names[:EXAMPLES]))
    if count <= EXAMPLES:
        return shown
    rest = "".join(f"<li>{escape(name)}</li>" for name in names[EXAMPLES:])
    unnamed = f"<li>{words.AND_MORE.format(count=count - len(names))}</li>" if count > len(names) else ""
    more = words.MORE.format(count=count - EXAMPLES)
    return f"{shown} <details><summary>{more}</summary><ul>{rest}{unnamed}</ul></details>"


def job(current: Job | None, refused: str = "") -> str:
    """What is being written, or how it ended; `refused` is why something else was not begun."""
    said = problem(refused) if refused else ""
    if current is None:
        return said
    told = escape(current.told())
    if current.state == "running":
        size = f' value="{current.done}" max="{current.total}"' if current.total else ""
        return (
            f'{said}<div class="job" role="status"><p><b>{escape(current.title)}</b> · {told} · '
            f'{elapsed(current.started)}</p><progress aria-label="{escape(current.title)}"{size}></progress></div>'
        )
    if current.state == "failed":
        return said + problem(f"{current.title}: {current.told()}")
    return f'{said}<p class="job" role="status"><b>{escape(current.title)}</b>: {told}</p>'
