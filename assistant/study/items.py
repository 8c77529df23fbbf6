"""The data that travels. An `Item` never leaves the server; a `PublicItem` is all that does before a commitment.

`PublicItem` is a class of its own and no view of `Item`, so that no filter can forget a field.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

Kind = Literal["option", "text", "place"]
Mode = Literal["practise", "look-alikes", "judge", "trial"]
Outcome = Literal["right", "wrong", "not graded"]
Point = tuple[float, float]
"""x and y as shares of the image's width and height, from the upper left."""
Box = tuple[float, float, float, float]
"""x, y, width and height, as shares."""

CERTAINTIES = {1: "less than 67 %", 2: "67 to 80 %", 3: "more than 80 %"}
MARKS: dict[tuple[int, bool], int] = {
    (1, True): 1,
    (2, True): 2,
    (3, True): 3,
    (1, False): 0,
    (2, False): -2,
    (3, False): -6,
}
"""Marks by certainty and whether it was right: best where p is as the certainty says [Gardner-Medwin]."""
GAVE_UP = "gave up"


@dataclass(frozen=True)
class Skill:
    """What is practised: "xray/chest/pneumothorax". `siblings` are ids of look-alikes."""

    skill_id: str
    modality: str
    region: str
    concept: str
    siblings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gold:
    """The key: `answer` as it is shown, with every slot in it ("left pleural effusion"), its synonyms, its place."""

    answer: str
    synonyms: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    facts: tuple[str, ...] = ()
    """What is true of this image beside the key, for look-alikes and for what the model says: "right lung"."""
    features: tuple[str, ...] = ()
    """What this picture shows and its look-alikes do not, as a teacher wrote it."""
    tells: tuple[tuple[str, str], ...] = ()
    """Of a pair: features that one picture shows alone, each with its letter."""


@dataclass(frozen=True)
class Item:
    """A question with its key. `item_id` is (pack, case, kind of question) and holds when the rest is edited.

    `images` are SHA-256 of what is shown, one, or two side by side; `case` of the picture before anything was drawn on
    it, which is what "unseen" counts. `vocabulary` names the class that a free text is completed from.
    """

    item_id: str
    pack: str
    version: str
    kind: Kind
    skill: Skill
    images: tuple[str, ...]
    case: str
    stem: str
    gold: Gold
    options: tuple[str, ...] = ()
    vocabulary: str = ""
    is_negative: bool = False
    explanation: str = ""
    source: str = ""
    licence: str = ""
    checklist: tuple[str, ...] = ()
    """Of a pair: features to tick."""
    model_answer: str = ""
    """What the model said, for "Judge the model"; it is part of the stem there."""


@dataclass(frozen=True)
class PublicItem:
    """All that leaves the server before a commitment. `options` are in seeded order."""

    attempt_id: str
    number: int
    mode: Mode
    kind: Kind
    stem: str
    image: str
    alt: str
    options: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    """The whole vocabulary of the class, so that the list tells nothing."""
    checklist: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    hints_remaining: int = 0
    can_have_options: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Commitment:
    """An answer and how sure: `answer` is an option or free text, `point` or `box` a place; none of them to give up."""

    attempt_id: str
    answer: str = ""
    certainty: int = 1
    point: Point | None = None
    gave_up: bool = False
    box: Box | None = None
    ticks: tuple[str, ...] = ()
    """Of a pair: what one picture shows and the other does not."""


@dataclass(frozen=True)
class Reasons:
    """How the ticks of a pair were: of `told` features that tell the two apart `found`, and `wrong` ticks beside."""

    told: int
    found: int
    wrong: int


@dataclass(frozen=True)
class Verdict:
    """`failed` are the slots that were wrong ("side"); `words` says it; `marks` are certainty-based."""

    outcome: Outcome
    words: str
    marks: int = 0
    failed: tuple[str, ...] = ()
    note: str = ""
    reasons: Reasons | None = None


@dataclass(frozen=True)
class Ticked:
    """A feature of a pair's checklist: the picture that shows it alone, "" for none, and whether it was ticked."""

    feature: str
    picture: str
    ticked: bool


@dataclass(frozen=True)
class Attempt:
    """One answer, as the log keeps it. Times are UTC seconds since 1970."""

    attempt_id: str
    learner: str
    item_id: str
    pack: str
    version: str
    mode: Mode
    skill_id: str
    siblings: tuple[str, ...]
    case: str
    kind: Kind
    is_negative: bool
    key: str
    commitment: Commitment
    verdict: Verdict
    served_at: float
    committed_at: float
    hints_used: int
    grader: str

    @property
    def elapsed_ms(self) -> int:
        return round(1000 * (self.committed_at - self.served_at))


@dataclass(frozen=True)
class Reveal:
    """What comes back for a commitment; nothing of it is on any other way."""

    attempt_id: str
    verdict: Verdict
    certainty: int
    key: str
    said: str
    boxes: tuple[Box, ...] = ()
    point: Point | None = None
    box: Box | None = None
    explanation: str = ""
    source: str = ""
    licence: str = ""
    checklist: tuple[Ticked, ...] = ()
    example: str = ""
    """Address of a picture that shows what was said instead."""
    next_due: str = ""
    comes_back_today: bool = False
    image: str = ""
    stem: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Hint:
    """`kind` is "where", "how", "narrow" or "options"."""

    kind: str
    words: str
    options: tuple[str, ...] = field(default=())
    remaining: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


ITEM = TypeAdapter(Item)
ATTEMPT = TypeAdapter(Attempt)
