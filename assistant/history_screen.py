"""The kept conversations as a part of the chat screen that folds away: Gradio's parts and their wiring."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from assistant.conversations import Conversations
from assistant.history import History, links
from assistant.settings import Settings

# The browser keeps which conversation was open; whose it is decides the server. No secret is needed for that.
STORAGE_KEY, NO_SECRET = "medvint-conversation", "medvint"
SURE = "() => { if (!confirm('Delete all conversations? This cannot be undone.')) throw new Error('kept'); }"


class HistoryScreen:
    """Build it inside the page's Blocks, then wire it."""

    def __init__(self, store: Conversations, settings: Settings) -> None:
        self._history = History(store, settings)
        self._known = gr.BrowserState(None, storage_key=STORAGE_KEY, secret=NO_SECRET)
        with gr.Sidebar(open=False, width=300, elem_id="conversations"):
            gr.HTML("<h2>Conversations</h2>", elem_id="conversations-title")
            self._words = gr.Textbox(
                label="Search", placeholder="Words of a question or answer", elem_id="conversation-find"
            )
            self._list = gr.Radio([], label="Kept here", elem_id="conversation-list")
            self._files = gr.HTML(links(None), elem_id="conversation-links")
            self._title = gr.Textbox(
                label="New name", placeholder="Write a name and press Enter", elem_id="conversation-name"
            )
            with gr.Row():
                self._pin = gr.Button("Pin", size="sm", min_width=60, elem_id="conversation-pin")
                self._delete = gr.Button("Delete", size="sm", min_width=60, elem_id="conversation-delete")
            self._file = gr.UploadButton(
                "Open a JSON file", file_types=[".json"], type="binary", size="sm", elem_id="conversation-open"
            )
            self._purge = gr.Button("Delete all", size="sm", variant="stop", elem_id="conversation-purge")

    def wire(
        self,
        screen: gr.Blocks,
        turns: gr.State,
        show: Callable[..., Any],
        redraw: Callable[..., Any],
        clear: Callable[..., Any],
        outputs: list[Any],
    ) -> None:
        """Connect the list to the chat.

        Args:
            show: (turns) -> the chat's outputs. redraw: the same, but the box keeps what a person has put into it.
            clear: () -> the chat's outputs, after the running answer was ended.
        """
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        opened = [turns, self._known, self._files]
        seeking = [self._words, self._known]

        def then_show(event: Any, how: Callable[..., Any] = show) -> None:
            event.then(how, [turns], outputs, **quiet).then(self._history.find, seeking, [self._list], **quiet)

        # Somebody may be quicker than this: what they have put into the box already stays.
        then_show(screen.load(self._history.reload, [self._known], opened, **quiet), redraw)
        then_show(
            self._list.input(clear, None, outputs, **quiet).then(self._history.load, [self._list], opened, **quiet)
        )
        chosen = gr.State(None)
        then_show(
            self._file.upload(self._history.read, [self._file], [chosen], **quiet)
            .then(clear, None, outputs, **quiet)
            .then(self._history.load, [chosen], opened, **quiet)
        )
        self._words.change(self._history.find, seeking, [self._list], **quiet)
        self._title.submit(
            self._history.rename, [self._title, self._known, self._words], [self._title, self._list], **quiet
        )
        self._pin.click(self._history.pin, [self._known, self._words], [self._list], **quiet)
        self.forget(
            self._delete.click(self._history.delete, [self._known], None, **quiet).then(clear, None, outputs, **quiet)
        )
        self.forget(
            self._purge.click(self._history.purge, None, None, js=SURE, **quiet).then(clear, None, outputs, **quiet)
        )

    def keep_after(self, event: Any, turns: gr.State) -> None:
        """Save when an answer is complete, or was stopped."""
        event.then(
            self._history.keep,
            [turns, self._known, self._words],
            [self._known, self._list, self._files],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def forget(self, event: Any) -> None:
        """After a new chat was begun: no conversation is open."""
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        event.then(lambda: (None, links(None)), None, [self._known, self._files], **quiet).then(
            self._history.find, [self._words, self._known], [self._list], **quiet
        )
