"""One benchmark through the product's own chat turn, with the control that shows whether it looks.

`ask` is the chat turn (the command line passes the assistant's, with search off): it takes a
question and an image and gives the answer. Every answer is written at once to `answers.jsonl`, so
that a run that was killed goes on where it stopped.

    medvint evaluate slake --data ../shared/data/slake
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from serving.evaluation.benchmarks import READERS, BenchmarkError, VqaRow
from serving.evaluation.metrics import exact_match, question_only_answers, summary

CONTROLS = ("image", "blank")
"""`image`: as it is; `blank`: a black image of the same size."""


@dataclass(frozen=True)
class Answered:
    """What the chat turn gave: text and the probability of its tokens (None where unknown)."""

    answer: str
    probability: float | None


Ask = Callable[[str, Image.Image], Awaitable[Answered]]


def _done(path: Path) -> dict[tuple[str, str], Answered]:
    if not path.exists():
        return {}
    found = {}
    for line in filter(None, path.read_text(encoding="utf-8").splitlines()):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            # The line that was being written when the run was killed: asked again.
            continue
        found[row["question_id"], row["control"]] = Answered(row["answer"], row["probability"])
    return found


async def evaluate(
    benchmark: str,
    folder: Path,
    ask: Ask,
    out: Path,
    *,
    split: str = "validate",
    model: str = "",
    controls: Sequence[str] = CONTROLS,
    limit: int | None = None,
    concurrency: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Ask every question under every control and write `out/report.json`.

    Args:
        benchmark: a name of `benchmarks.READERS`.
        folder: the benchmark's files in their own layout.
        limit: only the first so many questions (the report says n).
        progress: called with (answered, total).

    Raises:
        BenchmarkError: an unknown benchmark, or files that are missing or not in its layout.
    """
    if benchmark not in READERS:
        raise BenchmarkError(f"There is no benchmark named {benchmark!r}; there are {', '.join(READERS)}.")
    reader = READERS[benchmark]
    rows = reader(folder, split)[:limit]
    out.mkdir(parents=True, exist_ok=True)
    answers_path = out / "answers.jsonl"
    done = _done(answers_path)
    todo = [(row, control) for control in controls for row in rows if (row.question_id, control) not in done]
    total = len(controls) * len(rows)
    gate = asyncio.Semaphore(concurrency)

    with answers_path.open("a", encoding="utf-8") as log:
        if answers_path.stat().st_size:
            log.write("\n")  # behind a line that a killed run left unfinished

        async def one(row: VqaRow, control: str) -> None:
            async with gate:
                with Image.open(row.image_path) as file:
                    image = file.convert("RGB")
                if control == "blank":
                    image = Image.new("RGB", image.size)
                answered = await ask(row.question, image)
            done[row.question_id, control] = answered
            record = {"question_id": row.question_id, "control": control, **vars(answered)}
            log.write(json.dumps(record) + "\n")
            log.flush()
            progress(len(done), total)

        async with asyncio.TaskGroup() as tasks:
            for row, control in todo:
                tasks.create_task(one(row, control))

    report: dict[str, Any] = {
        "benchmark": benchmark,
        "split": split,
        "n": len(rows),
        "model": model,
        "scoring": "normalised exact match and token F1, percent, with a 95 % bootstrap interval",
        "question_only": summary(rows, question_only_answers(reader(folder, "train"), rows)),
    }
    for control in controls:
        report[control] = summary(rows, [done[row.question_id, control].answer for row in rows])
    if {"image", "blank"} <= set(controls):
        gap = report["image"]["all"]["exact_match"] - report["blank"]["all"]["exact_match"]
        report["looks_at_the_image"] = round(gap, 1)
    report["errors"] = [
        {"question_id": row.question_id, "question": row.question, "gold": row.answer, **vars(said)}
        for row in rows
        if not exact_match((said := done[row.question_id, controls[0]]).answer, row.answer)
    ]
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report
