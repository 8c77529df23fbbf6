"""What the Library page does, without a screen: look, show a figure, count, preview, add, delete, rebuild.

library = Library(FigureSearch(settings), settings)
results = library.find(Query("left pleural effusion"), Filters())
library.figure_page("PMC3807838/CRIM.PULMONOLOGY2013-374960.004").similar
library.add(library.preview([Path("lecture.zip")]))
"""

import shutil
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assistant import figure_library_words as words
from assistant.figure_cards import corpus_title
from assistant.figure_library_jobs import Job, Jobs
from assistant.figure_search import FigureSearch
from assistant.settings import Settings
from assistant.uploads import CleanImage
from retrieval.build import Progress, build_index, rebuild_index
from retrieval.corpora.own import preview
from retrieval.corpora.reading import CorpusReport
from retrieval.corpora.registry import forget_unpacked
from retrieval.errors import CorpusError, IndexMissingError, RetrievalError
from retrieval.figures import Figure, Hit
from retrieval.filters import Filters
from retrieval.upkeep import IndexStats, delete, stats

FIGURES_FOUND = 24
SIMILAR_SHOWN = 6
OWN, SAMPLE = "own", "sample"
FOLDER_ZIP = "folder.zip"
DAY_S = 24 * 3600


@dataclass(frozen=True)
class Query:
    """What was looked for: words, an image, or both; or else figures like one of the index."""

    text: str = ""
    image: CleanImage | None = None
    figure: Figure | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text and self.image is None and self.figure is None


@dataclass(frozen=True)
class Results:
    """What was found; `problem` is a sentence where there was no search, `filtered` says that filters limited it."""

    query: Query
    hits: Sequence[Hit] = ()
    problem: str = ""
    filtered: bool = False


@dataclass(frozen=True)
class FigurePage:
    """A figure, the near-duplicates that it stands for, and the figures that look or read like it."""

    figure: Figure
    also: Sequence[Figure] = ()
    similar: Sequence[Hit] = ()


@dataclass(frozen=True)
class Preview:
    """What adding `file` would do; nothing is stored yet. `problem` is a sentence where it cannot be added at all."""

    file: Path
    name: str
    report: CorpusReport | None = None
    problem: str = ""

    @property
    def can_be_added(self) -> bool:
        return self.report is not None and self.report.figures > 0


