"""Building the index: figures of a corpus, embedded in batches, into Parquet, then into Chroma.

    build_index("sample", Path("data"))
    build_index("roco", Path("data"), Path("../shared/data/roco-captions"))
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class BuildReport:
    """What one build did; `skipped` counts rows of the corpus by reason ("licence CC BY-NC", "no caption", ...)."""

    corpus: str
    added: int
    already_there: int
    total: int
    seconds: float
    skipped: dict[str, int] = field(default_factory=dict)


Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total), stage one of "download", "embed", "index"."""


def build_index(
    corpus: str,
    data_dir: Path,
    path: Path | None = None,
    licences: Collection[str] | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Add a corpus to the index at `data_dir/index`; running it again goes on where it stopped.

    Args:
        corpus: "sample" or "roco".
        path: the corpus's folder; without it ROCO is downloaded, the sample comes with the package.
        licences: licences to take, such as {"CC BY", "CC BY-NC"}; None takes the openly licensed ones.
        progress: see `Progress`.

    Raises:
        RetrievalError: its subclasses say what is wrong in one sentence that a user can act on.
    """
    raise NotImplementedError
