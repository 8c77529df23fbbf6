"""One benchmark through the product's own chat turn, with the controls that show what it looks at.

`ask` is the chat turn (the command line passes the assistant's): question, image file and captions for the prompt
give the answer. Every answer is written at once, so that a run that was killed goes on where it stopped.

    medvint evaluate slake --data ../shared/data/slake
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.evaluation.answers import Answered, AnswerLog, answers_hash
from serving.evaluation.benchmarks import BenchmarkError, VqaRow
from serving.evaluation.calibration import Calibration
from serving.evaluation.controls import AS_IT_IS, CONTROLS, Caption, Conditions, Find
from serving.evaluation.leaderboard import line
from serving.evaluation.page import write_page
from serving.evaluation.readers import Benchmark, find_benchmark
from serving.evaluation.report import SCHEMA, data_hash, images_hash, make_report, versions, write_scores

Ask = Callable[[str, bytes, Sequence[Caption]], Awaitable[Answered]]
Progress = Callable[[int, int], None]
CONCURRENCY = 16
"""Questions under way at once: vLLM on two cores gives 520 tokens a second to 16, 185 to 4."""
NO_SEARCH = "no index was searched"
LEFT_OUT = "left out by --controls"


async def evaluate(
    benchmark: str,
    data: Path,
    ask: Ask,
    out: Path,
    *,
    split: str | None = None,
    model: Mapping[str, str] | None = None,
    find: Find | None = None,
    no_search: str = NO_SEARCH,
    captions: int = 6,
    controls: Sequence[str] = tuple(CONTROLS),
    limit: int | None = None,
    concurrency: int = CONCURRENCY,
    instruction: str = "",
    stored: Calibration | None = None,
    command: str = "",
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Ask every question under every control; write report.json, report.html, scores.jsonl and leaderboard.md to `out`.

    Args:
        benchmark: a name of `readers.BENCHMARKS`.
        data: the benchmark's files in their own layout.
        model: what tells the model from others (its name, a fingerprint of its weights); `out` holds answers of one.
        find: the product's search; without it the controls with captions are not run, and `no_search` says why.
        captions: at most so many in a prompt.
        limit: only the first so many questions (the report says n).
        instruction: a sentence behind every question, for models that else answer at length.
        stored: the calibration that the product uses for this model.
        progress: called with (answered, total).

    Raises:
        BenchmarkError: an unknown benchmark or control, files that are missing or not in its layout.
        OtherRunError: `out` holds answers of another model or benchmark.
    """
    unknown = [name for name in controls if name not in CONTROLS]
    if unknown:
        raise BenchmarkError(f"There is no control named {unknown[0]!r}; there are {', '.join(CONTROLS)}.")
    known = find_benchmark(benchmark)
    split = split or known.split
    everything = known.read(data, split)
    rows = everything[:limit]
    _check(rows, known, data)
    file = known.file(data, split)
    conditions = Conditions(everything, find, instruction, captions)
    not_run = {name: conditions.not_run(name, no_search) if name in controls else LEFT_OUT for name in CONTROLS}
    not_run = {name: reason for name, reason in not_run.items() if reason}
    asked = [AS_IT_IS, *(name for name in CONTROLS if name not in not_run)]
    told = dict(model or {})
    identity = {
        **told,
        "benchmark": benchmark,
        "file": file.name,
        "split": split,
        "data": data_hash(file, rows),
        "instruction": instruction,
    }
    began = time.monotonic()
    with AnswerLog(out, identity) as log:
        count = await _ask_all(rows, asked, conditions, ask, log, concurrency, progress)
        seconds = time.monotonic() - began
        kept = {
            (row.question_id, condition): log.done[row.question_id, condition] for row in rows for condition in asked
        }
        report: dict[str, Any] = {
            "schema": SCHEMA,
            "benchmark": benchmark,
            "file": file.name,
            "split": split,
            "model": told,
            "instruction": instruction,
            "command": command,
            "versions": versions(),
            "hashes": {"data": identity["data"], "images": images_hash(rows), "answers": answers_hash(kept)},
            "speed": {"answers": count, "seconds": round(seconds, 1), "concurrency": concurrency},
            **make_report(rows, _train(known, data, split), kept, log.captions, not_run, stored),
        }
        write_scores(out / "scores.jsonl", rows, kept)
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "leaderboard.md").write_text(line(report) + "\n", encoding="utf-8")
    write_page(report, {"/".join(row.image_path.parts[-2:]): row.image_path for row in rows}, out / "report.html")
    return report


def _check(rows: Sequence[VqaRow], benchmark: Benchmark, data: Path) -> None:
    """Before the first question: an hour's run must not end at a missing image."""
    if not rows:
        raise BenchmarkError(f"{data} holds no questions for {benchmark.name}.")
    images = {row.image_path for row in rows}
    missing = sorted(path for path in images if not path.is_file())
    if missing:
        raise BenchmarkError(f"{len(missing)} of {len(images)} images are missing, such as {missing[0]}.")
    if len({row.question_id for row in rows}) < len(rows):
        raise BenchmarkError(f"{data} has two questions with one id.")


def _train(benchmark: Benchmark, data: Path, split: str) -> list[VqaRow] | None:
    """The rows whose answers the baseline may know; None where there are none, or they are the ones that are asked."""
    train = benchmark.train(split)
    # A single CSV of one's own would else be its own training set.
    file = data / f"{train}.csv" if benchmark.name == "own" else benchmark.file(data, train)
    return benchmark.read(data, train) if train != split and file.exists() else None


async def _ask_all(
    rows: Sequence[VqaRow],
    asked: Sequence[str],
    conditions: Conditions,
    ask: Ask,
    log: AnswerLog,
    concurrency: int,
    progress: Progress,
) -> int:
    """Fill the log, `concurrency` questions at a time, neighbours with one image together; returns how many."""
    todo = [(row, name) for name in asked for row in rows if (row.question_id, name) not in log.done]
    total = len(rows) * len(asked)
    already = total - len(todo)
    done = already
    progress(done, total)
    waiting: Iterator[tuple[VqaRow, str]] = iter(todo)

    async def work() -> None:
        nonlocal done
        for row, condition in waiting:
            what = await conditions.asked(row, condition)
            log.add(row.question_id, condition, await ask(what.question, what.image, what.captions), what.captions)
            done += 1
            progress(done, total)

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(concurrency, len(todo))):
            workers.create_task(work())
    return done - already
