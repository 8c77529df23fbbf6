"""The index as chat, library and REST use it: opened when it is there, off the event loop, and never the end of a turn.

figures = FigureSearch(Settings())
hits, notes = await figures.search("And on CT?", None, k=6, earlier=["What is a pneumothorax?"])
notes     # ("searched for: What is a pneumothorax? And on CT?",)
"""

import asyncio
import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock

from PIL import Image

from assistant.figure_cards import picture_address, thumbnail_address
from assistant.settings import Settings
from retrieval.build import index_folder
from retrieval.embedders import Embedder, open_embedder
from retrieval.errors import RetrievalError
from retrieval.figures import Figure, Hit
from retrieval.search import Search, open_search
from retrieval.store import Store
from retrieval.store_images import open_picture

NOTHING_SIMILAR = "Nothing similar was found in the index."


class FigureSearch:
    """Searches the index of `settings.data_dir`; it may be built after the start, and is then found."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._search: Search | None = None
        self._lock = Lock()
        self._store = Store(index_folder(settings.data_dir))

    @cached_property
    def embedder(self) -> Embedder:
        """What embeds queries; a build in this process shares it, so that its weights are in memory once.

        Raises:
            RetrievalError: `settings.embedder` names none.
        """
        return open_embedder(self._settings.embedder)

    def stage(self) -> str:
        """What a screen says while a search runs."""
        return "searching the figures" if self._search is None else f"searching {len(self._search):,} figures"

    def open(self) -> Search:
        """The opened index. Raises RetrievalError, in one sentence that a user can act on."""
        with self._lock:
            if self._search is None:
                opened = open_search(self._settings.data_dir, self._settings.chroma_address, self.embedder)
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

    async def search(
        self, text: str, image: Image.Image | None, k: int, earlier: Sequence[str] = ()
    ) -> tuple[Sequence[Hit], tuple[str, ...]]:
        """The similar figures, best first, and what a person should know of the search; a missing index ends no turn.

        Args:
            earlier: the questions before this one, oldest first, which say what "it" is.
        """
        try:
            found = await asyncio.to_thread(
                lambda: self.open().search_with_query(text, image, k, earlier=tuple(earlier))
            )
        except RetrievalError as error:
            return [], (f"No figures were searched: {error}",)
        notes = []
        if found.query_text and found.query_text != text.strip():
            notes.append(f"searched for: {found.query_text}")
        if not found.hits:
            notes.append(NOTHING_SIMILAR)
        return found.hits, tuple(notes)

    def thumbnail(self, figure_id: str) -> Path | None:
        """The file of a figure's small picture, which lies in the index's own folder; None where there is none."""
        return self._store.thumbnail(figure_id)

    def picture(self, figure: Figure) -> str:
        """Where a browser finds a figure's small picture: an address below the page's root, https where pictures of
        other sites are turned on, "" where there is none."""
        if self.thumbnail(figure.figure_id):
            return thumbnail_address(figure.figure_id)
        elsewhere = figure.image_url or ""
        return elsewhere if self._settings.remote_thumbnails and elsewhere.startswith("https://") else ""

    def large_picture(self, figure: Figure) -> str:
        """Where a browser finds a figure's picture for a page of its own: the file's, where it lies on this machine."""
        if figure.image_path and Path(figure.image_path).is_file():
            return picture_address(figure.figure_id)
        return self.picture(figure)

    def large_jpeg(self, figure_id: str) -> bytes | None:
        """A figure's picture decoded and made anew, its longer side at most 1,024 pixels; None where there is none.

        Raises:
            RetrievalError: the index cannot be searched, or the file is no picture.
        """
        figure = self.open().figure(figure_id)
        if figure is None or not figure.image_path or not Path(figure.image_path).is_file():
            return None
        buffer = io.BytesIO()
        open_picture(Path(figure.image_path)).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()
