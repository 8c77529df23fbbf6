"""What chat and library show of one figure alike: its picture, source, licence, duplicates, and how relevant it is.

Everything that a corpus wrote is escaped here. Addresses are relative to `root`, the page's way to the root.
"""

from collections.abc import Callable
from html import escape
from urllib.parse import quote

from assistant.confidence import LIKELY, POSSIBLE
from assistant.lookalikes import LookAlike
from retrieval.corpora.registry import CORPORA
from retrieval.figures import Figure, Hit

Pictures = Callable[[Figure], str]
"""Gives the address of a figure's small picture as `FigureSearch.picture` does."""
OURS = "Description by this project, not the authors' caption"


def relevance(hit: Hit) -> str:
    """How relevant a hit is, in words first; "" where nothing was calibrated."""
    if hit.relevance is None:
        return ""
    word = "likely" if hit.relevance >= LIKELY else "possibly" if hit.relevance >= POSSIBLE else "perhaps not"
    return f"{word} relevant ({hit.relevance * 100:.0f} %)"


def found_by(hit: Hit) -> str:
    """Which query found it, in words."""
    names = {"image": "the image", "look": "the image", "text": "the words", "terms": "the words"}
    return " and ".join(dict.fromkeys(names.get(view, view) for view in hit.found_by))


def corpus_title(name: str) -> str:
    """A corpus as a screen names it."""
    return CORPORA[name].title if name in CORPORA else name


def source(figure: Figure) -> str:
    """The article's number, or outside PMC the corpus, with the figure's label."""
    return ", ".join(part for part in (figure.pmcid or corpus_title(figure.source), figure.label) if part)


def link(figure: Figure) -> str:
    """The source, linked to its page where that is an https address."""
    label = escape(source(figure))
    if not figure.article_url.startswith("https://"):
        return label
    return f'<a href="{escape(figure.article_url)}" target="_blank" rel="noopener noreferrer">{label}</a>'


def attribution(figure: Figure) -> str:
    """A figure's source in the form that a slide needs."""
    year = str(figure.year) if figure.year else ""
    origin = figure.pmcid or corpus_title(figure.source)
    name = figure.label or (figure.graphic if figure.pmcid else "")
    parts = (name, origin, year, figure.license, figure.article_url)
    return ", ".join(part for part in parts if part)


def copy_button(figure: Figure) -> str:
    """Copies the attribution with one click (`screen.js`)."""
    text = escape(attribution(figure))
    return f'<button type="button" class="copy" data-copy="{text}">copy attribution</button>'


def page_address(figure_id: str) -> str:
    """A figure's page, below the library's address."""
    return f"?figure={quote(figure_id, safe='')}"


def thumbnail_address(figure_id: str) -> str:
    """A figure's small picture, below the root."""
    return f"thumbnails{page_address(figure_id)}"


def picture_address(figure_id: str) -> str:
    """A figure's picture as large as a page shows it, below the root."""
    return f"pictures{page_address(figure_id)}"


def no_pictures(_: Figure) -> str:
    """Shows none."""
    return ""


def picture(figure: Figure, root: str, pictures: Pictures) -> str:
    """The small picture, or "" where there is none."""
    address = pictures(figure)
    if not address:
        return ""
    address = address if address.startswith("https://") else f"{root}{address}"
    about = " ".join(part for part in (figure.modality, figure.region) if part)
    alt = escape(f"Figure of {source(figure)}{f': {about}' if about else ''}")
    return f'<img class="thumb" src="{escape(address)}" alt="{alt}" loading="lazy" referrerpolicy="no-referrer">'


def look_alike_button(figure_id: str) -> str:
    """Opens the look-alike below itself (`screen.js`)."""
    return (
        f'<p class="alike-row"><button type="button" class="copy" data-alike="{escape(figure_id)}">'
        "what looks like it, and is not</button></p>"
    )


def look_alike(alike: LookAlike, root: str, pictures: Pictures) -> str:
    """Both figures side by side, with the difference in words."""
    sides = "".join(
        f'<div class="alike-side"><p><b>{name}</b>: {escape(", ".join(findings))}</p>'
        f"{picture(figure, root, pictures) or '<p class=small>Its picture is not on this machine.</p>'}"
        f'<p class="caption">{escape(figure.caption)}</p>'
        f'<p class="small">{escape(figure.license)} · {link(figure)} · {copy_button(figure)}</p></div>'
        for name, figure, findings in (
            ("This one", alike.figure, alike.here),
            ("The other", alike.other, alike.there),
        )
    )
    return f'<div class="alike"><p class="alike-words">{escape(alike.words())}</p>{sides}</div>'


def duplicates(also: tuple[Figure, ...], root: str) -> str:
    """The other sources of the same picture, each with its licence and a link to its page in the library."""
    if not also:
        return ""
    places = ", ".join(
        f'<a href="{root}library/{escape(page_address(figure.figure_id))}" data-figure="{escape(figure.figure_id)}">'
        f"{escape(source(figure))}</a>"
        f" ({escape(figure.license)})"
        for figure in also
    )
    return f'<p class="small">The same figure also in {places}</p>'
