"""Feedback as a part of the chat screen: a thumb at each answer opens a form that asks which sentence, and why."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from assistant import render
from assistant.chat import Turn
from assistant.evidence.tokens import sentences
from assistant.feedback import LONGEST, Feedback

WHOLE = "The whole answer"
OPTIONS = ("Like", "Dislike")
"""Gradio draws these two as thumbs."""
GONE = "That answer is not here any more."


class FeedbackScreen:
    """Build it inside the page's Blocks, then wire it."""

    def __init__(self) -> None:
        self._about = gr.State(None)
        with gr.Column(visible=False, elem_id="feedback") as self._column:
            self._told = gr.HTML("", elem_id="feedback-told")
            self._sentence = gr.Radio([], label="Which sentence?", elem_id="feedback-sentence")
            self._why = gr.Textbox(label="Why?", max_length=LONGEST, max_lines=3, elem_id="feedback-why")
            self._right = gr.Textbox(
                label="What would be right?", max_length=LONGEST, max_lines=3, elem_id="feedback-right"
            )
            with gr.Row(elem_id="feedback-buttons"):
                self._keep = gr.Button("Keep", size="sm", variant="primary", scale=0, min_width=80)
                self._close = gr.Button("Close", size="sm", scale=0, min_width=80)

    def wire(
        self,
        chatbot: gr.Chatbot,
        turns: gr.State,
        redraw: Callable[[list[Turn]], Any],
        is_answering: Callable[[gr.Request], bool],
        outputs: list[Any],
    ) -> list[Any]:
        """Connect it to the chat; returns the events after which the conversation has to be kept.

        Args:
            redraw: (turns) -> the chat's outputs. is_answering: whether the visitor's turns are being written now.
        """
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        form = [self._about, self._column, self._told, self._sentence, self._why, self._right]

        def judge(turns: list[Turn], told: gr.LikeData, request: gr.Request) -> tuple[Any, ...]:
            if is_answering(request):
                gr.Info("Wait for the answer first, or stop it.")
                return (*redraw(turns), *[gr.skip()] * len(form))
            index = told.index if isinstance(told.index, int) else told.index[0]
            number = render.turn_of_message(turns, index)
            new, shown = judged(turns, number, told.liked)
            return (*redraw(new), *shown)

        def keep(
            about: Any, sentence: str, why: str, right: str, turns: list[Turn], request: gr.Request
        ) -> tuple[Any, ...]:
            if is_answering(request):
                gr.Info("Wait for the answer first, or stop it.")
                return (*redraw(turns), gr.skip())
            return (*redraw(detailed(turns, about, sentence, why, right)), gr.update(visible=False))

        liked = chatbot.like(judge, [turns], [*outputs, *form], **quiet)
        details = [self._about, self._sentence, self._why, self._right, turns]
        kept = gr.on(
            [self._keep.click, self._why.submit, self._right.submit], keep, details, [*outputs, self._column], **quiet
        )
        self._close.click(lambda: gr.update(visible=False), None, [self._column], **quiet)
        return [liked, kept]

    def close_after(self, event: Any) -> None:
        """The answer that the form is about is gone."""
        event.then(
            lambda: gr.update(visible=False),
            None,
            [self._column],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )


def judged(turns: Sequence[Turn], number: int, liked: bool | str) -> tuple[list[Turn], tuple[Any, ...]]:
    """The turns with this judgement, and the form for its details; "" for a judgement that was taken back."""
    turn = turns[number]
    if not turn.answer or liked not in (True, False):
        return _with(turns, number, None), (None, gr.update(visible=False), *[gr.skip()] * 4)
    told = Feedback("up" if liked else "down")
    named = [turn.answer[start:end] for start, end in sentences(turn.answer)]
    choices = [WHOLE, *dict.fromkeys(named)]
    head = "Good answer: thank you. Say more if you like." if liked else "Not right: thank you. Say more if you like."
    return _with(turns, number, told), (
        [number, turn.question, turn.answer],
        gr.update(visible=True),
        f'<p class="small" role="status">{head}</p>',
        gr.update(choices=choices, value=WHOLE, visible=len(named) > 1),
        "",
        gr.update(value="", visible=not liked),
    )


def detailed(turns: Sequence[Turn], about: Any, sentence: str, why: str, right: str) -> list[Turn]:
    """The turns with the details of a judgement; as they are, with a word to the person, where its answer is gone."""
    number, question, answer = about or (len(turns), "", "")
    turn = turns[number] if number < len(turns) else None
    if turn is None or turn.feedback is None or (turn.question, turn.answer) != (question, answer):
        gr.Warning(GONE)
        return list(turns)
    named = {answer[start:end] for start, end in sentences(answer)}
    told = replace(
        turn.feedback,
        sentence=sentence if sentence in named and len(named) > 1 else "",
        why=" ".join(why.split())[:LONGEST],
        right=" ".join(right.split())[:LONGEST] if turn.feedback.judgement == "down" else "",
    )
    return _with(turns, number, told)


def thumbs(turns: Sequence[Turn]) -> list[str | None]:
    """What the thumbs show, one for each answer."""
    states = {"up": OPTIONS[0], "down": OPTIONS[1]}
    return [states[turn.feedback.judgement] if turn.feedback else None for turn in turns]


def _with(turns: Sequence[Turn], number: int, told: Feedback | None) -> list[Turn]:
    return [*turns[:number], replace(turns[number], feedback=told), *turns[number + 1 :]]
