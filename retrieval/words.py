"""Words of a text as exact search and follow-up questions see them.

tokens("T2-weighted MRI of L5-S1")          # ["t2-weighted", "t2", "weighted", "mri", "l5-s1", "l5", "s1"]
content_words("What does this image show?") # []
"""

import re

_COMPOUND = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


ARTICLES_AND_SUCH = _words(
    "a an the of in on at to for from by with without within into over under between through during after before as"
    " and or but nor if than then so such also both either neither not no yes is are was were be been being am do does"
    " did done has have had having can could may might must shall should will would it its he she they them their his"
    " her this that these those there here which who whom whose what when where why how i you we us me my your our"
    " any some all each every more most much many few other another same own very too just only about please"
)
IMAGE_WORDS = _words("image images picture pictures pic figure figures photo scan scans film slice slices panel panels")
ASKING_WORDS = _words(
    "show shows shown showing see seen look looks like depict depicts depicted contain contains visible appear appears"
    " present tell explain describe called mean means kind type name identify find found exist exists"
)
_STOP = ARTICLES_AND_SUCH | IMAGE_WORDS | ASKING_WORDS


def tokens(text: str) -> list[str]:
    """Lower-case words in order; a compound ("T2-weighted") and then its parts. Articles and the like are left out."""
    found = []
    for match in _COMPOUND.finditer(text.lower()):
        compound = match[0]
        parts = [compound, *compound.split("-")] if "-" in compound else [compound]
        found += [part for part in parts if part not in ARTICLES_AND_SUCH]
    return found


def content_words(text: str) -> list[str]:
    """The words of a question that say what it is about, in order, each once, written as they were."""
    words = dict.fromkeys(match[0] for match in _COMPOUND.finditer(text))
    return [word for word in words if word.lower() not in _STOP]
