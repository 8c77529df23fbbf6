"""Answers side by side, over the real engine, and where a server is missing."""

from pathlib import Path

import pytest

from assistant.chat import Assistant
from assistant.compare_screen import table
from assistant.comparing import OTHER, WITH, WITHOUT, Column, Comparison, verdict
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.settings import Settings
from assistant.uploads import UploadLimits, clean_upload

EXAMPLES = Path(__file__).resolve().parents[2] / "assistant" / "examples"


def comparison(settings: Settings) -> Comparison:
    figures = FigureSearch(settings)
    return Comparison(lambda client, asked: Assistant(client, figures, asked), ModelClient(settings), settings)


async def last(asked) -> list[Column]:
    return [columns async for columns in asked][-1]


async def test_each_way_is_its_own_chat_turn(model_server, sample_index):
    settings = Settings(data_dir=sample_index, model_url=model_server.url, compare_url=model_server.url)
    compared = comparison(settings)
    image = clean_upload((EXAMPLES / "ct-head.png").read_bytes(), "", UploadLimits())
    question = "What modality is used to take this image?"
    columns = await last(compared.ask(question, image))
    assert [column.name for column in columns] == [WITHOUT, WITH, OTHER]
    assert all(column.is_over and column.turn.answer and column.turn.hits for column in columns)
    told = {column.name: column.turn for column in columns}
    assert told[WITHOUT].answer == told[OTHER].answer
    # The captions were read: they change how sure the model is.
    assert told[WITH].confidence != told[WITHOUT].confidence
    assert verdict(columns)
    page = table(columns)
    assert page.count("<article") == 3 and page.count("The captions it was given") == 1
    await compared.close()


async def test_a_missing_server_is_told_in_its_own_column(tmp_path, free_port):
    settings = Settings(
        data_dir=tmp_path, model_port=free_port(), compare_url=f"http://127.0.0.1:{free_port()}", served_model_name="a"
    )
    assert settings.compared().model_fields_set >= {"model_url"}
    assert settings.compared().served_model_name == Settings().served_model_name
    columns = await last(comparison(settings).ask("What is it <b>?", None))
    assert len(columns) == 3
    assert all("does not answer" in column.problem for column in columns)
    assert verdict(columns) == ""
    assert "<b>" not in table(columns)


@pytest.mark.parametrize(("url", "names"), [(None, (WITHOUT, WITH)), ("http://gpu:8000", (WITHOUT, WITH, OTHER))])
def test_a_second_model_joins_where_its_server_is_named(tmp_path, url, names):
    assert comparison(Settings(data_dir=tmp_path, compare_url=url)).names == names
