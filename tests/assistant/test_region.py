"""A part of an image as what a question is about."""

from pathlib import Path

import pytest

from assistant.chat import Assistant, Turn
from assistant.conversation import belonging
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.region import RegionError, cut, read_region
from assistant.served_model import ServedModel
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload

EXAMPLE = Path(__file__).parents[2] / "assistant" / "examples" / "mri-brain.png"


@pytest.fixture
def image() -> CleanImage:
    return clean_upload(EXAMPLE.read_bytes(), EXAMPLE.name, UploadLimits())


def test_a_region_is_cut_and_what_reaches_over_the_edge_left_out(image):
    crop = cut(image, (300, 400, 5000, 5000))
    assert crop.image.tobytes() == image.image.crop((300, 400, image.width, image.height)).tobytes()
    assert crop.notes == (f"about the region from 300,400 to {image.width},{image.height}",)
    assert crop.sha256 != image.sha256


@pytest.mark.parametrize("region", [(0, 0, 5, 200), (900, 900, 999, 999), (200, 200, 100, 100)])
def test_too_little_of_the_image_is_no_region(image, region):
    with pytest.raises(RegionError, match="larger"):
        cut(image, region)


@pytest.mark.parametrize(("text", "region"), [("", None), (" 1, 2,30,40 ", (1, 2, 30, 40))])
def test_a_region_is_four_numbers(text, region):
    assert read_region(text) == region


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1.5,2,3,4", "-1,2,3,4", "1,2,3,4,5", "9999999,0,1,1"])
def test_anything_else_is_none(text):
    with pytest.raises(RegionError, match="left,top,right,bottom"):
        read_region(text)


@pytest.mark.parametrize(("limit", "given"), [(1, 1), (None, 1), (2, 2)])
def test_a_model_of_one_image_is_given_the_crop(image, limit, given):
    crop = cut(image, (100, 100, 200, 200))
    (told,) = belonging([Turn("What?", (image, crop))], ServedModel("m", "m", max_images=limit, prompt="medvint"))
    assert told.images == (image, crop)[-given:]


async def test_the_answer_says_what_it_was_about(model_server, sample_index, image):
    settings = Settings(data_dir=sample_index, model_url=model_server.url, max_answer_tokens=8)
    model = ModelClient(settings)
    assistant = Assistant(model, FigureSearch(settings), settings)
    async for turn in assistant.ask("What is this?", image, region=(100, 100, 300, 300)):
        last = turn
    await model.close()
    notes = last.to_dict()["notes"]
    assert any("region from 100,100 to 300,300" in note for note in notes)
    assert any("the region alone" in note for note in notes)
    assert last.images[1].width == 200
    with pytest.raises(RegionError, match="needs the image"):
        await anext(assistant.ask("What is this?", region=(1, 1, 99, 99)))
