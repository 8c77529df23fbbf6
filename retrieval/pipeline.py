"""Building an index with several workers, on one machine or many: the same steps as a build's, spread by Ray Data.

    python -m retrieval.pipeline roco --path ../shared/data/roco-captions --workers 2
    python -m retrieval.pipeline pmc-oa --path PMC_OA --embedder pmc-clip:MODEL --device cuda --gpus 1 --address auto

    read -> index/pending/*.jsonl -> map_batches(Embed) -> index/parquet/*.parquet -> build_index, the writer of Chroma

A pending file is the unit of work, and becomes the shard of its own name whole or not at all: a worker that dies is
asked for it again, and a run that was killed embeds only what no shard holds. Workers on other machines have to see
the index's folder and the images under the same paths. Needs Ray: pip install --no-deps -r requirements-scale.txt
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.build import BATCH, BuildReport, Progress, build_index, embed_rows, index_folder
from retrieval.corpora.reading import CorpusReport
from retrieval.corpora.registry import CORPORA, read_corpus
from retrieval.embedders import ClipEmbedder, DemoEmbedder, Embedder, PmcClipEmbedder, open_embedder
from retrieval.errors import RetrievalError
from retrieval.figures import Figure
from retrieval.store import Store, digest
from retrieval.store_shards import Made, to_table

OBJECT_STORE_BYTES = 1 << 28
"""Only names of files and counts pass between the processes."""


class PipelineError(RetrievalError):
    """Ray is not installed, or workers failed."""


class Embed:
    """A file of figures in, its shard written, their number out; keeps its embedder as long as its worker lives.

    `make` makes the embedder where the worker is: weights do not travel.
    """

    def __init__(self, folder: Path, make: Callable[[], Embedder]) -> None:
        self._store, self._embedder = Store(folder), make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`{"file": [paths]}` to `{"figures": [counts]}`, as Ray Data passes rows."""
        return {"figures": np.array([self.shard(Path(file)) for file in batch["file"]])}

    def shard(self, file: Path) -> int:
        figures = [Figure.from_dict(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
        rows = embed_rows(figures, self._embedder, self._store.thumbnails)
        space = self._embedder.image_space if rows.has_image.any() else ""
        made = Made(self._embedder.name, self._embedder.dim, space)
        self._store.parquet.write(self._store.parquet.folder / f"{file.stem}.parquet", to_table(rows, made))
        return len(figures)


def build_with_workers(
    corpus: str,
    data_dir: Path,
    path: Path | None = None,
    licences: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    workers: int = 2,
    gpus: float = 0,
    address: str = "local",
    make: Callable[[], Embedder] = DemoEmbedder,
    chroma_url: str | None = None,
) -> BuildReport:
    """`build_index` with its embedding done by workers; running it again goes on where it stopped.

    Args:
        workers: processes of Ray, each with an embedder; 0 embeds in this process, without Ray.
        gpus: of each worker; 0.5 puts two on one GPU.
        address: of a Ray cluster, "auto" for the one that this machine is of; "local" starts one for this run.
        make: makes a worker's embedder.

    Raises:
        PipelineError: Ray is not installed, or a worker failed for good.
        RetrievalError: see `build_index`.
    """
    started = time.monotonic()
    store, embedder, added = Store(index_folder(data_dir)), make(), 0
    pending = store.folder / "pending"
    with store.writing():
        store.parquet.set_aside_damaged(corpus)
        store.check_embedder(embedder)
        figures = read_corpus(corpus, path, licences, CorpusReport(), data_dir, progress)
        files, total = _stage(store, corpus, figures, pending)
        for count in _embed(store, files, make, workers, gpus, address):
            added += count
            if progress:
                progress("embed", added, total)
        shutil.rmtree(pending, ignore_errors=True)
    # Nothing is left to embed, or what a worker of a killed run overwrote.
    report = build_index(corpus, data_dir, path, licences, progress, chroma_url=chroma_url, embedder=embedder)
    return replace(
        report,
        added=report.added + added,
        already_there=report.already_there - added,
        seconds=time.monotonic() - started,
    )


def _stage(store: Store, corpus: str, figures: Iterable[Figure], pending: Path) -> tuple[list[Path], int]:
    """Files of the figures that no shard holds as they are, named as the shards are to be; and their number."""
    shutil.rmtree(pending, ignore_errors=True)
    pending.mkdir(parents=True)
    known = store.digests(corpus)
    last = store.shards(corpus)
    number = int(last[-1].stem.rpartition("-")[2]) + 1 if last else 0
    files: list[Path] = []
    total = 0
    for some in _in_batches(figure for figure in figures if known.get(figure.figure_id) != digest(figure)):
        files.append(pending / f"{corpus}-{number + len(files):06d}.jsonl")
        files[-1].write_text("".join(f"{json.dumps(figure.to_dict())}\n" for figure in some), encoding="utf-8")
        total += len(some)
    return files, total


def _in_batches(figures: Iterator[Figure]) -> Iterator[list[Figure]]:
    some: list[Figure] = []
    for figure in figures:
        some.append(figure)
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some


def _embed(
    store: Store, files: list[Path], make: Callable[[], Embedder], workers: int, gpus: float, address: str
) -> Iterator[int]:
    """Has every file embedded; gives the number of its figures when it is."""
    if not files:
        return
    if workers == 0:
        yield from map(Embed(store.folder, make).shard, files)
        return
    # Which captions are indexed here is nobody's business.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise PipelineError(
            "Several workers need Ray: `pip install --no-deps -r requirements-scale.txt`, or --workers 0."
        ) from error
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    ray.init(address=address, log_to_driver=False, **(own if address == "local" else {}))
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"file": str(file.resolve())} for file in files]
        embedded = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Embed,
            fn_constructor_args=(store.folder.resolve(), make),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            **({"num_gpus": gpus} if gpus else {"num_cpus": 1}),
        )
        for row in embedded.iter_rows():
            yield int(row["figures"])
    except ray.exceptions.RayError as error:
        raise PipelineError(f"The workers stopped, and what they finished is kept: {error}") from error
    finally:
        ray.shutdown()


