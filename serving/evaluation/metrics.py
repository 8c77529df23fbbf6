"""Scores of short answers, and the baseline that has not seen the image.

exact_match("The left lung.", "left lung")    # True
token_f1("left lower lobe", "left lung")      # 0.4
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from serving.evaluation.benchmarks import VqaRow

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s/%+-]")


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation, articles and runs of spaces (as SQuAD's scorer does)."""
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split())


def exact_match(answer: str, gold: str) -> bool:
    return normalise_answer(answer) == normalise_answer(gold)


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over words, in [0, 1]."""
    said, wanted = normalise_answer(answer).split(), normalise_answer(gold).split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    if not shared:
        return float(said == wanted)
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def question_only_answers(train: Sequence[VqaRow], rows: Sequence[VqaRow]) -> list[str]:
    """The most frequent training answer of the same question text, else of the answer type."""
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    by_type: dict[bool, Counter[str]] = defaultdict(Counter)
    for row in train:
        by_question[row.question.lower()][row.answer] += 1
        by_type[row.closed][row.answer] += 1
    return [(by_question.get(row.question.lower()) or by_type[row.closed]).most_common(1)[0][0] for row in rows]


def bootstrap_interval(values: Sequence[float], seed: int = 0, rounds: int = 2000) -> tuple[float, float]:
    """95 % interval of the mean by resampling `values`."""
    draw = random.Random(seed)  # noqa: S311 - statistics, not secrets
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(rounds))
    return means[int(0.025 * rounds)], means[int(0.975 * rounds) - 1]


def summary(rows: Sequence[VqaRow], answers: Sequence[str]) -> dict[str, dict[str, float]]:
    """By group (all, open, closed, each content type): n, exact match and token F1 in percent."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups["all"].append(index)
        groups["closed" if row.closed else "open"].append(index)
        groups[f"type: {row.content_type}"].append(index)
    table = {}
    for name, members in groups.items():
        hits = [float(exact_match(answers[i], rows[i].answer)) for i in members]
        f1 = [token_f1(answers[i], rows[i].answer) for i in members]
        low, high = bootstrap_interval(hits)
        table[name] = {
            "n": len(members),
            "exact_match": round(100 * sum(hits) / len(hits), 1),
            "low": round(100 * low, 1),
            "high": round(100 * high, 1),
            "token_f1": round(100 * sum(f1) / len(f1), 1),
        }
    return table
