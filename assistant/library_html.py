"""The Library page's parts in HTML: results, a figure's page, the corpora, a preview, a job.

Everything that a person or a corpus wrote is escaped here.
"""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from PIL import ImageOps

from assistant import figure_cards as cards
from assistant.library import FigurePage, Preview, Query, Results
from assistant.library_jobs import Job
from assistant.pages import root_of
from assistant.progress import elapsed
from retrieval.figures import Figure, Hit
from retrieval.upkeep import IndexStats

ROOT = root_of("Library")
BARS = 8
EXAMPLES = 3
NOT_NAMED = "not named"
LONGEST_QUOTE = 120
QUERY_IMAGE_SIDE = 96

INVITATION = (
    '<div class="panel-empty"><h2>Find figures</h2><p>By words, by an image, or by both. Every figure keeps its '
    "licence and the link to its article.</p></div>"
)
NO_SUCH_FIGURE = (
    '<article class="figure-page"><p class="problem">The index has no such figure (any more).</p>'
    '<p><a href="./" data-figure="">close</a></p></article>'
)
FORM_OF_OWN = (
    "<p>A ZIP or a folder with images and a table (CSV or JSONL) of what they show. The columns <code>image</code>, "
    "the file's name, and <code>caption</code> are needed; <code>licence</code>, <code>label</code>, "
    "<code>description</code>, <code>modality</code>, <code>region</code>, <code>findings</code>, <code>year</code> "
    "and <code>url</code> are read where they are there.</p>"
    '<p class="small">You see what would be left out before anything is stored. Nothing leaves this machine. Names '
    "that are burned into an image stay in it: remove them first.</p>"
)


def searching(stage: str) -> str:
    """While a search runs."""
    return f'<p class="stage" role="status">{escape(stage)}</p>'


def results(found: Results, pictures: cards.Pictures) -> str:
    """The hits as cards, or why there are none."""
    if found.problem:
        return f'<p class="problem" role="status">{escape(found.problem)}</p>'
    asked = _asked(found.query)
    if not found.hits:
        return (
            f'<div class="results"><p role="status">Nothing in the index is similar to {asked}.</p>'
            '<p class="small">Fewer filters or other words may help. Nothing is shown rather than something far away.'
            "</p></div>"
        )
    count = f"{len(found.hits)} figure{'s' if len(found.hits) != 1 else ''}"
    shown = "".join(_card(hit, pictures) for hit in found.hits)
    return (
        f'<div class="results"><p role="status">{count} for {asked}, the most similar first.</p>'
        f'<div class="figure-grid">{shown}</div></div>'
    )


def _asked(query: Query) -> str:
    words = query.text if len(query.text) <= LONGEST_QUOTE else query.text[: LONGEST_QUOTE - 1] + "…"
    said = [f"“{escape(words)}”"] if words else []
    if query.image is not None:
        buffer = io.BytesIO()
        ImageOps.contain(query.image.image, (QUERY_IMAGE_SIDE, QUERY_IMAGE_SIDE)).save(buffer, "JPEG")
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        said.append(f'your image <img class="query-image" alt="" src="data:image/jpeg;base64,{data}">')
    return " and ".join(said)


def _card(hit: Hit, pictures: cards.Pictures) -> str:
    figure = hit.figure
    picture = cards.picture(figure, ROOT, pictures)
    opened = f'href="{escape(cards.page_address(figure.figure_id))}" data-figure="{escape(figure.figure_id)}"'
    told = cards.relevance(hit) or f"similarity {hit.score:.2f}"
    return (
        '<article class="figure-card">'
        + (f'<a class="thumb-link" {opened} tabindex="-1" aria-hidden="true">{picture}</a>' if picture else "")
        + f"<h3><a {opened}>{escape(cards.source(figure))}</a></h3>"
        f'<p class="card-head"><span>{told}</span> <span>found by {cards.found_by(hit)}</span></p>'
        f'<p class="caption">{escape(figure.caption)}</p>'
        f'<p class="small">{_facets(figure)}</p>{cards.duplicates(hit.also, ROOT)}'
        f'<p class="small">{escape(figure.license)} · {cards.copy_button(figure)}</p></article>'
    )


def _facets(figure: Figure) -> str:
    year = str(figure.year) if figure.year else ""
    parts = (figure.modality, figure.region, year, cards.corpus_title(figure.source))
    return " · ".join(escape(part) for part in parts if part)


def figure_page(page: FigurePage, pictures: cards.Pictures) -> str:
    """One figure with all that is known of it."""
    figure = page.figure
    picture = cards.picture(figure, ROOT, pictures) or (
        '<p class="no-picture">The picture is in the article; it is not on this machine.</p>'
    )
    whose = cards.OURS if figure.caption_by == "medvint" else "Caption"
    description = f"<h3>Description</h3><p>{escape(figure.description)}</p>" if figure.description else ""
    known = {
        "Source": cards.link(figure),
        "Licence": escape(figure.license),
        "Year": str(figure.year or ""),
        "Corpus": escape(cards.corpus_title(figure.source)),
        "Modality": escape(figure.modality),
        "Region": escape(figure.region),
        "Findings": escape(", ".join(figure.findings)),
        "The same figure": ", ".join(f"{_internal(other)} ({escape(other.license)})" for other in page.also),
    }
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in known.items() if value)
    similar = "".join(_line(hit, pictures) for hit in page.similar)
    return (
        '<article class="figure-page" tabindex="-1">'
        f'<div class="page-head"><h2>{escape(cards.source(figure))}</h2><a href="./" data-figure="">close</a></div>'
        f'{picture}<p class="caption">{escape(figure.caption)}</p><p class="small">{whose}</p>{description}'
        f"<dl>{facts}</dl><p>{cards.copy_button(figure)}</p>"
        + (f'<h3>Similar figures</h3><ul class="similar">{similar}</ul>' if similar else "")
        + "</article>"
    )


