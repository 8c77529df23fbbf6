"""What the training answers alone get right: the baseline that has not seen the image.

question_only_answers(train, rows)      # one answer a row
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.pmc_vqa import choice_text


def question_only_answers(train: Sequence[VqaRow], rows: Sequence[VqaRow]) -> list[str]:
    """The most frequent training answer of the same question text, else of the answer type.

    Where choices are shown: of the choices, the most frequent answer to the same question, else the most frequent
    answer of all; where none was ever an answer, the letter that is right most often.
    """
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    by_type: dict[bool, Counter[str]] = defaultdict(Counter)
    letters: Counter[int] = Counter()
    for row in train:
        by_question[_key(row.question)][row.answer] += 1
        by_type[row.closed][row.answer] += 1
        letters.update([row.correct] if row.correct is not None else [])
    anything: Counter[str] = sum(by_type.values(), Counter())
    answers = []
    for row in rows:
        same_question = by_question.get(_key(row.question), Counter())
        if row.choices_shown:
            answers.append(_best_choice(row, same_question, by_type[row.closed], letters))
        else:
            known = same_question or by_type.get(row.closed) or anything
            answers.append(known.most_common(1)[0][0])
    return answers


def _best_choice(row: VqaRow, same_question: Counter[str], all_answers: Counter[str], letters: Counter[int]) -> str:
    def frequency(index: int) -> tuple[int, int, int]:
        text = choice_text(row.choices[index])
        return same_question[text], all_answers[text], letters[index]

    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[max(range(len(row.choices)), key=frequency)]


def _key(question: str) -> str:
    return question.strip().lower()
