"""Follow-up questions made whole: "And on the left?" is searched with what was asked before. Rules, no model.

condense("What causes it?", ["What is a pneumothorax?"])        # "pneumothorax causes"
condense("And on MRI?", ["What does a glioma look like on CT?"])    # "glioma MRI"
condense("What is a stroke?", ["What is a pneumothorax?"])          # "What is a stroke?"
"""

import re
from collections.abc import Sequence

from retrieval.concepts import named_modalities
from retrieval.words import IMAGE_WORDS, content_words

LONGEST = 12
"""Words; those of the newest questions stay."""

_CONTINUES = re.compile(r"\s*(?:and|or|but|also|then|so|what about|how about|what else)\b", re.IGNORECASE)
_POINTS_BACK = re.compile(r"\b(?:it|its|they|them|their|theirs|same|else|other|others|another)\b", re.IGNORECASE)
_DEMONSTRATIVE = re.compile(
    r"\b(?:this|that|these|those)\b(?=\s*(?:[?.!,]|$|(?:is|are|was|were|be|does|do|can|could|mean|happen|occur)\b))",
    re.IGNORECASE,
)
_WHAT_IS_THIS = re.compile(r"\s*(?:what|who|where)(?:'s|\s+(?:is|are))\s+(?:this|that|these|those)\W*", re.IGNORECASE)
_OPPOSITES = (
    {"left", "right", "bilateral"},
    {"upper", "lower", "middle"},
    {"axial", "coronal", "sagittal", "transverse"},
    {"anterior", "posterior"},
    {"acute", "chronic"},
    {"benign", "malignant"},
)


def is_follow_up(question: str) -> bool:
    """Whether a question says too little without those before it. "What is this?" asks about the image."""
    if not question.strip() or _WHAT_IS_THIS.fullmatch(question):
        return False
    words = content_words(question)
    if not words:
        # "Why?", but not "What does this image show?"
        return not IMAGE_WORDS & {word.lower() for word in re.findall(r"\w+", question)}
    return bool(_CONTINUES.match(question) or _POINTS_BACK.search(question) or _DEMONSTRATIVE.search(question))


def condense(question: str, earlier: Sequence[str]) -> str:
    """The query for a question, given the questions before it, oldest first.

    A question that stands alone is returned as it is. Of a follow-up the content words, behind those of the
    questions that it goes on from; what it replaces (the other side, another modality) is left out.
    """
    if not is_follow_up(question):
        return question
    topic: list[str] = []
    for text in (*earlier, question):
        words = content_words(text)
        topic = _joined(topic, words) if is_follow_up(text) else words
    return " ".join(topic[-LONGEST:]) or question


def _joined(topic: list[str], words: list[str]) -> list[str]:
    lower = {word.lower() for word in words}
    has_modality = any(named_modalities(word) for word in words)

    def stays(word: str) -> bool:
        if word.lower() in lower or (has_modality and named_modalities(word)):
            return False
        return not any(word.lower() in group and lower & group for group in _OPPOSITES)

    return [*filter(stays, topic), *words]