def _internal(figure: Figure) -> str:
    address, figure_id = escape(cards.page_address(figure.figure_id)), escape(figure.figure_id)
    return f'<a href="{address}" data-figure="{figure_id}">{escape(cards.source(figure))}</a>'


def _line(hit: Hit, pictures: cards.Pictures) -> str:
    caption = hit.figure.caption
    short = caption if len(caption) <= LONGEST_QUOTE else caption[: LONGEST_QUOTE - 1] + "…"
    picture = cards.picture(hit.figure, ROOT, pictures)
    return f"<li>{picture}<div>{_internal(hit.figure)}<br>{escape(short)}</div></li>"


def overview(stats: IndexStats) -> str:
    """The corpora with their counts, licences and modalities."""
    shown = "".join(
        f'<section class="corpus"><h3>{escape(cards.corpus_title(name))}</h3>'
        f"<p>{corpus.figures:,} figures{_span(corpus.years)}; {_pictures(corpus.images)}</p>"
        f'<h4>Licences</h4><p class="chips">{_chips(corpus.licences)}</p>'
        f"<h4>Modalities</h4>{_bars(corpus.modalities, corpus.figures)}</section>"
        for name, corpus in sorted(stats.corpora.items(), key=lambda item: -item[1].figures)
    )
    sizes = (("figures", stats.bytes_parquet), ("search database", stats.bytes_chroma))
    disk = ", ".join(f"{what} {size / 2**20:,.1f} MB" for what, size in (*sizes, ("pictures", stats.bytes_thumbnails)))
    corpora = f"{len(stats.corpora)} corp{'us' if len(stats.corpora) == 1 else 'ora'}"
    behind = "" if stats.in_step else problem("The search database is behind the figures: Rebuild makes it anew.")
    return (
        f"{behind}<p><b>{stats.figures:,} figures</b> in {corpora}.</p>"
        f'<p class="small">Embedded by {escape(stats.embedder)}. On disk: {disk}.</p><div class="corpora">{shown}</div>'
    )


def _pictures(count: int) -> str:
    return f"{count:,} with their picture on this machine" if count else "their pictures are in the articles"


def _span(years: Mapping[int, int]) -> str:
    known = sorted(year for year in years if year)
    if not known:
        return ""
    return f", {known[0]}" if known[0] == known[-1] else f", {known[0]} to {known[-1]}"


def _chips(licences: Mapping[str, int]) -> str:
    counts = Counter(licences).most_common()
    return " ".join(f'<span class="chip">{escape(name)} <b>{count:,}</b></span>' for name, count in counts)


def _bars(counts: Mapping[str, int], total: int) -> str:
    ordered = Counter({name or NOT_NAMED: count for name, count in counts.items()}).most_common()
    rest = sum(count for _, count in ordered[BARS:])
    rows = [*ordered[:BARS], *([("other", rest)] if rest else [])]
    return (
        '<table class="bars"><caption class="visually-hidden">Figures by modality</caption>'
        + "".join(
            f'<tr><th scope="row">{escape(name)}</th><td class="bar"><i style="width:{100 * count / total:.1f}%"></i>'
            f'</td><td class="count">{count:,}</td></tr>'
            for name, count in rows
        )
        + "</table>"
    )


def problem(words: str) -> str:
    """Why something cannot be shown or done."""
    return f'<p class="problem" role="status">{escape(words)}</p>'


def preview(found: Preview) -> str:
    """What would be added and what would be left out, and why."""
    if found.report is None:
        return problem(found.problem)
    report = found.report
    left_out = sum(report.skipped.values())
    said = f"<p role=status><b>{escape(found.name)}</b>: {report.figures:,} figures would be added"
    if not left_out:
        return f'<div class="preview">{said}, nothing would be left out.</p></div>'
    rows = "".join(
        f"<tr><td>{escape(reason)}</td><td class=count>{count:,}</td>"
        f"<td>{_examples(report.examples.get(reason, ()), count)}</td></tr>"
        for reason, count in report.skipped.most_common()
    )
    return (
        f'<div class="preview">{said}, {left_out:,} rows would be left out:</p><table><thead><tr><th>Why</th>'
        f"<th class=count>Rows</th><th>Which</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _examples(names: Sequence[str], count: int) -> str:
    shown = escape(", ".join(names[:EXAMPLES]))
    if count <= EXAMPLES:
        return shown
    rest = "".join(f"<li>{escape(name)}</li>" for name in names[EXAMPLES:])
    unnamed = f"<li>and {count - len(names):,} more</li>" if count > len(names) else ""
    return f"{shown} <details><summary>{count - EXAMPLES:,} more</summary><ul>{rest}{unnamed}</ul></details>"


def job(current: Job | None, refused: str = "") -> str:
    """What is being written, or how it ended; `refused` is why something else was not begun."""
    said = problem(refused) if refused else ""
    if current is None:
        return said
    words = escape(current.told())
    if current.state == "running":
        size = f' value="{current.done}" max="{current.total}"' if current.total else ""
        return (
            f'{said}<div class="job" role="status"><p><b>{escape(current.title)}</b> · {words} · '
            f"{elapsed(current.started)}</p><progress{size}></progress></div>"
        )
    if current.state == "failed":
        return said + problem(f"{current.title}: {current.told()}")
    return f'{said}<p class="job" role="status"><b>{escape(current.title)}</b>: {words}</p>'
