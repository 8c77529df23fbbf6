"""Where looked: how probable an answer stays while one part of its image after the other is covered.

where.words()    # "The upper left of the picture mattered most: with it covered, the answer goes from 84 % to 41 %."
"""

from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field
from pydantic.dataclasses import dataclass

GRID = 7
PARTS = GRID * GRID
MATTERS = 0.05
"""A smaller change of probability is not taken for one."""
Probability = Annotated[float, Field(ge=0, le=1)]
Row = Annotated[tuple[Probability, ...], Field(min_length=1, max_length=16)]
DOWN = ("upper", "middle", "lower")
ACROSS = ("left", "middle", "right")


@dataclass(frozen=True)
class Where:
    """Probabilities of one answer, in [0, 1]: `whole` with the image, `covered` row by row with one part of it covered,
    `blank` with all of it covered. `per_word`: of a long answer, whose numbers are a word's mean.

    Raises pydantic's ValidationError for numbers or rows that are no such map.
    """

    answer: str
    whole: Probability
    blank: Probability
    covered: Annotated[tuple[Row, ...], Field(min_length=1, max_length=16)]
    per_word: bool = False

    def __post_init__(self) -> None:
        if len({len(row) for row in self.covered}) != 1:
            raise ValueError("The rows of a map are equally long.")

    @property
    def changes(self) -> tuple[tuple[float, ...], ...]:
        """Row by row; below 0 where the answer is less probable without that part."""
        return tuple(tuple(value - self.whole for value in row) for row in self.covered)

    def strongest(self) -> tuple[int, int] | None:
        """Row and column of the part without which the answer loses most; None where none matters."""
        changes = np.array(self.changes)
        row, column = np.unravel_index(int(changes.argmin()), changes.shape)
        return (int(row), int(column)) if changes.min() <= -MATTERS else None

    def words(self) -> str:
        """Which region mattered most, or that none did."""
        place = self.strongest()
        count = sum(len(row) for row in self.covered)
        if place is None:
            alone = f"No part of the image mattered alone: whichever of the {count} is covered, "
            all_of_it = f" With all of it covered: {_percent(self.blank)}."
            return f"{alone}“{self.answer}” stays about as probable ({_percent(self.whole)}).{all_of_it}"
        left = self.covered[place[0]][place[1]]
        others = sum(change <= -MATTERS for row in self.changes for change in row) - 1
        more = f" {others} more of the {count} parts mattered." if others else " No other part mattered."
        return (
            f"The {region(*place, len(self.covered))} of the picture mattered most: with it covered, “{self.answer}” "
            f"goes from {_percent(self.whole)} to {_percent(left)}.{more}"
        )


def covered(image: Image.Image, row: int, column: int, grid: int = GRID) -> Image.Image:
    """The image with one part of its grid in the image's mean colour."""
    pixels = np.array(image.convert("RGB"))
    rows = np.linspace(0, pixels.shape[0], grid + 1).round().astype(int)
    columns = np.linspace(0, pixels.shape[1], grid + 1).round().astype(int)
    mean = pixels.reshape(-1, 3).mean(0).round()
    pixels[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = mean
    return Image.fromarray(pixels)


def region(row: int, column: int, grid: int = GRID) -> str:
    """Where a part lies, as the picture is seen: "upper left", "centre"."""
    down, across = DOWN[row * 3 // grid], ACROSS[column * 3 // grid]
    return "centre" if down == across == "middle" else f"{down} {across}"


def _percent(value: float) -> str:
    return f"{value * 100:.0f} %"
