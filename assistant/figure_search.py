"""The index as the chat turn uses it: opened when it is there, off the event loop, and never the end of a turn.

hits, note = await FigureSearch(Settings()).search("pneumothorax", None, k=6)
"""

import asyncio
from collections.abc import Sequence
from threading import Lock

from PIL import Image

from assistant.settings import Settings
from retrieval.errors import RetrievalError
from retrieval.figures import Hit
from retrieval.search import Search, open_search

NOTHING_SIMILAR = "Nothing similar was found in the index."


class FigureSearch:
    """Searches the index of `settings.data_dir`; it may be built after the start, and is then found."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._search: Search | None = None
        self._lock = Lock()

    def stage(self) -> str:
        """What a screen says while a search runs."""
        return "searching the figures" if self._search is None else f"searching {len(self._search):,} figures"

    def open(self) -> Search:
        """The opened index. Raises RetrievalError, in one sentence that a user can act on."""
        with self._lock:
            if self._search is None:
                chroma = self._settings.chroma_url
                opened = open_search(self._settings.data_dir, str(chroma) if chroma else None)
                # The text encoder loads at the first query, which takes seconds; no person should wait for it.
                opened.search("warm-up", None, 1)
                self._search = opened
            return self._search

    def problem(self) -> str:
        """Why the index cannot be searched, in one sentence; "" if it can. Opens it, which takes seconds at first."""
        try:
            self.open()
        except RetrievalError as error:
            return str(error)
        return ""

    async def search(self, text: str, image: Image.Image | None, k: int) -> tuple[Sequence[Hit], str]:
        """The similar figures, best first, and a sentence where there are none: a missing index ends no turn."""
        try:
            hits = await asyncio.to_thread(lambda: self.open().search(text, image, k))
        except RetrievalError as error:
            return [], f"No figures were searched: {error}"
        return hits, "" if hits else NOTHING_SIMILAR
