"""What the Library page's events do: call the library off the event loop, and hand its answers to the screen."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from assistant import figure_library_html
from assistant import figure_library_words as words
from assistant.figure_cards import corpus_title
from assistant.figure_library import SAMPLE, Library, Preview, Query, Results
from assistant.figure_library_jobs import Job
from assistant.figure_library_overview import overview
from assistant.settings import Settings
from assistant.upload_limits import UploadError, UploadLimits
from assistant.upload_reader import UploadReader
from retrieval.errors import IndexBusyError, IndexMissingError, RetrievalError
from retrieval.filters import Filters

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_WORDS = 1.0
YEAR_DIGITS = 4

Found = tuple[Any, Any, Any, Any]
"""Results, query, search box, the button that forgets the image."""
Previewed = tuple[Any, Any, Any, Any]
"""Preview, what it is of, and the buttons that add and discard it."""
Written = tuple[Any, ...]
"""Job, stop button, the buttons that write, the sample's part, overview, the choices of filters and corpora."""


class LibrarySession:
    """The events of one screen; what each visitor looked for travels through the arguments."""

    def __init__(self, library: Library, settings: Settings) -> None:
        self._library = library
        self._reader = UploadReader(UploadLimits(settings.max_upload_bytes, settings.max_pixels))

    async def search(self, message: dict[str, Any], query: Query, *filters: Any) -> AsyncGenerator[Found, None]:
        """Words were sent, perhaps with an image, which is read once and then deleted: it may name a patient.

        An image that was sent before stays part of the query until it is replaced or forgotten.
        """
        text = (message.get("text") or "").strip()
        files = [Path(file) for file in message.get("files") or []]
        try:
            image = await self._reader.read(files[0]) if files else query.image
        except UploadError as error:
            yield figure_library_html.problem(str(error)), query, _box(text), gr.skip()
            return
        query = Query(text, image)
        async for shown in self._results(query, filters):
            yield shown, query, _box(text), gr.update(visible=image is not None)

    async def search_example(self, text: str, query: Query, *filters: Any) -> AsyncGenerator[Found, None]:
        """One of the examples was pressed."""
        async for shown in self.search({"text": text}, query, *filters):
            yield shown

    async def search_again(self, query: Query, *filters: Any) -> AsyncGenerator[Any, None]:
        """A filter was changed."""
        if not query.is_empty:
            async for shown in self._results(query, filters):
                yield shown

    async def forget_image(self, query: Query, *filters: Any) -> AsyncGenerator[tuple[Any, Query, Any], None]:
        """The same search without its image: results, query, and the button that asked for it."""
        query = Query(query.text)
        if query.is_empty:
            yield figure_library_html.invitation(), query, gr.update(visible=False)
            return
        async for shown in self._results(query, filters):
            yield shown, query, gr.update(visible=False)

    async def more_like(self, figure_id: str, *filters: Any) -> AsyncGenerator[Found, None]:
        """ "More like this" was pressed; it takes the place of the words and the image."""
        try:
            figure = await asyncio.to_thread(self._library.figure, figure_id)
        except RetrievalError as error:
            yield figure_library_html.problem(str(error)), gr.skip(), gr.skip(), gr.skip()
            return
        if figure is None:
            yield figure_library_html.problem(words.NO_SUCH_FIGURE), gr.skip(), gr.skip(), gr.skip()
            return
        query = Query(figure=figure)
        async for shown in self._results(query, filters):
            yield shown, query, _box(""), gr.update(visible=False)

    async def _results(self, query: Query, filters: Iterable[Any]) -> AsyncGenerator[str, None]:
        search = asyncio.to_thread(self._library.find, query, _filters(*filters))
        async for shown in _told(search, self._library.stage()):
            if isinstance(shown, Results):
                yield await asyncio.to_thread(figure_library_html.results, shown, self._library.picture)
            else:
                yield shown

    async def open_figure(self, figure_id: str) -> str:
        """The figure that the page's address names; "" closes it."""
        if not figure_id:
            return ""
        try:
            page = await asyncio.to_thread(self._library.figure_page, figure_id)
        except RetrievalError as error:
            return f'<article class="figure-page">{figure_library_html.problem(str(error))}</article>'
        if page is None:
            return figure_library_html.NO_SUCH_FIGURE
        return figure_library_html.figure_page(page, self._library.picture, self._library.large_picture)

    async def look_at(self, files: str | list[str] | None, before: Preview | None) -> AsyncGenerator[Previewed, None]:
        """A ZIP or a folder was uploaded: its preview, and the buttons that add or discard it.

        Args:
            before: what was uploaded before and neither added nor discarded.
        """
        given = [Path(file) for file in ([files] if isinstance(files, str) else files or [])]
        if not given:
            return
        if before is not None and before.file not in given:
            self.forget(before)
        async for shown in _told(asyncio.to_thread(self._library.preview, given), words.READING):
            if isinstance(shown, Preview):
                can_be_added = gr.update(visible=shown.can_be_added)
                yield figure_library_html.preview(shown), shown, can_be_added, gr.update(visible=True)
            else:
                yield shown, None, gr.update(visible=False), gr.update(visible=False)

    async def discard(self, found: Preview | None) -> Previewed:
        """The upload is not wanted, or is in the index."""
        self.forget(found)
        return "", None, gr.update(visible=False), gr.update(visible=False)

    def forget(self, found: Preview | None) -> None:
        """Removes an upload; also where its page was closed an hour ago without a word."""
        if found is not None:
            self._library.discard(found)

    async def clear_added(self, found: Preview | None) -> Previewed:
        """The preview goes when its figures are in the index; after a stop it stays, to be added again."""
        if found is not None and found.file.exists():
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        return await self.discard(found)

    async def add(self, found: Preview | None) -> AsyncGenerator[Written, None]:
        """Add what was previewed, and tell how far it is."""
        if found is not None:
            async for shown in self._written(lambda: self._library.add(found)):
                yield shown

    async def add_sample(self) -> AsyncGenerator[Written, None]:
        """Add the figures that come along."""
        async for shown in self._written(self._library.add_sample):
            yield shown

    async def delete(self, corpus: str | None) -> AsyncGenerator[Written, None]:
        """Delete a corpus; the question whether that is meant has been answered."""
        if corpus:
            async for shown in self._written(lambda: self._library.delete(corpus)):
                yield shown

    async def rebuild(self) -> AsyncGenerator[Written, None]:
        """Make the search database anew."""
        async for shown in self._written(self._library.rebuild):
            yield shown

    async def arrive(self) -> AsyncGenerator[Written, None]:
        """The page was opened: what is in the index, and how far a job is that runs already."""
        current = self._library.jobs.current
        if current is not None and current.state == "running":
            async for shown in self._watched(current):
                yield shown
        else:
            yield await self._settled(None)

    def stop(self) -> Any:
        """Stop was pressed; whoever watches the job shows its end."""
        if (current := self._library.jobs.current) is not None:
            current.stop()
        return gr.update(interactive=False)

    def ask_before_deleting(self, corpus: str | None) -> tuple[Any, Any]:
        """The question before a corpus is deleted, and its two buttons."""
        if not corpus:
            return figure_library_html.problem(words.CHOOSE_FIRST), gr.update(visible=False)
        question = words.REALLY_DELETE.format(title=corpus_title(corpus))
        return figure_library_html.problem(question), gr.update(visible=True)

    def question_answered(self) -> tuple[Any, Any]:
        """The question and its buttons go at once; what follows may take minutes."""
        return "", gr.update(visible=False)

    async def _written(self, start: Callable[[], Job]) -> AsyncGenerator[Written, None]:
        try:
            started = start()
        except IndexBusyError as error:
            current = self._library.jobs.current
            if current is None:
                raise
            async for shown in self._watched(current, str(error)):
                yield shown
            return
        async for shown in self._watched(started):
            yield shown

    async def _watched(self, current: Job, refused: str = "") -> AsyncGenerator[Written, None]:
        while current.state == "running":
            said = figure_library_html.job(current, refused)
            stop = gr.update(visible=True, interactive=not current.is_ending)
            yield (said, stop, *_writers(False, False), *_SKIPPED)
            await asyncio.to_thread(current.wait, SECONDS_BETWEEN_LOOKS)
        yield await self._settled(current)

    async def _settled(self, current: Job | None) -> Written:
        """Everything that a change of the index changes on the screen."""
        told, shown = figure_library_html.job(current), ""
        facets: dict[str, list[str]] = {}
        corpora: list[tuple[str, str]] = []
        try:
            stats = await asyncio.to_thread(self._library.overview)
            shown = overview(stats)
            corpora = [(corpus_title(name), name) for name in sorted(stats.corpora)]
            facets = await asyncio.to_thread(self._library.facets)
        except IndexMissingError:
            shown = figure_library_html.nothing_yet()
        except RetrievalError as error:
            shown += figure_library_html.problem(str(error))
        lists = (*(facets.get(name, []) for name in ("modality", "region", "license")), corpora)
        choices = (gr.update(choices=values) for values in lists)
        to_delete = gr.update(choices=corpora, value=None)
        can_add_sample = gr.update(visible=all(name != SAMPLE for _, name in corpora))
        return (
            told,
            gr.update(visible=False),
            *_writers(True, bool(corpora)),
            can_add_sample,
            shown,
            *choices,
            to_delete,
        )


