"""Turns as a screen shows them: chat messages in Markdown, and the panel of similar figures in HTML.

Everything that a person, a model or a corpus wrote is escaped here.
"""

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from assistant import figure_cards
from assistant.chat import Turn
from assistant.confidence import POSSIBLE
from assistant.evidence import Support
from assistant.figure_cards import Pictures, no_pictures
from assistant.pages import PAGES, root_of
from assistant.uploads import CleanImage
from retrieval.figures import Hit

ROOT = root_of("Chat")
SAVE = Callable[[CleanImage], str]
SECONDS_BEFORE_TIME_IS_SHOWN = 3

EMPTY_PANEL = (
    '<div class="panel-empty"><h2>Similar figures</h2><p>Figures from open-access articles that look or read alike '
    "appear here, with their licence and a link to the article.</p></div>"
)


def messages(turns: Sequence[Turn], save: SAVE, *, waited_s: float = 0, problem: str = "") -> list[dict[str, Any]]:
    """The conversation as Gradio's chat messages.

    Args:
        turns: the last one may be unfinished.
        save: writes an image where the browser may fetch it and returns the path.
        waited_s: seconds since the last turn was sent, shown while nothing else is.
        problem: why the last turn has no answer, or no more of it.
    """
    shown: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        is_last = number == len(turns) - 1
        for image in turn.images:
            alt = f"Image sent with the question: {turn.question}"
            shown.append({"role": "user", "content": {"path": save(image), "alt_text": alt}})
        if turn.question:
            shown.append({"role": "user", "content": _plain(turn.question)})
        body = _answer(turn, number, waited_s if is_last else 0, problem if is_last else "")
        shown.append({"role": "assistant", "content": body})
    return shown


def turn_of_message(turns: Sequence[Turn], index: int) -> int:
    """Which turn the chat's message with this index belongs to, both from 0."""
    owners = [number for number, turn in enumerate(turns) for _ in range(len(turn.images) + bool(turn.question) + 1)]
    return owners[min(index, len(owners) - 1)]


def _answer(turn: Turn, number: int, waited_s: float, problem: str) -> str:
    parts = []
    if turn.stage:
        parts.append(_plain(turn.answer))
        if not problem and not turn.answer:
            time = f" · {waited_s:.0f} s" if waited_s >= SECONDS_BEFORE_TIME_IS_SHOWN else ""
            parts.append(f'<span class="stage">{escape(turn.stage)}{time}</span>')
    else:
        parts += [f'<span class="earlier">Before: {_plain(answer)}</span>' for answer in turn.earlier_answers]
        parts.append(_marked(turn, number) or '<span class="stage">The model had nothing to say.</span>')
        if told := _told(turn, number):
            parts.append(f'<span class="told">{told}</span>')
        if turn.looked:
            parts.append(f'<span class="looked">{escape(turn.looked)}</span>')
        if turn.where:
            parts.append(f'<span class="looked">{escape(turn.where.words())}</span>')
        if turn.feedback:
            parts.append(f'<span class="judged">{escape(turn.feedback.words())}</span>')
    if notes := [*turn.notes, *(note for image in turn.images for note in image.notes)]:
        parts.append(f'<span class="note">{escape("; ".join(notes))}</span>')
    if problem:
        parts.append(f'<span class="problem">{escape(problem)}</span>')
    return "\n\n".join(part for part in parts if part)


def _marked(turn: Turn, number: int) -> str:
    shown, done = [], 0
    for item in turn.support:
        shown.append(_plain(turn.answer[done : item.end]))
        shown.extend(f" {_marker(number, rank)}" for rank in item.supported_by)
        done = item.end
    return "".join(shown) + _plain(turn.answer[done:])


def _told(turn: Turn, number: int) -> str:
    """Confidence and support, in words first."""
    said = []
    if turn.confidence:
        looks = ": see what looks similar" if turn.confidence.value < POSSIBLE and turn.hits else ""
        said.append(turn.confidence.words() + looks)
    if len(turn.support) == 1:
        said.append(_linked(turn.support[0].words(), number))
    elif turn.support:
        found = sum(item.verdict == "supported" for item in turn.support)
        said.append(f"{found} of {len(turn.support)} sentences supported by a caption")
        said.extend(_linked(item.words(), number) for item in turn.support if item.contradicted_by)
    return " · ".join(said)