def opened(name: str, device: str = "cpu") -> Embedder:
    """`open_embedder` on a device of torch.

    Raises:
        PipelineError: this one runs on the processor only.
    """
    embedder = open_embedder(name)
    if device != "cpu":
        if not isinstance(embedder, PmcClipEmbedder | ClipEmbedder):
            raise PipelineError(f'The embedder "{name}" runs on the processor only.')
        embedder.device = device
    return embedder


def _tell(stage: str, done: int, total: int) -> None:
    print(f"{stage}: {done:,} of {total:,}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", choices=list(CORPORA))
    parser.add_argument("--path", type=Path, help="the corpus's folder or ZIP")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="state folder that holds the index (data)")
    parser.add_argument("--licence", action="append", help='one to take, such as "CC BY-NC"; else the open ones')
    parser.add_argument("--workers", type=int, default=2, help="0 embeds in this process, without Ray (2)")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker (0)")
    parser.add_argument("--address", default="local", help='of a Ray cluster, "auto" for the one that runs here')
    parser.add_argument("--embedder", default="demo", help="demo, pmc-clip:FOLDER or clip:FOLDER")
    parser.add_argument("--device", default="cpu", help="of torch, such as cuda (cpu)")
    parser.add_argument("--chroma-url", help="of a Chroma server to fill, else embedded")
    options = parser.parse_args()
    try:
        report = build_with_workers(
            options.corpus,
            options.data_dir,
            options.path,
            options.licence,
            _tell,
            workers=options.workers,
            gpus=options.gpus,
            address=options.address,
            make=partial(opened, options.embedder, options.device),
            chroma_url=options.chroma_url,
        )
    except RetrievalError as error:
        sys.exit(str(error))
    print(f"{report.added:,} figures added, {report.total:,} in the index, {report.seconds:.0f} s")


if __name__ == "__main__":
    main()
