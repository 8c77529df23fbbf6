"""What the model says at the reveal, over stored answers: does a sentence that contradicts the key pass unmarked?"""

import json
import re
from pathlib import Path
from typing import Any

from assistant.study.items import Gold
from assistant.study.other_reader import checked
from assistant.study.reading import plain
from serving.evaluation.benchmarks import slake_rows

_JOIN = re.compile(r"\s*,\s*|\s+and\s+")
# What an exact comparison may drop: it never decides between two answers.
_DROPPED = frozenset("the a an of plane weighted image scan".split())  # noqa: SIM905


def measure(data: Path, answers: Path) -> dict[str, Any]:
    """Over SLAKE validate: rows with a sentence that is marked as agreeing although the words are others.

    Whether they are is told by another rule than the grader's: the same words, in any order, without articles.
    """
    given = {}
    for line in answers.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["condition"] == "image":
            given[row["question_id"]] = row["answer"]
    counts = {"agrees": 0, "contradicts": 0, "not checked": 0}
    unflagged, wrong, rows, without_words = [], 0, 0, []
    for row in slake_rows(data / "slake", "validate"):
        answer = given.get(row.question_id, "")
        if not answer.strip():
            continue
        rows += 1
        same = _bag(answer) == _bag(row.answer)
        wrong += not same
        for sentence in checked(row.question, Gold(row.answer), answer):
            counts[sentence.mark] += 1
            if sentence.mark == "agrees" and not same:
                unflagged.append({"question": row.question, "key": row.answer, "model": answer})
            if sentence.mark == "not checked" and not same:
                without_words.append({"question": row.question, "key": row.answer, "model": answer})
    return {
        "rows": rows,
        "model differs from the key": wrong,
        "sentences": counts,
        "agrees in other words": unflagged,
        "differs and is marked as unproven": without_words,
    }


def _bag(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z0-9]+", " ".join(_JOIN.split(plain(text))))
    return frozenset(word.removesuffix("s") for word in words if word not in _DROPPED)
