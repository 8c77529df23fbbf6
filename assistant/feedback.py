"""What a person said about an answer: good or not right, which sentence, why, and what would be right.

turn = replace(turn, feedback=Feedback("down", sentence="Left lung.", why="wrong side", right="Right lung"))
turn.feedback.words()    # "You found this not right: “Left lung.” wrong side. Right would be: Right lung"

It is a part of the turn, so it is kept, owned, exported and deleted with the conversation.
"""

import time
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

LONGEST = 500
"""Characters of why, and of the right answer."""

Judgement = Literal["up", "down"]
Note = Annotated[str, Field(max_length=LONGEST)]


@dataclass(frozen=True)
class Feedback:
    """`sentence` is the one that it is about, "" for the whole answer; `given` is in seconds since 1970.

    Raises pydantic's ValidationError for another judgement, or longer notes than `LONGEST`.
    """

    judgement: Judgement
    sentence: str = ""
    why: Note = ""
    right: Note = ""
    given: float = field(default_factory=time.time)

    def words(self) -> str:
        """To the person who gave it."""
        said = "You found this answer good" if self.judgement == "up" else "You found this not right"
        about = f": “{self.sentence}”" if self.sentence else ""
        why = f". Why: {self.why}" if self.why else ""
        return said + about + why + (f". Right would be: {self.right}" if self.right else "")