def _linked(words: str, number: int) -> str:
    return re.sub(r"\[(\d+)\]", lambda match: _marker(number, int(match[1])), escape(words))


def _marker(turn_number: int, rank: int) -> str:
    return f'<a class="marker" href="#{figure_id(turn_number, rank)}">[{rank}]</a>'


def figure_id(turn_number: int, rank: int) -> str:
    """The element id of a figure's card; markers in the answer lead to it."""
    return f"figure-{turn_number + 1}-{rank}"


def _plain(text: str) -> str:
    # Markdown's pictures would make the browser fetch whatever address a text names.
    return escape(text, quote=False).replace("![", "!\\[")


def panel(turns: Sequence[Turn], pictures: Pictures = no_pictures) -> str:
    """The similar figures of every turn, the latest open and on top; `pictures` says where their pictures are."""
    found = [(number, turn) for number, turn in enumerate(turns) if turn.hits]
    if not found:
        said = turns[-1].notes if turns and not turns[-1].stage else ()
        told = "".join(f"<p>{escape(note)}</p>" for note in said)
        return f'<div class="panel-empty"><h2>Similar figures</h2>{told}</div>' if said else EMPTY_PANEL
    latest = len(turns) - 1
    blocks = []
    for number, turn in reversed(found):
        cards = "".join(_card(number, hit, turn.support, pictures) for hit in turn.hits)
        heading = f"<summary>{escape(turn.question)}</summary>"
        is_open = " open" if number == latest or number == found[-1][0] else ""
        blocks.append(f"<details{is_open}>{heading}{cards}</details>")
    lead = "<p>Similar is not the same as supporting: a card says so where its text supports the answer.</p>"
    return f'<div class="panel"><h2>Similar figures</h2>{lead}{"".join(blocks)}</div>'


def _card(number: int, hit: Hit, supports: Sequence[Support], pictures: Pictures) -> str:
    figure = hit.figure
    verdicts = "".join(_verdict(item, hit.rank) for item in supports)
    words = {word for item in supports for word in item.matches.get(hit.rank, ())}
    kind = figure_cards.OURS if figure.caption_by == "medvint" else "Caption"
    about = " · ".join(escape(part) for part in (figure.modality, figure.region) if part)
    state = " supporting" if any(hit.rank in item.supported_by for item in supports) else ""
    relevance = f"<span>{figure_cards.relevance(hit)}</span> " if hit.relevance is not None else ""
    thumbnail = figure_cards.picture(figure, ROOT, pictures)
    if thumbnail:
        address = f"{ROOT}{PAGES['Library']}{figure_cards.page_address(figure.figure_id)}"
        thumbnail = f'<a class="thumb-link" href="{escape(address)}" title="Its page in the library">{thumbnail}</a>'
    return (
        f'<article class="figure-card{state}" id="{figure_id(number, hit.rank)}" tabindex="-1">'
        f'<p class="card-head"><b>[{hit.rank}]</b> {relevance}<span>similarity {hit.score:.2f}</span> '
        f"<span>found by {figure_cards.found_by(hit)}</span></p>{thumbnail}"
        f'<p class="caption">{_highlighted(figure.caption, words)}</p>'
        f'<p class="small">{escape(kind)}{" · " + about if about else ""}</p>{verdicts}'
        f"{figure_cards.duplicates(hit.also, ROOT)}{figure_cards.look_alike_button(figure.figure_id)}"
        f'<p class="small">{escape(figure.license)} · {figure_cards.link(figure)} · '
        f"{figure_cards.copy_button(figure)}</p></article>"
    )


def _verdict(item: Support, rank: int) -> str:
    quoted = escape(item.sentence if len(item.sentence) <= 80 else item.sentence[:77] + "...")
    if rank in item.supported_by:
        return f'<p class="verdict supports">✓ supports “{quoted}”</p>'
    conflict = next((one for one in item.contradictions if one.rank == rank), None)
    if conflict is None:
        return ""
    return f'<p class="verdict contradicts">✕ {escape(conflict.words())}. The answer: “{quoted}”</p>'


def _highlighted(caption: str, words: set[str]) -> str:
    if not words:
        return escape(caption)
    pattern = re.compile(r"\b(" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + r")\b")
    pieces = pattern.split(caption)
    return "".join(f"<mark>{escape(piece)}</mark>" if at % 2 else escape(piece) for at, piece in enumerate(pieces))
