"""Labelled rows whose claims were written by hand, in other words than the caption's, as a model would say them.

`written.jsonl` holds the claims; the captions are ROCO's and are read from there.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from assistant.evidence.evaluation.roco_rows import FOLDERS, LICENCES
from assistant.evidence.evaluation.rows import Half, Row
from retrieval.corpora.roco import read_roco

FILE = Path(__file__).with_name("written.jsonl")


def written_rows(data: Path, half: Half) -> Iterator[Row]:
    """The rows of one half; those whose caption is not in `data` are left out."""
    claims = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    wanted = {claim["figure_id"] for claim in claims if claim["half"] == half}
    figures = read_roco(data / "roco-captions" / FOLDERS[half], LICENCES)
    captions = {figure.figure_id: figure.caption for figure in figures if figure.figure_id in wanted}
    for claim in claims:
        if claim["half"] == half and claim["figure_id"] in captions:
            question, answer, origin = claim["question"], claim["answer"], claim["figure_id"]
            yield Row("written", half, claim["label"], "by hand", question, answer, captions[origin], origin)