_SKIPPED = (gr.skip(),) * 7


async def _told(work: Awaitable[Any], stage: str) -> AsyncGenerator[Any, None]:
    """What is being done, in HTML, again and again with the time so far, and then what the work gave."""
    since, running = time.monotonic(), asyncio.ensure_future(work)
    while not running.done():
        yield figure_library_html.waiting(stage, since)
        await asyncio.wait([running], timeout=SECONDS_BETWEEN_WORDS)
    yield await running


def _writers(can_add: bool, can_change: bool) -> tuple[Any, ...]:
    """The buttons that begin to write: add, add the sample, delete, rebuild."""
    add, change = gr.update(interactive=can_add), gr.update(interactive=can_change)
    return add, add, change, change


def _box(text: str) -> dict[str, Any]:
    return gr.update(value={"text": text, "files": []})


def _filters(
    modalities: list[str] | None,
    regions: list[str] | None,
    licences: list[str] | None,
    corpora: list[str] | None,
    year_from: str,
    year_to: str,
) -> Filters:
    return Filters(
        modalities=frozenset(modalities or ()),
        regions=frozenset(regions or ()),
        licences=frozenset(licences or ()),
        corpora=frozenset(corpora or ()),
        year_from=_year(year_from),
        year_to=_year(year_to),
    )


def _year(text: str) -> int | None:
    """A year that is being typed limits nothing before all of it is there."""
    text = text.strip()
    return int(text) if len(text) == YEAR_DIGITS and text.isascii() and text.isdigit() else None
