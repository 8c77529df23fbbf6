"""The gate: what is served, what helps, what is committed and what that reveals. Page, REST and CLI use only this.

    gate = open_gate(data_dir)
    question = gate.next("me")
    reveal = gate.commit("me", Commitment(question.attempt_id, "pneumothorax", certainty=3))

Before a commitment nothing leaves but a `PublicItem`, its picture and its hints.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from assistant.study import exercises, hints, marking, schedule, trial
from assistant.study.errors import AnswerError, NoSuchAttemptError, NotCommittedError, NothingToStudyError, StudyError
from assistant.study.grade import VERSION
from assistant.study.items import CERTAINTIES, Attempt, Commitment, Hint, Item, Mode, PublicItem, Reveal, Verdict
from assistant.study.log import Log, Served
from assistant.study.packs import Shelf
from assistant.study.vocabulary import names

_LEARNER = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
MODES: tuple[Mode, ...] = ("practise", "look-alikes", "judge", "trial")
_FIXED = (("Yes", "No"), ("A", "B", exercises.BOTH), (exercises.ACCEPT, exercises.REJECT))
ANSWER_FIRST = "Answer first, or give up."


def open_gate(data_dir: Path) -> "Gate":
    """The gate over the packs and the log under a data folder."""
    return Gate(Shelf(data_dir / "study" / "packs"), Log(data_dir / "study" / "study.db"))


class Gate:
    """`clock` gives seconds since 1970; tests and simulations have their own."""

    def __init__(self, shelf: Shelf, log: Log, clock: Callable[[], float] = time.time) -> None:
        self.shelf = shelf
        self.log = log
        self._clock = clock
        self._drawing = threading.Lock()

    def stock(self) -> None:
        """Draw the pack that needs nothing, where there is none at all; takes seconds, once."""
        from assistant.study.sources import import_pack

        with self._drawing:
            if not self.shelf.names():
                import_pack(self.shelf.folder, "phantoms")

    def next(self, learner: str, mode: Mode = "practise", packs: Sequence[str] = ()) -> PublicItem:
        """The next question; the same one again as long as it is not answered.

        Raises NothingToStudyError where the packs have no item of this mode.
        """
        _check_learner(learner)
        if mode not in MODES:
            raise StudyError(f"There is no exercise {mode!r}. There are: {', '.join(MODES)}.")
        if served := self.log.open_attempt(learner, mode):
            return self._public(served)
        self.stock()
        attempts = self.log.attempts(learner)
        draw = random.Random(f"{learner}/{len(attempts)}/{self.log.secret()}")  # noqa: S311
        stopped = self.log.stopped()
        items = [item for item in self.shelf.items(packs) if item.item_id not in stopped]
        if mode in ("practise", "trial"):
            items = _without(items, self.log.example_cases(learner) - {attempt.case for attempt in attempts})
        now = datetime.fromtimestamp(self._clock(), UTC)
        if mode == "trial":
            plain = [item for item in items if not item.model_answer]
            chosen = trial.choose(plain, attempts, now, learner, self.log.secret())
        else:
            chosen = exercises.choose(mode, items, attempts, now, draw, self.log.exam(learner))
        if chosen is None:
            raise NothingToStudyError(exercises.NOTHING[mode])
        return self._public(self.log.serve(learner, mode, chosen))

    def open(self, learner: str, attempt_id: str) -> PublicItem:
        """A question that was served to this learner, as far as it may be known."""
        return self._public(self._own(learner, attempt_id))

    def image(self, attempt_id: str) -> bytes:
        """The picture of an attempt as PNG, without a name or metadata. Who knows the attempt's id may see it."""
        served = self.log.served(attempt_id)
        if served is None:
            raise NoSuchAttemptError("There is no such image.")
        return exercises.picture(self.shelf, served.item)

    def example(self, attempt_id: str) -> bytes:
        """The picture that is shown beside a reveal for comparison, as PNG."""
        item = self.log.example(attempt_id)
        if item is None:
            raise NoSuchAttemptError("There is no such image.")
        return exercises.picture(self.shelf, item)

    def hint(self, learner: str, attempt_id: str) -> Hint:
        """The next hint of an open question.

        Raises StudyError where it is too early, answered, or there is none left.
        """
        served = self._own(learner, attempt_id)
        if self.log.attempt(attempt_id):
            raise StudyError("This question is answered already.")
        if self._clock() - served.served_at < hints.EARLIEST_S:
            raise StudyError(f"Look at it for {hints.EARLIEST_S} seconds first.")
        ladder, given = self._ladder(served), self.log.hints(attempt_id)
        if len(given) >= len(ladder):
            raise StudyError("There are no more hints. Answer, or give up.")
        hint = replace(ladder[len(given)], remaining=len(ladder) - len(given) - 1)
        if hint.options:
            hint = replace(hint, options=_ordered(hint.options, attempt_id))
        self.log.add_hint(attempt_id, hint)
        return hint

    def commit(self, learner: str, commitment: Commitment) -> Reveal:
        """Mark an answer, write it down, and only then tell. The same answer again gives the same reveal.

        Raises:
            AnswerError: it is not an answer to this kind of question.
            AlreadyCommittedError: another answer was committed before.
        """
        served = self._own(learner, commitment.attempt_id)
        # In whatever order they were ticked, they are one answer.
        commitment = replace(commitment, ticks=tuple(sorted(set(commitment.ticks))))
        _check(served.item, commitment)
        item = self._as_accepted(served.item)
        given = len(self.log.hints(served.attempt_id))
        attempt = Attempt(
            attempt_id=served.attempt_id,
            learner=learner,
            item_id=item.item_id,
            pack=item.pack,
            version=item.version,
            mode=served.mode,
            skill_id=item.skill.skill_id,
            siblings=item.skill.siblings,
            case=item.case,
            kind=item.kind,
            is_negative=item.is_negative,
            key=item.gold.answer,
            commitment=commitment,
            verdict=marking.mark(item, commitment, given),
            served_at=served.served_at,
            committed_at=self._clock(),
            hints_used=given,
            grader=VERSION,
        )
        return self._reveal(self.log.commit(attempt), item)

    def may_talk(self, learner: str, attempt_id: str) -> Item:
        """The whole item, for the model's reading and for talk about the case: after the commitment only.

        Raises NotCommittedError before it.
        """
        served = self._own(learner, attempt_id)
        attempt = self.log.attempt(attempt_id)
        if not attempt:
            raise NotCommittedError(ANSWER_FIRST)
        if self._is_test(attempt):
            raise NotCommittedError(trial.NOTED)
        return served.item

    def set_exam(self, learner: str, day: date | None) -> None:
        """Set the day until which every skill is to be known, or none.

        Raises AnswerError for a day that is not to come.
        """
        _check_learner(learner)
        if day and day <= datetime.fromtimestamp(self._clock(), UTC).date():
            raise AnswerError("The exam has to be on a day to come.")
        self.log.set_exam(learner, day)

    def report_mistake(self, learner: str, attempt_id: str, words: str) -> None:
        """Tell the teacher that an item is wrong; several such reports stop it."""
        item = self.may_talk(learner, attempt_id)
        self.log.report_mistake(learner, item.item_id, words)

    def _example(self, attempt: Attempt, item: Item, past: Sequence[Attempt]) -> str:
        """The address of a picture of what was said instead of the key, one that was seen before if there is one."""
        if attempt.mode != "practise" or attempt.verdict.outcome != "wrong" or item.kind == "place":
            return ""
        if self.log.example(attempt.attempt_id) is None:
            is_open = {one.item.case for mode in MODES if (one := self.log.open_attempt(attempt.learner, mode))}
            hidden = {case for cases in is_open for case in cases.split("+")} | {item.case}
            said = attempt.commitment.answer
            pool = [
                one
                for one in (self.shelf.items((item.pack,)) if item.pack in self.shelf.names() else ())
                if one.stem == item.stem and one.gold.answer == said and one.case not in hidden
            ]
            if not pool:
                return ""
            seen = {one.case for one in past}
            draw = random.Random(attempt.attempt_id)  # noqa: S311
            shown = draw.choice([one for one in pool if one.case in seen] or pool)
            self.log.show_example(attempt.learner, attempt.attempt_id, shown)
        return f"/study/example/{attempt.attempt_id}.png"

    def _is_test(self, attempt: Attempt) -> bool:
        """Whether an answer was part of a trial's test, which tells nothing."""
        if attempt.mode != "trial":
            return False
        own = [one.attempt_id for one in self.log.attempts(attempt.learner) if one.mode == "trial"]
        return trial.is_test(own.index(attempt.attempt_id))

    def _own(self, learner: str, attempt_id: str) -> Served:
        _check_learner(learner)
        served = self.log.served(attempt_id)
        if served is None or served.learner != learner:
            raise NoSuchAttemptError("This question was not asked here. Ask for the next one.")
        return served

    def _as_accepted(self, item: Item) -> Item:
        accepted = self.log.accepted(item.item_id)
        return replace(item, gold=replace(item.gold, synonyms=(*item.gold.synonyms, *accepted))) if accepted else item

    def _ladder(self, served: Served) -> list[Hint]:
        return hints.ladder(served.item, random.Random(served.attempt_id))  # noqa: S311

    def _public(self, served: Served) -> PublicItem:
        item, given = served.item, self.log.hints(served.attempt_id)
        is_open_text = item.kind == "text"
        narrowed = next((hint.options for hint in reversed(given) if hint.options), ())
        return PublicItem(
            attempt_id=served.attempt_id,
            number=served.number,
            mode=served.mode,
            kind=item.kind,
            stem=item.stem,
            image=f"/study/image/{served.attempt_id}.png",
            alt=f"Image for question {served.number}",
            options=narrowed or (() if is_open_text else _ordered(item.options, served.attempt_id)),
            checklist=_ordered(item.checklist, served.attempt_id),
            suggestions=names(item.vocabulary) if is_open_text else (),
            hints=tuple(hint.words for hint in given),
            hints_remaining=len(self._ladder(served)) - len(given),
            can_have_options=is_open_text and bool(item.options) and not narrowed,
        )

    def _reveal(self, attempt: Attempt, item: Item) -> Reveal:
        commitment = attempt.commitment
        if self._is_test(attempt):
            noted = Verdict("not graded", trial.NOTED)
            image = f"/study/image/{attempt.attempt_id}.png"
            return Reveal(
                attempt.attempt_id, noted, commitment.certainty, "", commitment.answer, image=image, stem=item.stem
            )
        past = self.log.attempts(attempt.learner)
        at = next(at for at in reversed(range(len(past))) if past[at].attempt_id == attempt.attempt_id)
        # Of the other skills nothing is told here.
        own = (one for one in past[: at + 1] if one.skill_id == attempt.skill_id)
        cards = schedule.replay(own, self.log.exam(attempt.learner)) if schedule.is_practice(attempt) else {}
        card = cards.get(attempt.skill_id)
        confident = attempt.verdict.outcome == "wrong" and commitment.certainty == 3 and not commitment.gave_up
        return Reveal(
            attempt_id=attempt.attempt_id,
            verdict=attempt.verdict,
            certainty=commitment.certainty,
            key=item.gold.answer,
            said="" if commitment.gave_up else commitment.answer,
            boxes=item.gold.boxes,
            point=commitment.point,
            box=commitment.box,
            explanation=item.explanation,
            source=item.source,
            licence=item.licence,
            checklist=marking.ticked(item, commitment),
            example=self._example(attempt, item, past),
            next_due=card.due.date().isoformat() if card else "",
            comes_back_today=confident and schedule.is_practice(attempt),
            image=f"/study/image/{attempt.attempt_id}.png",
            stem=item.stem,
        )


