"""What the tests of tutor mode share: a small pack with exact keys, drawn once, and a gate over it."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.study.gate import Gate
from assistant.study.log import Log
from assistant.study.making import make_items
from assistant.study.packs import PackWriter, Shelf
from assistant.study.sources import phantoms


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def drawn_shelf(tmp_path_factory) -> Path:
    """A shelf with two phantoms of each key."""
    shelf = tmp_path_factory.mktemp("shelf")
    few = {}
    for question in phantoms.questions():
        own = few.setdefault((question.stem, question.key), [])
        if len(own) < (6 if question.kind == "place" else 2):
            own.append(question)
    questions = [question for own in few.values() for question in own]
    writer = PackWriter(shelf, phantoms.PACK)
    writer.finish(make_items(writer, questions, random.Random(1)))
    return shelf


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(drawn_shelf: Path, tmp_path: Path, clock: Clock) -> Gate:
    return Gate(Shelf(drawn_shelf), Log(tmp_path / "study.db"), clock)


@pytest.fixture
def own_shelf(drawn_shelf: Path, tmp_path: Path) -> Shelf:
    """A copy that a test may change."""
    shutil.copytree(drawn_shelf, tmp_path / "shelf")
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def item_of(drawn_shelf: Path) -> Callable:
    """A function that gives an item of the drawn pack by the start of its stem, with fields changed."""
    items = Shelf(drawn_shelf).items()

    def find(stem: str, **values):
        return replace(next(item for item in items if item.stem.startswith(stem)), **values)

    return find
