"""Which sentences of an answer the found captions support or contradict, decided by code.

    [verdict] = support("Where is the effusion?", "Left lung", hits)
    verdict.words()      # "supported by [2]", "[3] says the other side: right, not left", "not found in the index"

`support` is the whole: `statement` reads a text, `judging` compares a claim with a caption, `evaluation` measures it.
"""

from assistant.evidence.judging import Conflict
from assistant.evidence.support import Contradiction, Support, mark, support

__all__ = ["Conflict", "Contradiction", "Support", "mark", "support"]
