"""How sure the model was of what it said, from the probabilities of the tokens it chose.

Confidence.of([-0.1, -0.05]).words()      # "likely (86 %)"
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Up to this many tokens an answer is one thing said; the product is the probability of exactly this answer.
SHORT_ANSWER_TOKENS = 12
LIKELY = 0.75
POSSIBLE = 0.5


@dataclass(frozen=True)
class Confidence:
    """`value` in [0, 1]: of the whole answer where it is short, else the geometric mean of a word's."""

    value: float
    of_whole_answer: bool

    @classmethod
    def of(cls, logprobs: Sequence[float]) -> "Confidence | None":
        """From the natural log-probabilities of an answer's tokens; None where there are none."""
        if not logprobs:
            return None
        is_short = len(logprobs) <= SHORT_ANSWER_TOKENS
        total = sum(logprobs)
        return cls(math.exp(total if is_short else total / len(logprobs)), is_short)

    def words(self) -> str:
        """In words first, the number second."""
        percent = f"{self.value * 100:.0f} %"
        if not self.of_whole_answer:
            return f"a long answer: its wording was {self._word()} ({percent} a word), which does not make it right"
        return f"{self._word()} ({percent})"

    def _word(self) -> str:
        if self.value >= LIKELY:
            return "likely"
        return "possible" if self.value >= POSSIBLE else "unsure"

    def to_dict(self) -> dict[str, object]:
        return {"value": round(self.value, 4), "of_whole_answer": self.of_whole_answer, "words": self.words()}
