"""The chat screen: Gradio's parts and their wiring. What happens is in `session`, what is shown in `render`."""

from typing import Any

import gradio as gr

from assistant import render
from assistant.chat import Assistant
from assistant.conversations import Conversations
from assistant.example_questions import Example
from assistant.feedback_screen import OPTIONS, FeedbackScreen
from assistant.history_screen import HistoryScreen
from assistant.pages import STUDY_AID, header
from assistant.privacy_screen import PrivacyGate
from assistant.session import Session
from assistant.settings import Settings

CANNOT = "It cannot measure, compare with earlier images, or judge a real patient's case."
HOUR_S = 3600
CONCURRENT_TURNS = 16


def build_screen(
    assistant: Assistant, settings: Settings, examples: list[Example], store: Conversations | None = None
) -> gr.Blocks:
    """The page; with a `store`, conversations are kept and listed beside it.

    Uploaded and shown images are deleted from its cache after a day.
    """
    with gr.Blocks(
        title="MedVInT assistant",
        analytics_enabled=False,
        fill_width=True,
        fill_height=True,
        delete_cache=(HOUR_S, 24 * HOUR_S),
    ) as screen:
        turns = gr.State([])
        beside = HistoryScreen(store, settings) if store else None
        with gr.Row(elem_id="top"):
            gr.HTML(header("Chat", settings), elem_id="header")
            new_chat = gr.Button("New chat", elem_id="new-chat", size="sm", scale=0, min_width=96)
        with gr.Row(elem_id="main", equal_height=False):
            with gr.Column(scale=3, elem_id="chat-column", min_width=320):
                chatbot = gr.Chatbot(
                    elem_id="chat",
                    label="Conversation",
                    show_label=False,
                    height="100%",
                    buttons=["copy"],
                    layout="bubble",
                    feedback_options=OPTIONS if store else None,
                    latex_delimiters=[],
                    placeholder=_invitation(settings),
                    examples=[_example(example) for example in examples],  # type: ignore[misc]
                )
                with gr.Row(elem_id="after-answer", visible=False) as after_answer:
                    change = gr.Button("Change the question", elem_id="change", size="sm", scale=0, min_width=168)
                    look = gr.Button("Did it look?", elem_id="look", size="sm", scale=0, min_width=120)
                    where = gr.Button("Where did it look?", elem_id="look-where", size="sm", scale=0, min_width=160)
                feedback = FeedbackScreen() if store else None
                gate = PrivacyGate()
                box = question_box("Ask about an image, or ask a question", settings)
            with gr.Column(scale=2, elem_id="evidence-column", min_width=320):
                panel = gr.HTML(render.EMPTY_PANEL, elem_id="evidence")
        gr.HTML(f"<p>{STUDY_AID}</p>", elem_id="study-aid")

        session = Session(assistant, settings, chatbot, gate, examples)
        outputs: list[Any] = [chatbot, panel, box, turns]
        after = [after_answer, look, where]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        asked = box.submit(
            session.ask, [box, turns], outputs, concurrency_limit=CONCURRENT_TURNS, concurrency_id="ask", **quiet
        )
        clicked = chatbot.example_select(
            session.ask_example, [turns], outputs, concurrency_limit=CONCURRENT_TURNS, concurrency_id="ask", **quiet
        )
        again = chatbot.retry(
            session.again, [turns], outputs, concurrency_limit=CONCURRENT_TURNS, concurrency_id="ask", **quiet
        )
        looked = look.click(
            session.look, [turns], outputs, concurrency_limit=CONCURRENT_TURNS, concurrency_id="ask", **quiet
        )
        mapped = where.click(
            session.where, [turns], outputs, concurrency_limit=CONCURRENT_TURNS, concurrency_id="ask", **quiet
        )
        decided = gate.wire(session, turns, outputs, concurrency_limit=CONCURRENT_TURNS, concurrency_id="ask")
        gate.shown_after(asked)
        answering = (asked, clicked, again, looked, mapped, *decided)
        for event in answering:
            event.then(session.shown, [turns], after, queue=False, **quiet)
            if beside:
                beside.keep_after(event, turns)
        for event in answering:
            event.failure(session.failed, [turns], outputs, queue=False, **quiet)
        if beside and feedback:
            for judged in feedback.wire(chatbot, turns, session.redraw, session.is_answering, outputs):
                beside.keep_after(judged, turns)
        # None of these cancels the run: it ends itself, so that its last words cannot undo what they show.
        box.stop(session.stop, [turns], outputs, queue=False, **quiet)
        # The conversation's own bin has to empty the state too.
        for event in (
            chatbot.clear(session.start_again, None, outputs, queue=False, **quiet),
            new_chat.click(session.start_again, None, outputs, queue=False, **quiet),
        ):
            event.then(session.after_answer, [turns], after, queue=False, **quiet)
            gate.shown_after(event)
            if beside:
                beside.forget(event)
            if feedback:
                feedback.close_after(event)
        taken_back = change.click(session.take_back, [turns], outputs, queue=False, **quiet)
        taken_back.then(session.after_answer, [turns], after, queue=False, **quiet)
        if beside:
            beside.wire(screen, turns, session.show, session.redraw, session.start_again, outputs)
        screen.unload(session.leave)
        screen.unload(gate.forget)
    return screen


def question_box(placeholder: str, settings: Settings) -> gr.MultimodalTextbox:
    """Where a question is written and an image put in."""
    return gr.MultimodalTextbox(
        elem_id="question",
        label="Question",
        show_label=False,
        placeholder=placeholder,
        file_types=["image", ".dcm"],
        file_count="single",
        sources=["upload"],
        max_plain_text_length=10 * settings.max_question_chars,
    )


def _invitation(settings: Settings) -> str:
    can = "Ask about a medical image, or ask a question. Beside each answer stand similar figures from articles."
    return f'<div class="invitation"><p>{can}</p><p class="small">{CANNOT}</p></div>'


def _example(example: Example) -> dict[str, Any]:
    path = str(example.image)
    return {"text": example.question, "display_text": example.question, "icon": path, "files": [path]}
