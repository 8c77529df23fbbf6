"""The built-in trial: a test, practice in an order that a coin decides, a test at once and one after four weeks.

    choose(items, attempts, now, secret)          # the next item of a learner's trial
    table(attempts, secret)                       # one line a learner, as CSV

Every image is of one phase alone, so each test is on images that were never shown. Tests tell no key.
"""

import csv
import hashlib
import io
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from assistant.study.errors import NothingToStudyError
from assistant.study.items import Attempt, Item
from assistant.study.report import MEANT

Phase = Literal["pre", "practice", "post", "late"]
LENGTHS: dict[Phase, int] = {"pre": 12, "practice": 24, "post": 12, "late": 12}
LATE_AFTER = timedelta(days=28)
SKILLS = 6
ARMS = ("interleaved", "blocked")
# Of six images, which phase each is for.
_SHARES: tuple[Phase, ...] = ("pre", "post", "late", "practice", "practice", "practice")
NOTED = "Noted. A test tells no key."
COLUMNS = ("learner", "arm", *(f"{phase} {what}" for phase in LENGTHS for what in ("n", "right", "brier", "bias")))


def arm(learner: str, secret: str) -> str:
    """A coin that falls the same way for a learner every time, and that nobody can foresee."""
    return ARMS[hashlib.sha256(f"{secret}/{learner}".encode()).digest()[0] % 2]


def phase_of(number: int) -> Phase | None:
    """The phase of a learner's answer with this number, from 0; None after the last."""
    for phase, length in LENGTHS.items():
        if number < length:
            return phase
        number -= length
    return None


def is_test(number: int) -> bool:
    return phase_of(number) in ("pre", "post", "late")


def choose(items: Sequence[Item], attempts: Sequence[Attempt], now: datetime, learner: str, secret: str) -> Item | None:
    """The next item of a trial; None where the packs have too few images.

    Raises NothingToStudyError when the trial is over, or the last test is not due yet.
    """
    own = [attempt for attempt in attempts if attempt.mode == "trial"]
    phase = phase_of(len(own))
    if phase is None:
        raise NothingToStudyError("Your trial is over. Thank you.")
    if phase == "late" and phase_of(len(own) - 1) == "post":
        due = datetime.fromtimestamp(own[-1].committed_at, UTC) + LATE_AFTER
        if now < due:
            raise NothingToStudyError(f"The last test of the trial comes on {due.date().isoformat()}.")
    counts = Counter(item.skill.skill_id for item in items if item.options)
    skills = sorted(skill for skill, _ in counts.most_common(SKILLS))
    seen = {attempt.case for attempt in attempts}
    pool = [item for item in items if item.skill.skill_id in skills and item.options and _phase_of_image(item) == phase]
    pool = [item for item in pool if item.case not in seen]
    done = [attempt.skill_id for at, attempt in enumerate(own) if phase_of(at) == phase]
    draw = random.Random(f"{secret}/{learner}/{len(own)}")  # noqa: S311
    skill = _next_skill(skills, done, phase, arm(learner, secret))
    wanted = [item for item in pool if item.skill.skill_id == skill] or pool
    return draw.choice(sorted(wanted, key=lambda item: item.item_id)) if wanted else None


def _next_skill(skills: Sequence[str], done: Sequence[str], phase: Phase, own_arm: str) -> str:
    if phase == "practice" and own_arm == "blocked":
        return skills[len(done) * len(skills) // LENGTHS["practice"]]
    return skills[len(done) % len(skills)]


def _phase_of_image(item: Item) -> Phase:
    return _SHARES[hashlib.sha256(item.case.encode()).digest()[0] % len(_SHARES)]


def table(attempts: Iterable[Attempt], secret: str) -> str:
    """By learner, as a number: arm, and of each phase the share right, the Brier score and the certainty's bias."""
    by_learner: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        if attempt.mode == "trial":
            by_learner.setdefault(attempt.learner, []).append(attempt)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for number, (learner, own) in enumerate(by_learner.items(), 1):
        row: list[object] = [f"learner {number}", arm(learner, secret)]
        for phase in LENGTHS:
            row += _figures([attempt for at, attempt in enumerate(own) if phase_of(at) == phase])
        writer.writerow(row)
    return text.getvalue()


def _figures(attempts: Sequence[Attempt]) -> list[object]:
    graded = [one for one in attempts if one.verdict.outcome != "not graded"]
    if not graded:
        return [0, "", "", ""]
    came = [(MEANT[one.commitment.certainty], one.verdict.outcome == "right") for one in graded]
    right = sum(is_right for _, is_right in came) / len(came)
    brier = sum((said - is_right) ** 2 for said, is_right in came) / len(came)
    bias = sum(said - is_right for said, is_right in came) / len(came)
    return [len(came), round(right, 3), round(brier, 3), round(bias, 3)]
