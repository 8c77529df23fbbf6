"""Feedback as rows for training and evaluation: one CSV, with the images beside it.

rows = judged_rows(store)
written = write_rows(rows, Path("feedback.csv"), with_answer=True)    # what `medvint evaluate own --data` reads
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from assistant.chat import current_image
from assistant.conversations import Conversations
from assistant.feedback import Feedback
from assistant.uploads import CleanImage

COLUMNS = ("image", "question", "answer", "said", "judgement", "sentence", "why", "model", "follow_up", "given")


@dataclass(frozen=True)
class JudgedRow:
    """One answer that somebody judged; `image` is the one that its question was about, `said` the model's answer.

    `follow_up`: the question had others before it, and may say little without them.
    """

    image: CleanImage | None
    question: str
    said: str
    model: str
    follow_up: bool
    feedback: Feedback

    @property
    def answer(self) -> str:
        """The right answer: the person's, or the model's where it was found good; "" where nobody said."""
        if self.feedback.right:
            return self.feedback.right
        # "This sentence is good" says nothing of the others.
        return self.said if self.feedback.judgement == "up" and not self.feedback.sentence else ""


def judged_rows(store: Conversations) -> Iterator[JudgedRow]:
    """Every judged answer of every person once, without who it was."""
    seen: set[tuple[object, ...]] = set()
    for turns in store.everything():
        for number, turn in enumerate(turns):
            if turn.feedback is None:
                continue
            image = current_image(turns[: number + 1])
            # A conversation that two windows continued is there twice.
            key = (image.sha256 if image else "", turn.question, turn.answer, turn.feedback)
            if key in seen:
                continue
            seen.add(key)
            follow_up = number > 0 and not turn.images
            yield JudgedRow(image, turn.question, turn.answer, turn.model, follow_up, turn.feedback)


def write_rows(rows: Iterable[JudgedRow], out: Path, *, with_answer: bool = False) -> int:
    """Write the CSV, and its images by their hash into the folder `images` beside it; returns how many rows.

    Args:
        with_answer: only rows with an image and a right answer, which is what the reader of one's own CSV takes.

    Raises OSError where it cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in rows:
            if with_answer and not (row.image and row.answer):
                continue
            table.writerow(_cells(row, _written(row.image, out.parent) if row.image else ""))
            count += 1
    return count


def _cells(row: JudgedRow, image: str) -> tuple[str, ...]:
    told = row.feedback
    day = datetime.fromtimestamp(told.given, UTC).date().isoformat()
    follow_up = "yes" if row.follow_up else "no"
    judged = (told.judgement, told.sentence, told.why, row.model, follow_up, day)
    return (image, row.question, row.answer, row.said, *judged)


def _written(image: CleanImage, folder: Path) -> str:
    name = f"images/{image.sha256}.png"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(image.data)
    return name
