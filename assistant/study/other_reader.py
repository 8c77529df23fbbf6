"""What the model says about a case, as another reader's opinion: after the commitment, each sentence beside the key.

checked("What is marked?", Gold("pleural effusion"), "Pneumothorax")[0].mark      # "contradicts"
"""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from assistant.evidence import support
from assistant.evidence.tokens import sentences
from assistant.study.grade import grade
from assistant.study.items import Gold
from retrieval.figures import Figure, Hit

Mark = Literal["agrees", "contradicts", "not checked"]
MARK_WORDS: dict[Mark, str] = {
    "agrees": "agrees with the key",
    "contradicts": "the model is wrong here",
    "not checked": "not checked against the key: take it as unproven",
}
_REPLY = re.compile(r"\s*(yes|no)\b[\s,.;:]*", re.IGNORECASE)


@dataclass(frozen=True)
class Sentence:
    """One sentence of the model, and how it stands to the key."""

    words: str
    mark: Mark

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "in_words": MARK_WORDS[self.mark]}


def checked(question: str, gold: Gold, answer: str) -> list[Sentence]:
    """Each sentence of an answer with its mark. Only what says exactly the key agrees."""
    found = []
    for start, end in sentences(answer):
        said = answer[start:end]
        found.append(Sentence(said, _mark(question, gold, said)))
    return found


def _mark(question: str, gold: Gold, said: str) -> Mark:
    reply = _REPLY.match(said)
    short = reply[1] if reply and gold.answer.lower() in ("yes", "no") else said
    if gold.answer:
        outcome = grade(gold, short.strip(" .")).outcome
        if outcome != "not graded":
            return "agrees" if outcome == "right" else "contradicts"
    facts = [fact for fact in (*gold.facts, gold.answer) if fact.lower() not in ("", "yes", "no")]
    hits = [Hit(Figure("key", "", "key", "", fact, "", "", "key"), 1.0, 1, ("text",)) for fact in facts]
    verdicts = [item.verdict for hit in hits for item in support(question, said, [hit])]
    return "contradicts" if "contradicted" in verdicts else "not checked"
