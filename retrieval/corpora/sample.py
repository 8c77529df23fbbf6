"""The sample corpus: facts about open-access figures, each described in one sentence of ours.

No caption and no picture of the articles is copied; a figure links to its article, where both are.

    figures = list(read_sample())
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from retrieval.corpora.licences import is_open, normalise_licence
from retrieval.errors import CorpusError
from retrieval.figures import Figure, article_url, graphic_name

SAMPLE = Path(__file__).with_name("sample.jsonl")

_PMCID = re.compile(r"PMC\d+")


def read_sample(path: Path = SAMPLE) -> Iterator[Figure]:
    """
    Raises:
        CorpusError: the file is missing, or a row is not what it must be (it is ours, so every row must be right).
    """
    if not path.exists():
        raise CorpusError(f"{path} is missing.")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield sample_figure(json.loads(line))
                except (KeyError, ValueError) as error:
                    raise CorpusError(f"{path.name}, line {number}: {error!r}") from error


def sample_figure(row: dict) -> Figure:
    """One row as a figure.

    Raises:
        KeyError: a field is missing.
        ValueError: a field is not what it must be.
    """
    pmcid, graphic, description = row["pmcid"], graphic_name(row["graphic"]), row["description"].strip()
    licence = normalise_licence(row["license"])
    if not _PMCID.fullmatch(pmcid):
        raise ValueError(f"{pmcid!r} is no PMCID")
    if not is_open(licence):
        raise ValueError(f"the licence {row['license']!r} is not open")
    if not graphic or not description:
        raise ValueError("graphic and description must not be empty")
    return Figure(
        figure_id=f"{pmcid}/{graphic}",
        pmcid=pmcid,
        graphic=graphic,
        label=row["label"],
        caption=description,
        license=licence,
        article_url=article_url(pmcid),
        source="sample",
        caption_by="medvint",
        modality=row["modality"],
        region=row["region"],
        findings=tuple(row["findings"]),
    )
