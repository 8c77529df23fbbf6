"""The Compare screen: one image and question, the answers side by side."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from assistant import figure_cards
from assistant.comparing import OTHER, WITH, WITHOUT, Column, Comparison, verdict
from assistant.evidence import mark
from assistant.pages import STUDY_AID, header, root_of
from assistant.screen import CONCURRENT_TURNS, HOUR_S, question_box
from assistant.settings import Settings
from assistant.upload_limits import UploadError, UploadLimits
from assistant.upload_reader import UploadReader
from assistant.uploads_privacy import admit

ROOT = root_of("Compare")
ABOUT = {
    WITHOUT: "The image and the question, and nothing else.",
    WITH: "The captions of the similar figures were put before the question.",
    OTHER: "The second server's model, without evidence.",
}
INVITATION = (
    '<div class="panel-empty"><h2>Compare answers</h2><p>Send an image with a question: the answers appear side by '
    "side, once without evidence and once with the captions of similar figures.</p>{more}</div>"
)
NO_OTHER = '<p class="small">A second model joins them where MEDVINT_COMPARE_URL names its server.</p>'


def build_compare_screen(comparison: Comparison, settings: Settings) -> gr.Blocks:
    """The page. Uploads are read once and deleted; text in them that may name a person is blacked out."""
    reader = UploadReader(UploadLimits(settings.max_upload_bytes, settings.max_pixels))

    async def ask(message: dict[str, Any]) -> AsyncGenerator[tuple[str, Any], None]:
        files = [Path(file) for file in message.get("files") or []]
        question = (message.get("text") or "").strip()
        yield waiting("reading the image" if files else "thinking"), _BUSY
        try:
            sent = await reader.read(files[0]) if files else None
            image = await asyncio.to_thread(admit, sent, redact=True) if sent else None
        except UploadError as error:
            yield f'<p class="problem" role="status">{escape(str(error))}</p>', _idle(question)
            return
        async with aclosing(comparison.ask(question, image)) as steps:
            async for columns in steps:
                over = all(column.is_over for column in columns)
                yield table(columns), _idle() if over else _BUSY

    with gr.Blocks(
        title="Compare - MedVInT assistant",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(HOUR_S, 24 * HOUR_S),
    ) as screen:
        with gr.Row(elem_id="top"):
            gr.HTML(header("Compare", settings), elem_id="header")
        with gr.Column(elem_id="compare"):
            box = question_box("Ask about an image", settings)
            answers = gr.HTML(invitation(comparison), elem_id="answers", apply_default_css=False)
        gr.HTML(f"<p>{STUDY_AID}</p>", elem_id="study-aid")
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        asked = box.submit(
            ask, [box], [answers, box], concurrency_limit=CONCURRENT_TURNS, concurrency_id="ask", **quiet
        )
        asked.failure(lambda: _idle(), None, [box], queue=False, **quiet)
        box.stop(lambda: _idle(), None, [box], cancels=[asked], queue=False, **quiet)
    return screen


def invitation(comparison: Comparison) -> str:
    """What the page shows before the first question."""
    return INVITATION.format(more="" if OTHER in comparison.names else NO_OTHER)


def waiting(stage: str) -> str:
    """What is being done before there are columns."""
    return f'<p class="stage" role="status">{escape(stage)}</p>'


def table(columns: list[Column]) -> str:
    """The columns, and whether they agree. What a person, a model or a corpus wrote is escaped."""
    said = verdict(columns)
    told = f'<p class="compare-verdict" role="status">{said}</p>' if said else ""
    question = f'<p class="compare-question">{escape(columns[0].turn.question)}</p>'
    shown = "".join(_column(column) for column in columns)
    return f'{question}{told}<div class="compare-columns">{shown}</div>'


def _column(column: Column) -> str:
    turn = column.turn
    head = f"<h2>{column.name}</h2><p class='small'>{ABOUT[column.name]}</p>"
    answer = f'<p class="compare-answer">{escape(mark(turn.answer, turn.support))}</p>' if turn.answer else ""
    if column.problem:
        return (
            f'<article class="compare-column">{head}{answer}<p class="problem">{escape(column.problem)}</p></article>'
        )
    if turn.stage:
        return f'<article class="compare-column">{head}{answer}<p class="stage">{escape(turn.stage)}</p></article>'
    sure = turn.confidence.words() if turn.confidence else "the server says no probability"
    facts = [sure, *(item.words() for item in turn.support)]
    notes = [*turn.notes, *(note for image in turn.images for note in image.notes)]
    noted = f'<p class="small">{escape("; ".join(notes))}</p>' if notes else ""
    took = f"{turn.model} · {turn.timings.get('total', 0):.1f} s"
    return (
        f'<article class="compare-column">{head}{answer or "<p class=stage>The model had nothing to say.</p>"}'
        f'<p class="told">{escape(" · ".join(facts))}</p>{_captions(column)}{noted}'
        f'<p class="small">{escape(took)}</p></article>'
    )


def _captions(column: Column) -> str:
    """What stood in the prompt."""
    if column.name != WITH or not column.turn.hits:
        return ""
    rows = "".join(
        f"<li value={hit.rank}>{escape(hit.figure.caption)} <span class='small'>{escape(hit.figure.license)} · "
        f"{figure_cards.link(hit.figure)}</span></li>"
        for hit in column.turn.hits
    )
    return f"<details><summary>The captions it was given</summary><ol>{rows}</ol></details>"


_BUSY = gr.update(value=None, submit_btn=False, stop_btn=True)


def _idle(question: str = "") -> dict[str, Any]:
    return gr.update(value={"text": question, "files": []} if question else None, submit_btn=True, stop_btn=False)