class Library:
    """One index, as its page sees it. All of it may take seconds: call it off the event loop."""

    def __init__(self, figures: FigureSearch, settings: Settings) -> None:
        self._figures = figures
        self._settings = settings
        self.jobs = Jobs()

    def stage(self) -> str:
        """What a screen says while it looks."""
        return self._figures.stage()

    def picture(self, figure: Figure) -> str:
        """Where a browser finds a figure's small picture, "" where there is none."""
        return self._figures.picture(figure)

    def large_picture(self, figure: Figure) -> str:
        """The same for a figure's own page."""
        return self._figures.large_picture(figure)

    def find(self, query: Query, filters: Filters) -> Results:
        """The similar figures, best first."""
        limit = self._settings.max_question_chars
        if query.is_empty:
            return Results(query, problem=words.NOTHING_ASKED)
        if len(query.text) > limit:
            return Results(query, problem=words.TOO_LONG.format(limit=limit))
        image = query.image.image if query.image else None
        try:
            search = self._figures.open()
            if query.figure is not None:
                hits = search.more_like(query.figure.figure_id, FIGURES_FOUND, filters=filters)
            else:
                hits = search.search(query.text, image, FIGURES_FOUND, filters=filters)
        except IndexMissingError:
            return Results(query, problem=words.NO_FIGURES)
        except RetrievalError as error:
            return Results(query, problem=str(error))
        return Results(query, hits, filtered=filters != Filters())

    def figure(self, figure_id: str) -> Figure | None:
        """None where the index has no such figure.

        Raises:
            RetrievalError: the index cannot be searched.
        """
        return self._figures.open().figure(figure_id)

    def figure_page(self, figure_id: str) -> FigurePage | None:
        """None where the index has no such figure.

        Raises:
            RetrievalError: the index cannot be searched.
        """
        search = self._figures.open()
        figure = search.figure(figure_id)
        if figure is None:
            return None
        generation = search.generation()
        row = generation.catalogue.rows([figure_id])[0]
        rows = (row, *generation.catalogue.duplicates(row, None))
        shown = generation.show(np.array(rows, np.int64))
        also = [other for one, others in shown for other in (one, *others)][1:]
        return FigurePage(figure, also, search.more_like(figure_id, SIMILAR_SHOWN))

    def overview(self) -> IndexStats:
        """What is in the index.

        Raises:
            RetrievalError: there is none, or it cannot be read.
        """
        return stats(self._settings.data_dir)

    def facets(self) -> dict[str, list[str]]:
        """What figures can be filtered by: the values of "modality", "region", "license" and "source".

        Raises:
            RetrievalError: the index cannot be searched.
        """
        return self._figures.open().facets()

    def preview(self, files: Sequence[Path]) -> Preview:
        """Reads an uploaded ZIP, or the files of an uploaded folder, without storing a figure."""
        # A file system's own files (.DS_Store) are in every folder, and mean nothing to anyone.
        files = [file for file in files if not file.name.startswith(".")] or files
        name = files[0].name if len(files) == 1 else words.FILES.format(count=len(files))
        try:
            file = self._one_archive(files)
            return Preview(file, name, preview(file))
        except RetrievalError as error:
            for sent in files:
                sent.unlink(missing_ok=True)
            return Preview(files[0], name, problem=str(error))

    def discard(self, found: Preview) -> None:
        """Removes the upload."""
        found.file.unlink(missing_ok=True)

    def add(self, found: Preview) -> Job:
        """Starts adding what was previewed; the upload is removed when all of it is in the index.

        Raises:
            IndexBusyError: this process is writing already.
        """

        def work(progress: Progress) -> str:
            said = self._build(OWN, found.file, progress)
            found.file.unlink(missing_ok=True)
            return said

        return self.jobs.start(words.ADDING.format(name=found.name), work)

    def add_sample(self) -> Job:
        """Starts adding the figures that come along.

        Raises:
            IndexBusyError: this process is writing already.
        """
        title = words.ADDING.format(name=corpus_title(SAMPLE))
        return self.jobs.start(title, lambda progress: self._build(SAMPLE, None, progress))

    def _build(self, corpus: str, path: Path | None, progress: Progress) -> str:
        address, embedder = self._settings.chroma_address, self._figures.embedder
        report = build_index(
            corpus, self._settings.data_dir, path, None, progress, chroma_url=address, embedder=embedder
        )
        said = words.ADDED_SOME if report.already_there else words.ADDED
        return said.format(added=words.figures(report.added), there=report.already_there, total=report.total)

    def delete(self, corpus: str) -> Job:
        """Starts deleting a corpus from the index, and what was unpacked of it here.

        Raises:
            IndexBusyError: this process is writing already.
        """
        settings = self._settings

        def work(progress: Progress) -> str:
            gone = delete(settings.data_dir, corpora=[corpus], chroma_url=settings.chroma_address, progress=progress)
            forget_unpacked([corpus], settings.data_dir)
            return words.DELETED.format(figures=words.figures(gone))

        return self.jobs.start(words.DELETING.format(title=corpus_title(corpus)), work)

    def rebuild(self) -> Job:
        """Starts making the search database anew.

        Raises:
            IndexBusyError: this process is writing already.
        """
        settings = self._settings

        def work(progress: Progress) -> str:
            report = rebuild_index(
                settings.data_dir, progress, chroma_url=settings.chroma_address, embedder=self._figures.embedder
            )
            return words.REBUILT.format(figures=words.figures(report.total))

        return self.jobs.start(words.REBUILDING, work)

    def _one_archive(self, files: Sequence[Path]) -> Path:
        """The files as one ZIP, so that all uploads take the same, checked way.

        Raises:
            CorpusError: they are too large together, or two have one name.
        """
        self._forget_abandoned()
        size, limit = sum(file.stat().st_size for file in set(files)), self._settings.max_corpus_bytes
        if size > limit:
            raise CorpusError(words.TOO_LARGE.format(size=words.megabytes(size), limit=words.megabytes(limit)))
        if len(files) == 1 and files[0].suffix.lower() == ".zip":
            return files[0]
        sent = set(files)
        names = [file.name for file in sent]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise CorpusError(words.ONE_NAME_TWICE.format(name=twice[0]))
        archive = files[0].parent / FOLDER_ZIP
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for file in sorted(sent):
                with file.open("rb") as source, packed.open(file.name, "w") as target:
                    shutil.copyfileobj(source, target)
        for file in files:
            file.unlink(missing_ok=True)
        return archive

    def _forget_abandoned(self) -> None:
        """Removes folders that were sent, and neither added nor discarded before the web process ended."""
        for archive in (self._settings.data_dir / "uploads").glob(f"*/{FOLDER_ZIP}"):
            if time.time() - archive.stat().st_mtime > DAY_S:
                archive.unlink(missing_ok=True)
