"""Where it looked: what is covered, what is said of it, and how the real model's answer is scored."""

import json
from contextlib import aclosing
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from PIL import Image

from assistant.chat import Assistant, Turn
from assistant.conversation import messages_of
from assistant.conversations import ConversationError, read_turn, turn_json
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.occlusion import GRID, PARTS, Where, covered, region
from assistant.settings import Settings
from assistant.uploads import UploadLimits, clean_upload
from assistant.where_html import where_map
from assistant.where_looked import Step, cost, where_looked

EXAMPLES = Path(__file__).resolve().parents[2] / "assistant" / "examples"


def where(change: float, row: int = 0, column: int = 0, **values) -> Where:
    rows = np.full((GRID, GRID), 0.8)
    rows[row, column] += change
    return Where("Left <b>", 0.8, 0.3, tuple(tuple(map(float, line)) for line in rows), **values)


def test_a_part_is_covered_in_the_mean_colour_and_nothing_else_changes():
    before = np.random.default_rng(0).integers(0, 256, (45, 31, 3), np.uint8)
    shown = [np.array(covered(Image.fromarray(before), row, column)) for row in range(GRID) for column in range(GRID)]
    changed = np.stack([(each != before).any(-1) for each in shown])
    # Every pixel in exactly one part, but for those that have the mean colour themselves.
    assert (changed.sum(0) <= 1).all() and changed.sum() >= 45 * 31 - 5
    assert np.unique(np.array(covered(Image.fromarray(before), 0, 0, 1)).reshape(-1, 3), axis=0).shape == (1, 3)


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(0, 0, "upper left"), (3, 3, "centre"), (6, 6, "lower right"), (3, 0, "middle left"), (0, 3, "upper middle")],
)
def test_the_part_that_matters_most_is_named(row, column, place):
    assert region(row, column) == place
    told = where(-0.4, row, column)
    assert told.strongest() == (row, column)
    assert told.words().startswith(f"The {place} of the picture mattered most")
    assert "from 80 % to 40 %. No other part mattered." in told.words()


@pytest.mark.parametrize("change", [0.0, -0.04, 0.15])
def test_it_is_said_where_no_part_matters(change):
    assert where(change).strongest() is None
    assert where(change).words().startswith("No part of the image mattered alone: whichever of the 49 is covered")
    assert "With all of it covered: 30 %." in where(change).words()


def test_the_map_stands_over_its_image_with_numbers_and_a_legend():
    tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

    page = where_map(where(-0.4), './x.png"><script>')
    Parser().feed(page)
    assert tags.count("i") == PARTS and "script" not in tags
    assert "<b>−40</b>" in page and "less probable" in page and "Left &lt;b&gt;" in page


def test_a_map_is_kept_with_its_turn_and_a_forged_one_is_refused():
    turn = Turn("Where?", answer="Left", where=where(-0.4))
    assert read_turn(turn_json(turn)) == turn
    for rows in ([], [[]], [[0.1], [0.1, 0.2]], [[2.0]]):
        forged = json.loads(turn_json(turn))
        forged["where"]["covered"] = rows
        with pytest.raises(ConversationError, match="where"):
            read_turn(json.dumps(forged))


def test_the_cost_is_said_in_words():
    assert cost(None) == "49 short questions"
    assert cost(Turn("?", timings={"search": 1.0, "first_token": 2.0})) == "49 short questions, about 50 s"


async def test_the_real_model_is_asked_about_every_part(model_server, sample_index):
    settings = Settings(data_dir=sample_index, model_url=model_server.url)
    assistant = Assistant(ModelClient(settings), FigureSearch(settings), settings)
    image = clean_upload((EXAMPLES / "ct-head.png").read_bytes(), "", UploadLimits())
    question = "What modality is used to take this image?"
    messages = messages_of([Turn(question, (image,))])
    said = [token async for token in assistant.model.stream(messages)]
    answer = "".join(token.text for token in said).rstrip()
    generated = [logprob for token in said if token.text.strip() for logprob in token.logprobs]
    scored = await assistant.model.score(messages, answer)
    assert scored == pytest.approx(generated, abs=0.1)
    other = await assistant.model.score(messages, answer[:1] + "Ultrasound of a zebra")
    assert sum(other) < sum(scored) - 2
    assert await assistant.model.score([HumanMessage("What?")], "") == ()

    steps: list[Step] = []
    async with aclosing(where_looked(assistant, settings, Turn(question, (image,), answer="CT"), image, 2)) as asked:
        async for step in asked:
            steps.append(step)
    assert [step.done for step in steps] == list(range(5)) and {step.total for step in steps} == {4}
    told = steps[-1].where
    assert told.answer == answer.strip()
    assert told.whole == pytest.approx(np.exp(sum(scored)), abs=0.1)
    assert all(0 <= value <= 1 for row in told.covered for value in row)
    await assistant.model.close()
