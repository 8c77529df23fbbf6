"""One image and one question, answered side by side: without evidence, with evidence, and by another model.

comparison = Comparison(make, model, settings)
async for columns in comparison.ask("What is abnormal?", image):
    print([(column.name, column.turn.answer) for column in columns])

Every column is the same chat turn; with evidence, the captions of the similar figures stand in the prompt.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from assistant.chat import Assistant, QuestionError, Turn
from assistant.model import ModelClient, ModelError
from assistant.settings import Settings
from assistant.uploads import CleanImage

SECONDS_BETWEEN_UPDATES = 0.1
WITHOUT, WITH, OTHER = "Without evidence", "With evidence", "Another model"
Make = Callable[[ModelClient, Settings], Assistant]


@dataclass(frozen=True)
class Column:
    """One way of asking and its turn so far; `problem` is why it has no answer, or no more of it."""

    name: str
    turn: Turn
    problem: str = ""

    @property
    def is_over(self) -> bool:
        return bool(self.problem) or not self.turn.stage


class Comparison:
    """The ways of asking; the third one where `compare_url` names a second server."""

    def __init__(self, make: Make, model: ModelClient, settings: Settings) -> None:
        without, with_evidence = (settings.model_copy(update={"captions_in_prompt": asked}) for asked in (False, True))
        self._ways = {WITHOUT: make(model, without), WITH: make(model, with_evidence)}
        self._other: ModelClient | None = None
        if other := settings.compared():
            self._other = ModelClient(other)
            self._ways[OTHER] = make(self._other, other)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._ways)

    async def ask(self, question: str, image: CleanImage | None) -> AsyncGenerator[list[Column], None]:
        """The columns as they grow, each ended by an answer or a problem. Closing the iterator stops all of them."""
        waiting = Turn(question, (image,) if image else (), stage="thinking")
        columns = {name: Column(name, waiting) for name in self._ways}
        changed = asyncio.Event()

        async def answer(name: str, assistant: Assistant) -> None:
            try:
                async with aclosing(assistant.ask(question, image)) as turns:
                    async for turn in turns:
                        columns[name] = replace(columns[name], turn=turn)
                        changed.set()
            except (QuestionError, ModelError) as error:
                columns[name] = replace(columns[name], problem=str(error))
            finally:
                changed.set()

        asked = [asyncio.create_task(answer(name, assistant)) for name, assistant in self._ways.items()]
        try:
            while True:
                is_over = all(task.done() for task in asked)
                yield list(columns.values())
                if is_over:
                    break
                await changed.wait()
                changed.clear()
                # What came with the last word is shown with it.
                await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
            # A fault that nobody foresaw must not look like an answer that never comes.
            for task in asked:
                task.result()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def close(self) -> None:
        """Close the second server's client; the first is its owner's."""
        if self._other:
            await self._other.close()


def verdict(columns: list[Column]) -> str:
    """Whether the answers agree, in a sentence; "" before all are there."""
    answers = {column.turn.answer.strip(" .").lower() for column in columns}
    if any(column.problem or not column.is_over for column in columns):
        return ""
    return "All answers are the same." if len(answers) == 1 else "The answers differ: read what each rests on."
