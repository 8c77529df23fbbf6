"""How sure the model was of what it said, from the probabilities of the tokens it chose.

Confidence.of([-0.1, -0.05]).words()                                  # "likely (86 %)"
Confidence.of([-0.1, -0.05], stored_calibration(settings)).words()    # "possible (62 %)", as often as it was right
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.settings import Settings
from serving.evaluation.calibration import Calibration

# Up to this many tokens an answer is one thing said; the product is the probability of exactly this answer.
SHORT_ANSWER_TOKENS = 12
LIKELY = 0.75
POSSIBLE = 0.5


def stored_calibration(settings: Settings) -> Calibration | None:
    """The `calibration.json` in the model's folder; None for a model without one, or one that is served elsewhere.

    Raises CalibrationError if the file cannot be used.
    """
    folder = settings.model_dir if settings.is_demo else Path(settings.model)
    return None if settings.model_url else Calibration.load(folder)


@dataclass(frozen=True)
class Confidence:
    """`value` in [0, 1]: of the whole answer where it is short, else the geometric mean of a word's.

    `uncalibrated` is what the model itself gave, where a calibration made `value` of it.
    """

    value: float
    of_whole_answer: bool
    uncalibrated: float | None = None

    @classmethod
    def of(cls, logprobs: Sequence[float], calibration: Calibration | None = None) -> "Confidence | None":
        """From the natural log-probabilities of an answer's tokens; None where there are none.

        The calibration is of short answers that are right or wrong as a whole; a long one keeps its own number.
        """
        if not logprobs:
            return None
        is_short = len(logprobs) <= SHORT_ANSWER_TOKENS
        total = sum(logprobs)
        said = math.exp(total if is_short else total / len(logprobs))
        if calibration and is_short:
            return cls(calibration.apply(said), True, said)
        return cls(said, is_short)

    @property
    def raw(self) -> float:
        """What the model itself gave."""
        return self.value if self.uncalibrated is None else self.uncalibrated

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
        return {
            "value": round(self.value, 4),
            "of_whole_answer": self.of_whole_answer,
            "calibrated": self.uncalibrated is not None,
            "words": self.words(),
        }
