"""Search by image, by words, or both; the way from a question to the figures beside an answer.

    search = open_search(Path("data"))
    search.search("pneumothorax", None)              # list[Hit], [] where nothing is similar
    search.search("What is this?", image, k=8, filters=Filters(modalities=frozenset({"CT"})))
    search.search_with_query("What causes it?", None, earlier=["What is a pneumothorax?"]).query_text
    search.more_like("PMC5665693/cureus-i01")

Image and words are embedded into one space; each finds candidates (`generation.py`), which become one ranking
(`fusion.py`), spread over articles, duplicates behind the best of them.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.build import index_folder
from retrieval.catalogue import LAYOUT, Mask, open_catalogue
from retrieval.condense import condense
from retrieval.embedders import DemoEmbedder, Embedder, Vectors
from retrieval.errors import IndexBusyError, IndexMissingError
from retrieval.figures import Figure, Hit
from retrieval.filters import Filters, allowed
from retrieval.fusion import Fusion, Ranked, fuse
from retrieval.generation import Generation, Query
from retrieval.relevance import Tuning, load_tuning
from retrieval.store import BUILD_COMMAND, Current, Store

POOL = 50
"""Candidates that each view brings: more than anyone is shown, so that fusion can lift what several found."""

FUSION: Fusion = "weighted"
PER_ARTICLE = 2


@dataclass(frozen=True)
class Found:
    """Hits, and the words that were searched: the question, or what was made of a follow-up question."""

    hits: list[Hit]
    query_text: str


@dataclass(frozen=True)
class Candidate:
    """A figure with its cosine to every query that was made."""

    figure: Figure
    cosines: Mapping[str, float]


@dataclass(frozen=True)
class _Chosen:
    best: Ranked
    also: tuple[int, ...]


class Search:
    """Search over one index; safe to call from several threads; notices when the index was rebuilt."""

    def __init__(
        self, store: Store, embedder: Embedder, chroma_url: str | None = None, tuning: Tuning | None = None
    ) -> None:
        self._store, self._embedder, self._chroma_url = store, embedder, chroma_url
        self.tuning = tuning or load_tuning(embedder.name)
        self._opening = threading.Lock()
        self._opened: Generation | None = None
        self.generation()

    def search(
        self,
        text: str | None,
        image: Image.Image | None,
        k: int = 8,
        *,
        filters: Filters | None = None,
        exclude_pmcids: Collection[str] = (),
        earlier: Sequence[str] = (),
    ) -> list[Hit]:
        """The hits of `search_with_query`."""
        return self.search_with_query(
            text, image, k, filters=filters, exclude_pmcids=exclude_pmcids, earlier=earlier
        ).hits

    def search_with_query(
        self,
        text: str | None,
        image: Image.Image | None,
        k: int = 8,
        *,
        filters: Filters | None = None,
        exclude_pmcids: Collection[str] = (),
        earlier: Sequence[str] = (),
    ) -> Found:
        """At most `k` figures, best first; none where nothing is similar enough, or there is neither text nor image.

        Args:
            exclude_pmcids: articles that must not be found: an evaluation item's own.
            earlier: the questions before this one, oldest first, for a follow-up ("And on the left?").

        Raises:
            WeightsMissingError: an image is given and the image embedder has no weights.
            IndexMissingError: the index was deleted meanwhile.
        """
        query_text = condense((text or "").strip(), earlier)
        query = Query(
            image=self._embedder.embed_images([image])[0] if image is not None else None,
            text=self._embedder.embed_texts([query_text])[0] if query_text else None,
            words=query_text,
        )
        return Found(self.find(query, k, filters=filters, exclude_pmcids=exclude_pmcids), query_text)

    def find(
        self, query: Query, k: int = 8, *, filters: Filters | None = None, exclude_pmcids: Collection[str] = ()
    ) -> list[Hit]:
        """The search of a query that is embedded already."""
        generation = self.generation()
        mask = allowed(generation.catalogue, filters, exclude_pmcids)
        pool = generation.pool(query, max(POOL, 2 * k), mask)
        return _hits(generation, fuse(pool, self.tuning, FUSION), k, mask)

    def more_like(self, figure_id: str, k: int = 8, *, filters: Filters | None = None) -> list[Hit]:
        """Figures like one of the index, by its caption and its image; itself and its duplicates are not among them.

        [] where there is no such figure, or nothing similar.
        """
        generation = self.generation()
        query = generation.query_of(figure_id)
        if query is None:
            return []
        catalogue = generation.catalogue
        groups = catalogue.columns["group"].codes
        others = groups != groups[catalogue.rows([figure_id])[0]]
        wanted = allowed(catalogue, filters, ())
        mask = others if wanted is None else others & wanted
        pool = generation.pool(query, max(POOL, 2 * k), mask)
        return _hits(generation, fuse(pool, self.tuning, FUSION), k, mask)

    def figure(self, figure_id: str) -> Figure | None:
        """The figure of an id; None where the index has none."""
        return self.generation().figure(figure_id)

    def facets(self) -> dict[str, list[str]]:
        """What figures can be filtered by: the values of "modality", "region", "license" and "source"."""
        catalogue = self.generation().catalogue
        return {name: catalogue.names(name) for name in ("modality", "region", "license", "source")}

    def candidates(self, queries: Mapping[str, Vectors], count: int) -> list[Candidate]:
        """What each query ("image", "text") finds among captions, `count` each, with the cosines to all queries."""
        generation = self.generation()
        pool = generation.pool(Query(queries.get("image"), queries.get("text")), count)
        figures = generation.show(pool.rows)
        return [
            Candidate(figure, {name: float(pool.views[name][place]) for name in queries})  # type: ignore[index]
            for place, (figure, _) in enumerate(figures)
        ]

    def __len__(self) -> int:
        """Figures of the generation that was searched last; looks at nothing, so that a screen can say it at once."""
        return self._opened.current.figures if self._opened else 0

    def generation(self) -> Generation:
        """The current generation; a build in another process may have made a newer one."""
        with self._opening:
            current = self._store.current()
            if self._opened is not None and current == self._opened.current:
                return self._opened
            if current is not None and current.embedder != self._embedder.name:
                raise self._store.mismatch(current.embedder, self._embedder)
            try:
                if current is None:
                    raise IndexMissingError("There is no current generation.")
                self._opened = self._open(current)
            except IndexMissingError:
                self._opened = self._open(self._heal())
            return self._opened

    def _open(self, current: Current) -> Generation:
        captions = self._store.open_collection(current, self._chroma_url)
        # Vectors of another image embedder do not compare: `medvint index rebuild` makes them anew.
        comparable = current.image_space == self._embedder.image_space
        pictures = self._store.open_images(current, self._chroma_url) if comparable else None
        folder = self._store.folder / "lexical" / f"{current.generation}.{LAYOUT}"
        return Generation(current, captions, pictures, open_catalogue(folder, captions, pictures))

    def _heal(self) -> Current:
        """Chroma is lost or damaged: it is made anew from Parquet."""
        if not self._store.shards():
            raise IndexMissingError(f"There is no index in {self._store.folder} yet: `{BUILD_COMMAND}` makes one.")
        self._store.check_embedder(self._embedder)
        try:
            with self._store.writing():
                return self._store.rebuild_chroma(self._chroma_url)
        except IndexBusyError as error:
            raise IndexBusyError(f"The index is not ready yet. {error}") from error


def _hits(generation: Generation, ranked: Sequence[Ranked], k: int, mask: Mask | None) -> list[Hit]:
    chosen = _spread(generation, ranked, k, mask)
    rows = [row for one in chosen for row in (one.best.row, *one.also)]
    figures = dict(zip(rows, generation.show(np.array(rows, np.int64)), strict=True))
    return [
        Hit(
            figure=figures[one.best.row][0],
            score=one.best.score,
            rank=rank,
            found_by=one.best.found_by,
            relevance=one.best.relevance,
            also=(*figures[one.best.row][1], *(f for row in one.also for f in (figures[row][0], *figures[row][1]))),
        )
        for rank, one in enumerate(chosen, 1)
    ]


def _spread(generation: Generation, ranked: Sequence[Ranked], k: int, mask: Mask | None) -> list[_Chosen]:
    """The first `k`, one of each group of duplicates and two of an article, or more where nothing else is there."""
    catalogue = generation.catalogue
    groups, articles = catalogue.columns["group"].codes, catalogue.columns["article"].codes
    seen: set[int] = set()
    of_article: dict[int, int] = {}
    chosen: list[int] = []
    spare: list[int] = []
    for place, one in enumerate(ranked):
        group, article = int(groups[one.row]), int(articles[one.row])
        if group in seen:
            continue
        seen.add(group)
        if of_article.get(article, 0) < PER_ARTICLE:
            of_article[article] = of_article.get(article, 0) + 1
            chosen.append(place)
        else:
            spare.append(place)
    best = sorted((chosen + spare)[:k])
    return [_Chosen(ranked[place], catalogue.duplicates(ranked[place].row, mask)) for place in best]


def open_search(data_dir: Path, chroma_url: str | None = None, embedder: Embedder | None = None) -> Search:
    """Open the index at `data_dir/index`, with Chroma embedded or as the server at `chroma_url`.

    A missing or damaged Chroma directory is made anew from Parquet (about a thousand figures a second).

    Raises:
        IndexMissingError: nothing was built yet; the message names the command.
        IndexBusyError: the index is being built for the first time.
        EmbedderMismatchError: another embedder made the index; the message names the command.
    """
    return Search(Store(index_folder(data_dir)), embedder or DemoEmbedder(), chroma_url)
