"""The privacy gate as a part of the chat screen: what was found, over the image; what to black out; whether to go on.

An upload that waits here is in this process's memory only, until its person has decided or left.
"""

import io
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any

import gradio as gr
from PIL import ImageOps
from pydantic import Field, TypeAdapter, ValidationError

from assistant.uploads import CleanImage
from assistant.uploads_privacy import Box, Findings, black_out

MOST_WAITING = 64
MOST_REMEMBERED = 512
MOST_DRAWN = 100
PREVIEW_SIDE = 1280
CONFIRMED = "asked as it is: confirmed that it names nobody"

_BOXES = TypeAdapter(Annotated[list[tuple[float, float, float, float]], Field(max_length=MOST_DRAWN)])
# The boxes that were drawn are on the page only.
_WITH_DRAWN = "(places, drawn, turns) => [places, window.medvintPrivacy.drawn(), turns]"
_FOCUS = "() => window.medvintPrivacy.focus()"


@dataclass(frozen=True)
class Waiting:
    """A question that waits for its person's word on the image."""

    question: str
    image: CleanImage
    findings: Findings


class PrivacyGate:
    """Build it inside the page's Blocks, then wire it. What waits, and what was confirmed, is kept by visitor."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._confirmed: OrderedDict[tuple[str, str], None] = OrderedDict()
        with gr.Column(visible=False, elem_id="privacy") as self.column:
            self._told = gr.HTML("", elem_id="privacy-told")
            self.places = gr.CheckboxGroup([], label="Places to black out", elem_id="privacy-places")
            self.drawn = gr.Textbox("", visible=False)
            with gr.Row(elem_id="privacy-buttons"):
                self.go = gr.Button("", variant="primary", size="sm", elem_id="privacy-go")
                self.as_it_is = gr.Button("It names nobody: ask as it is", size="sm", elem_id="privacy-as-it-is")
                self.drop = gr.Button("Do not send", size="sm", elem_id="privacy-drop")

    def needs_word(self, visitor: str, image: CleanImage, findings: Findings) -> bool:
        """Whether this visitor has something to decide about the image, and has not confirmed the same pixels."""
        return bool(findings) and (visitor, image.sha256) not in self._confirmed

    def hold(self, visitor: str, waiting: Waiting) -> None:
        """Keep an upload back until its visitor decides; the oldest of very many is let go."""
        self._waiting[visitor] = waiting
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)

    def is_holding(self, visitor: str) -> bool:
        return visitor in self._waiting

    def let_go(self, visitor: str) -> Waiting | None:
        """What waited, which is then forgotten here."""
        return self._waiting.pop(visitor, None)

    def forget(self, request: gr.Request) -> None:
        """A visitor has closed the page."""
        self.let_go(str(request.session_hash))

    def admitted(self, visitor: str, waiting: Waiting, chosen: Sequence[int], drawn: str) -> CleanImage:
        """The image as its person wants it sent: the chosen places and drawn boxes black, the rest confirmed.

        Raises ValueError where `drawn`, which comes from the page, is no JSON list of boxes.
        """
        found = waiting.findings.places
        boxes = [found[number] for number in sorted(set(chosen)) if 0 <= number < len(found)]
        image = black_out(waiting.image, [*boxes, *_drawn_boxes(drawn, waiting.image)])
        self._confirmed[visitor, image.sha256] = None
        if len(self._confirmed) > MOST_REMEMBERED:
            self._confirmed.popitem(last=False)
        return image

    def show(self, request: gr.Request) -> tuple[dict[str, Any], str, dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The column, its text and image, the places, and both buttons that go on, as they stand now."""
        waiting = self._waiting.get(str(request.session_hash))
        if waiting is None:
            return gr.update(visible=False), "", gr.update(choices=[], value=[]), gr.update(), gr.update()
        found = waiting.findings.places
        choices = [(f"{number + 1}, {_where(box, waiting.image)}", number) for number, box in enumerate(found)]
        return (
            gr.update(visible=True),
            told(waiting),
            gr.update(choices=choices, value=list(range(len(found))), visible=bool(found)),
            gr.update(value="Black out and ask" if found else "I have looked: ask"),
            gr.update(visible=bool(found)),
        )

    def shown_after(self, event: Any) -> None:
        """Bring the column up to date when an event of the chat is over."""
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        shown = [self.column, self._told, self.places, self.go, self.as_it_is]
        event.then(self.show, None, shown, **quiet).then(None, None, None, js=_FOCUS, **quiet)

    def wire(self, session: Any, turns: gr.State, outputs: list[Any], **options: Any) -> list[Any]:
        """Connect the buttons to a session; returns the two events that lead to an answer."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        for button in (self.go, self.as_it_is):
            # At once, while the answer is still to come.
            button.click(lambda: gr.update(visible=False), None, [self.column], queue=False, **quiet)
        self.shown_after(self.drop.click(session.do_not_send, [turns], outputs, queue=False, **quiet))
        return [
            self.go.click(session.go_on, [self.places, self.drawn, turns], outputs, js=_WITH_DRAWN, **options, **quiet),
            self.as_it_is.click(session.go_on_as_it_is, [turns], outputs, **options, **quiet),
        ]


def told(waiting: Waiting) -> str:
    """What was found, in words and over the image; the image is in the text itself and nowhere on disk."""
    about = f'<p class="small">Your question: “{escape(waiting.question)}”</p>' if waiting.question else ""
    also = "Drag over the image to black out more. Press a box to leave it out."
    return (
        f'<h2 tabindex="-1">Before this image is sent</h2><p>{escape(waiting.findings.words())} '
        f"Nothing was kept or sent to the model yet.</p>{about}"
        f'<p class="small">{also}</p>{_picture(waiting)}'
    )


def _picture(waiting: Waiting) -> str:
    image = waiting.image
    preview = io.BytesIO()
    ImageOps.contain(image.image, (min(PREVIEW_SIDE, image.width), min(PREVIEW_SIDE, image.height))).save(
        preview, "JPEG", quality=88
    )
    href = f"data:image/jpeg;base64,{b64encode(preview.getvalue()).decode()}"
    size = max(12, max(image.width, image.height) // 36)
    marks = "".join(
        f'<g class="place out" data-number="{number}"><rect x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}"/><text x="{_beside(right, size, image.width)}" y="{min(bottom, image.height)}" '
        f'font-size="{size}">{number + 1}</text></g>'
        for number, (left, top, right, bottom) in enumerate(waiting.findings.places)
    )
    label = f"The image, with {len(waiting.findings.places)} places marked"
    return (
        f'<svg id="privacy-picture" viewBox="0 0 {image.width} {image.height}" role="img" aria-label="{label}">'
        f'<image href="{href}" width="{image.width}" height="{image.height}"/>{marks}</svg>'
    )


def _beside(right: int, size: int, width: int) -> int:
    return right + size // 4 if right + size < width else right - size


def _where(box: Box, image: CleanImage) -> str:
    """Where a box is, for those who do not see it: "top left"."""
    across = ("left", "centre", "right")[min(2, 3 * (box[0] + box[2]) // (2 * image.width))]
    down = ("top", "middle", "bottom")[min(2, 3 * (box[1] + box[3]) // (2 * image.height))]
    return f"{down} {across}"


def _drawn_boxes(drawn: str, image: CleanImage) -> list[Box]:
    try:
        boxes = _BOXES.validate_json(drawn or "[]")
    except ValidationError as error:
        raise ValueError("The boxes that were drawn could not be read.") from error
    clipped = [
        (
            max(0, int(left)),
            max(0, int(top)),
            min(image.width, int(right) + 1),
            min(image.height, int(bottom) + 1),
        )
        for left, top, right, bottom in boxes
    ]
    return [box for box in clipped if box[0] < box[2] and box[1] < box[3]]
