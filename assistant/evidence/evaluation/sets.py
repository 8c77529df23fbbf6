"""The labelled rows of one half, from all sources.

rows = labelled_rows(Path("../shared/data"), "development")
"""

import random
from pathlib import Path

from assistant.evidence.evaluation.roco_rows import roco_rows
from assistant.evidence.evaluation.rows import Half, Row, thinned
from assistant.evidence.evaluation.slake_rows import slake_rows
from assistant.evidence.evaluation.written_rows import written_rows

# Of each label, so many rows of a source.
MOST_ROCO, MOST_SLAKE = 600, 200


def labelled_rows(data: Path, half: Half, seed: int = 0) -> list[Row]:
    """The rows of one half; the same for the same seed.

    Raises:
        CorpusError: `data` lacks ROCO's captions.
        FileNotFoundError: `data` lacks SLAKE.
    """
    draw = random.Random(seed)  # noqa: S311
    rows = thinned(roco_rows(data, half, draw), MOST_ROCO, draw)
    rows += thinned(slake_rows(data, half, draw), MOST_SLAKE, draw)
    return [*rows, *written_rows(data, half)]