def _without(items: Sequence[Item], cases: frozenset[str]) -> list[Item]:
    """Items without those of some pictures, as far as a skill has others."""
    left = [item for item in items if item.case not in cases]
    skills = {item.skill.skill_id for item in left}
    return left + [item for item in items if item.case in cases and item.skill.skill_id not in skills]


def _ordered(options: Sequence[str], seed: str) -> tuple[str, ...]:
    """Numbers by size, pairs and replies as people say them, all else by lot."""
    if found := next((order for order in _FIXED if set(order) == set(options)), None):
        return found
    if all(option.isdigit() for option in options):
        return tuple(sorted(options, key=int))
    shuffled = sorted(options)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    return tuple(shuffled)


def _check_learner(learner: str) -> None:
    if not _LEARNER.fullmatch(learner):
        raise StudyError("A learner's name has letters, digits and . _ - @, at most 64.")


def _check(item: Item, commitment: Commitment) -> None:
    if commitment.certainty not in CERTAINTIES:
        raise AnswerError("Say how sure you are: 1, 2 or 3.")
    if commitment.gave_up:
        return
    if item.kind == "place":
        if commitment.box:
            x, y, wide, high = commitment.box
            if min(x, y) < 0 or min(wide, high) <= 0 or max(x + wide, y + high) > 1.0001:
                raise AnswerError("Draw the box inside the image.")
        elif commitment.point is None or not all(0 <= value <= 1 for value in commitment.point):
            raise AnswerError("Click on the image first, or draw a box.")
    elif not set(commitment.ticks) <= set(item.checklist):
        raise AnswerError("This is none of the features to tick.")
    elif not commitment.answer.strip():
        raise AnswerError("Give an answer first, or give up.")
    elif item.kind == "option" and commitment.answer not in item.options:
        raise AnswerError("This is none of the answers to choose from.")
    elif len(commitment.answer) > marking.LONGEST_ANSWER:
        raise AnswerError(f"An answer has at most {marking.LONGEST_ANSWER} characters.")
