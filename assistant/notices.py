"""Fixed sentences for questions about somebody's own case, decided by the question's words and never by a model.

notices("My father's X-ray shows a shadow. Should he take antibiotics?")     # (REAL_PATIENT,)
"""

import re

EMERGENCY = (
    "If somebody may be in danger now, do not wait for an answer here: call the emergency number (112 in Europe, "
    "911 in North America, or your own country's)."
)
REAL_PATIENT = (
    "This sounds like a real person's case. This is a study aid and no medical advice: please ask a doctor who can see "
    "the person and the whole record."
)

_WHO = (
    r"(?:my|our) (?:own )?(?:mother|father|mum|mom|dad|son|daughter|child|baby|wife|husband|partner|brother|sister|"
    r"grandmother|grandfather|grandma|grandpa|friend|patient|doctor|gp|surgeon)s?(?:['’]s)?"
)
_OWN = (
    r"\bmy (?:own )?(?:x-?ray|ct|mri|scan|film|ultrasound|mammogram|results?|report|biopsy|lab|blood test|tumou?r|"
    r"cancer|lung|lungs|heart|liver|kidneys?|knee|chest|head|brain|back|spine|skin|mole|rash|breast|pain|symptoms?)\b"
)
_ADVICE = (
    r"\b(?:should|can|may|must) (?:i|he|she|we|they)\b[^.?!]*\b(?:take|stop taking|operate|worry|be worried|go to|"
    r"see a doctor|treat|need surgery)\b|\b(?:do i|does he|does she|have i|has he|has she) (?:have|got|need)\b|"
    r"\bam i (?:ill|sick|dying|pregnant|going to)\b"
)
_PERSON = re.compile(rf"\b{_WHO}|{_OWN}|{_ADVICE}", re.IGNORECASE)

_NOW = (
    r"\b(?:right now|now|just|suddenly|since (?:this|an hour)|at the moment|is|are|am|has|have|having|"
    r"can(?:not|['’]t))\b"
)
_DANGER = (
    r"\b(?:can(?:not|['’]t) breathe|not breathing|stopped breathing|unconscious|unresponsive|collapsed|choking|"
    r"overdose[d]?|took too many|swallowed poison|bleeding (?:heavily|a lot|badly)|coughing up blood|vomiting blood|"
    r"crushing chest pain|chest pain|having a (?:stroke|heart attack|seizure)|face is drooping|kill (?:my|him|her)self|"
    r"suicid(?:e|al)|end my life)\b"
)
_ME = re.compile(rf"\b(?:i|i['’]m|i['’]ve|he|she|they|me|help|{_WHO})\b", re.IGNORECASE)
_EMERGENCY = re.compile(_DANGER, re.IGNORECASE)
_SELF_HARM = re.compile(r"\b(?:kill myself|suicidal|end my life)\b", re.IGNORECASE)
_PRESENT = re.compile(_NOW, re.IGNORECASE)


def notices(question: str) -> tuple[str, ...]:
    """The sentences that go with an answer to this question; none for one about an image or about medicine."""
    told = []
    is_now = _EMERGENCY.search(question) and _ME.search(question) and _PRESENT.search(question)
    if is_now or _SELF_HARM.search(question):
        told.append(EMERGENCY)
    if _PERSON.search(question):
        told.append(REAL_PATIENT)
    return tuple(told)
