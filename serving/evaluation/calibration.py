"""What a model's probability means: `calibration.json` in its folder, fitted by `medvint evaluate`.

calibration = Calibration.load(Path("data/models/demo"))     # None where it has none
calibration.apply(0.9)                                       # the share of such answers that were right

Plain Python: the chat turn uses it too, and should not wait for scipy.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FILE = "calibration.json"
SCHEMA = 1
EDGE = 1e-6
"""Probabilities closer to 0 or 1 than this have no logit worth scaling."""


class CalibrationError(ValueError):
    """A calibration.json that cannot be used; the message names it."""


@dataclass(frozen=True)
class Calibration:
    """p becomes sigmoid(logit(p) / temperature + bias); `measured` says on what, and what it gave."""

    temperature: float
    bias: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0 and math.isfinite(self.bias)):
            raise CalibrationError("A calibration needs a temperature above 0 and a finite bias.")

    def apply(self, probability: float) -> float:
        """The calibrated probability of a whole answer, in (0, 1)."""
        inside = min(max(probability, EDGE), 1 - EDGE)
        return 1 / (1 + math.exp(-(math.log(inside / (1 - inside)) / self.temperature + self.bias)))

    @classmethod
    def load(cls, folder: Path) -> "Calibration | None":
        """The model's calibration, None where its folder holds none.

        Raises:
            CalibrationError: the file is not in the form that `save` writes.
        """
        path = folder / FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise CalibrationError(f"{path} is not JSON: {error}") from error
        try:
            if values["schema"] != SCHEMA:
                raise CalibrationError(f"{path} has schema {values['schema']}; this version reads {SCHEMA}.")
            return cls(float(values["temperature"]), float(values["bias"]), values["measured"])
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"{path} is not a calibration: {error}") from error

    def save(self, folder: Path) -> Path:
        """Write it into a model's folder, which must be there."""
        path = folder / FILE
        path.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n", encoding="utf-8")
        return path
