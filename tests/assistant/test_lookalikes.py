"""Look-alikes over the sample figures: near, of the same modality, and with another finding."""

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from assistant.api_search import make_search_router
from assistant.figure_search import FigureSearch
from assistant.lookalikes import NoLookAlikeError, findings_of, look_alike
from assistant.settings import Settings
from retrieval.figures import Figure


def figure(caption: str, *findings: str) -> Figure:
    return Figure("PMC1/a", "PMC1", "a", "", caption, "CC BY", "https://pmc.example/1", "roco", findings=findings)


@pytest.fixture(scope="module")
def figures(sample_index) -> FigureSearch:
    return FigureSearch(Settings(data_dir=sample_index))


@pytest.mark.parametrize(
    ("shown", "findings"),
    [
        (figure("Chest CT with a left pneumothorax and a small effusion."), ("pneumothorax", "effusion")),
        (figure("No pneumothorax. The heart is enlarged (cardiomegaly)."), ("enlarged heart",)),
        (figure("Fracture of the femur without dislocation."), ("fracture",)),
        (figure("CT of the head.", "subdural haematoma"), ("haemorrhage",)),
        (figure("Massive splenomegaly, lens and legend."), ()),
    ],
)
def test_what_a_caption_affirms(shown, findings):
    assert findings_of(shown) == findings


def test_a_look_alike_is_near_and_shows_something_else(figures):
    search = figures.open()
    generation = search.generation()
    found = []
    for row in range(30):
        [(shown, _)] = generation.show(np.array([row], np.int64))
        try:
            alike = look_alike(search, shown.figure_id)
        except NoLookAlikeError:
            continue
        found.append(alike)
        assert alike.other.modality == shown.modality
        assert not set(alike.here) & set(findings_of(alike.other))
        assert alike.here[0] in alike.words() and alike.there[0] in alike.words()
        near = [hit.figure.figure_id for hit in search.more_like(shown.figure_id, 50)]
        assert alike.other.figure_id in near
    assert len(found) >= 10


async def test_the_fragment_says_the_difference_or_why_there_is_none(figures):
    app = FastAPI()
    app.include_router(make_search_router(figures, Settings()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        shown = await client.get("/look-alike", params={"figure": "PMC3807838/CRIM.PULMONOLOGY2013-374960.004"})
        assert "This one: pneumothorax" in shown.text and "The other: " in shown.text
        assert shown.text.count("CC") >= 2
        gone = await client.get("/look-alike", params={"figure": "<b>", "page": "Library"})
        assert gone.status_code == 200 and "no such figure" in gone.text
        assert (await client.get("/look-alike", params={"figure": "a", "page": "//evil"})).status_code == 422
