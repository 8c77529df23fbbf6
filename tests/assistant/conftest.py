"""What the Library's tests share: an index with three figures of a teacher's own."""

from pathlib import Path

import pytest

from assistant.figure_library import Library
from assistant.figure_search import FigureSearch
from assistant.settings import Settings
from tests.own_figures import make_zip


def open_library(data_dir: Path, **values) -> Library:
    settings = Settings(data_dir=data_dir, **values)
    return Library(FigureSearch(settings), settings)


@pytest.fixture(scope="session")
def own(tmp_path_factory) -> Path:
    """A state folder whose index holds three own figures, added as the page does it."""
    data_dir = tmp_path_factory.mktemp("own")
    library = open_library(data_dir)
    job = library.add(library.preview([make_zip(data_dir / "sent" / "lecture.zip")]))
    job.wait()
    assert job.state == "done", job.told()
    return data_dir
