"""The conversations beside the chat: what the events of the list do. Each person sees their own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr

from assistant.chat import Turn
from assistant.conversation_files import read_json
from assistant.conversations import ChangedElsewhereError, ConversationError, Conversations, Kept, Listed
from assistant.settings import Settings
from assistant.uploads import UploadLimits

FILES = {"md": "Markdown", "html": "HTML", "json": "JSON"}
NONE_YET = '<p class="small">A conversation is kept when its first question has been answered.</p>'

Open = list[Any] | None
"""The open conversation as a browser keeps it: id and version; None for a new one."""


class History:
    """The events; which conversation is open travels through the arguments."""

    def __init__(self, store: Conversations, settings: Settings) -> None:
        self._store = store
        self._limits = UploadLimits(settings.max_upload_bytes, settings.max_pixels)

    def keep(self, turns: list[Turn], known: Open, words: str, request: gr.Request) -> tuple[Open, Any, str]:
        """After a turn: the open conversation, the list, the links to its files."""
        owner, done = owner_of(request), [turn for turn in turns if turn.answer]
        if not done:
            return known, self.listed(owner, words, known), links(known)
        try:
            kept = self._store.save(_read(known), owner, done)
        except ChangedElsewhereError as error:
            gr.Info(f"{error} What is here is kept beside it.")
            kept = self._store.save(None, owner, done)
        except ConversationError:
            # It was deleted in another window; what is on this screen becomes a new one.
            kept = self._store.save(None, owner, done)
        opened = [kept.id, kept.version]
        return opened, self.listed(owner, words, opened), links(opened)

    def find(self, words: str, known: Open, request: gr.Request) -> Any:
        """The list, as narrowed by words."""
        return self.listed(owner_of(request), words, known)

    def load(self, identity: str | None, request: gr.Request) -> tuple[list[Turn], Open, str]:
        """The turns of a conversation, and the links to its files; nothing where it is gone."""
        if identity:
            try:
                turns, kept = self._store.load(owner_of(request), identity)
                return turns, [kept.id, kept.version], links([kept.id])
            except ConversationError as error:
                gr.Warning(str(error))
        return [], None, links(None)

    def reload(self, known: Open, request: gr.Request) -> tuple[list[Turn], Open, str]:
        """What was open when the page was left."""
        return self.load(known[0] if known else None, request)

    def rename(self, title: str, known: Open, words: str, request: gr.Request) -> tuple[Any, Any]:
        """A new name for the open one; the box is emptied where it was taken."""
        try:
            self._store.rename(owner_of(request), known[0] if known else "", title)
        except ConversationError as error:
            gr.Warning(str(error))
            return gr.skip(), gr.skip()
        return "", self.find(words, known, request)

    def pin(self, known: Open, words: str, request: gr.Request) -> Any:
        """Pin the open one, or take the pin away."""
        owner, identity = owner_of(request), known[0] if known else ""
        is_pinned = any(one.pinned for one in self._store.find(owner) if one.id == identity)
        try:
            self._store.pin(owner, identity, not is_pinned)
        except ConversationError as error:
            gr.Warning(str(error))
        return self.find(words, known, request)

    def delete(self, known: Open, request: gr.Request) -> None:
        """The open one."""
        try:
            self._store.delete(owner_of(request), known[0] if known else "")
        except ConversationError as error:
            gr.Warning(str(error))

    def purge(self, request: gr.Request) -> None:
        """All of this person's."""
        count = self._store.purge(owner_of(request))
        gr.Info(f"{count} conversations were deleted.")

    def read(self, file: bytes | None, request: gr.Request) -> str | None:
        """A conversation from a file; its id, or None where it is none."""
        try:
            return self._store.save(None, owner_of(request), read_json(file or b"", self._limits)).id
        except ConversationError as error:
            gr.Warning(str(error))
            return None

    def listed(self, owner: str, words: str, known: Open) -> Any:
        """The list as an update of a radio group."""
        found = self._store.find(owner, words)
        identity = known[0] if known else None
        chosen = identity if any(one.id == identity for one in found) else None
        return gr.update(choices=[(_line(one), one.id) for one in found], value=chosen)


def owner_of(request: gr.Request) -> str:
    """Who signed in; "" where nobody does."""
    return str(request.request.scope.get("state", {}).get("user", "")) if request.request else ""


def links(known: Sequence[Any] | None) -> str:
    """The files of the open conversation."""
    if not known:
        return NONE_YET
    listed = " ".join(
        f'<a href="./api/conversations/{escape(str(known[0]))}.{kind}" download>{name}</a>'
        for kind, name in FILES.items()
    )
    return f'<p class="small" id="conversation-files">Save as {listed}</p>'


def last_answered(turns: Sequence[Turn]) -> int | None:
    """The number of the last complete turn."""
    return next((number for number in reversed(range(len(turns))) if turns[number].answer), None)


def _read(known: Open) -> Kept | None:
    return Kept(str(known[0]), int(known[1])) if known else None


def _line(one: Listed) -> str:
    day = datetime.fromtimestamp(one.updated, UTC).astimezone().strftime("%d %b")
    return f"{'pinned: ' if one.pinned else ''}{one.title} · {day}"
