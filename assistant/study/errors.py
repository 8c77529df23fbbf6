"""What can go wrong in tutor mode; every message is a sentence for the person."""


class StudyError(Exception):
    """Base of all errors here; `code` is for programs."""

    code = "bad_request"


class NoSuchAttemptError(StudyError):
    """An attempt that was never served, or to another learner."""

    code = "not_found"


class NotCommittedError(StudyError):
    """Something that helps was asked for before an answer."""

    code = "not_committed"


class AlreadyCommittedError(StudyError):
    """A second, different answer to the same attempt."""

    code = "already_committed"


class AnswerError(StudyError):
    """An answer that is not of the kind that the item asks for."""


class NothingToStudyError(StudyError):
    """No item is left for this choice of packs and mode."""

    code = "nothing_to_study"


class PackError(StudyError):
    """A pack that cannot be read or made."""


class LogError(StudyError):
    """A log of attempts that cannot be taken in."""
