"""What a caption affirms, by patterns of their own: evidence is not measured by what it reads with."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Findings; those of one line may stand for each other, so none of them makes another's claim unrelated.
FAMILIES = (
    "effusion fluid ascites hydrothorax",
    "pneumothorax hydropneumothorax pneumomediastinum",
    "mass tumor tumour lesion carcinoma cancer neoplasm metastasis metastases adenoma lymphoma sarcoma meningioma"
    " glioma nodule nodules masses lesions tumors adenocarcinoma schwannoma cyst cysts hemangioma lipoma teratoma",
    "fracture fractures",
    "hemorrhage haemorrhage hematoma haematoma bleeding",
    "consolidation opacity opacities pneumonia infiltrate infiltrates infiltration opacification",
    "atelectasis collapse",
    "hydronephrosis",
    "stone stones calculus calculi",
    "aneurysm pseudoaneurysm dilatation dilation",
    "thrombus thrombosis embolism",
    "stenosis occlusion narrowing obstruction",
    "abscess empyema collection",
    "edema oedema",
    "infarct infarction ischemia",
    "lymphadenopathy adenopathy",
    "cardiomegaly",
    "dissection",
    "hernia herniation",
    "emphysema",
    "calcification calcifications",
    "splenomegaly hepatomegaly",
)
FAMILY_OF = {word: at for at, line in enumerate(FAMILIES) for word in line.split()}
# Adjective and noun of the places that are told apart here.
ORGANS = {
    "hepatic": "liver",
    "renal": "kidney",
    "splenic": "spleen",
    "pancreatic": "pancreas",
    "pulmonary": "lung",
    "cerebral": "brain",
    "cerebellar": "cerebellum",
    "gastric": "stomach",
    "uterine": "uterus",
    "ovarian": "ovary",
    "adrenal": "adrenal gland",
    "pleural": "pleura",
    "pericardial": "pericardium",
    "femoral": "femur",
    "mandibular": "mandible",
    "prostatic": "prostate",
}
MODALITIES = {
    "CT": r"\bCTs?\b|computed tomogra|computeri[sz]ed tomogra",
    "MRI": r"\bMRIs?\b|\bMRA\b|\bMR\b|magnetic resonance|T[12][- ]?weighted|\bT[12]\b|FLAIR",
    "X-ray": r"x-?ray|radiogra|roentgen|\bCXR\b",
    "ultrasound": r"ultraso|sonogra|echocardio|\bUS\b|doppler|echogra",
    "other": r"\bPET\b|positron|scintigra|angiogra|mammogra|endoscop|microscop|histolog|tomograph|fluorosc|urogra"
    r"|arteriogra|venogra|myelogra|cystogra|barium|aortogra|panoram|orthopanto|SPECT|colonosc|photogra",
}

HEADS = "|".join(sorted(FAMILY_OF, key=len, reverse=True))
NOT_PART = (
    "and|or|of|the|a|an|in|with|no|not|any|without|to|by|for|from|left|right|both|bilateral|is|are|was|were|on|at|as|that"
    r"|this|two|three|four|five|several|show\w*|demonstrat\w+|reveal\w*|display\w*|indicat\w+|depict\w*|illustrat\w+"
    r"|detect\w+|confirm\w*|suggest\w*|caus\w+|contain\w*|due|represent\w*|identif\w+|through|into|around|between|under"
    r"|within|surround\w*|has|have|had|same|other|different|associated|case|patient|image|see|seen|note|noted|arrows?"
    r"|marked|new|also|consistent|compatible|which|its"
)
_PHRASE = re.compile(
    rf"(?<![-\w])(?P<side>(?:left|right)[- ](?:sided )?)?(?P<more>(?:(?!(?:{NOT_PART})\b)[a-z]{{3,}} ){{0,2}})"
    rf"\b(?P<head>{HEADS})\b(?! (?:of|in) (?:both|bilateral))"
    rf"(?P<at> (?:in|of|within|involving|at) the (?:(?P<at_side>left|right) )?(?P<place>(?:[a-z]+ ){{0,2}}"
    rf"(?:lobe|lung|kidney|liver|breast|ovary|femur|hip|knee|hemisphere|sinus|orbit|spleen|pancreas|brain|uterus|mandible"
    rf"|gland|pelvis|abdomen|thigh|shoulder|neck|eye|ureter|testis|bladder))\b)?",
    re.IGNORECASE,
)
NATURAL_NO = re.compile(
    r"\b(?:no|without|absence of|no evidence of|without evidence of)\s+(?:any )?"
    rf"(?P<more>(?:(?!(?:{NOT_PART})\b)[a-z]{{3,}} ){{0,2}})\b(?P<head>{HEADS})\b",
    re.IGNORECASE,
)
DOUBTED = re.compile(
    r"\b(?:no|not|without|absence|possibl|probabl|suspect|may|might|could|cannot|exclud|ruled?|resol|resect|remov|after"
    r"|history|previous|prior|free|negative|deni|lack|versus|unlikely|risk|treat|follow|post|differential|\?|mimic|pre"
    r"|regress|disappear|normal|drain|excis|measur|model|simulat)\w*",
    re.IGNORECASE,
)
OTHER_SIDES = re.compile(
    r"bilateral|\bboth\b|contralateral|ipsilateral|\beither\b|\bunilateral|\bopposite", re.IGNORECASE
)
ON_PAGE = re.compile(
    r"\((?:left|right)\b|of the image"
    r"|(?:left|right)\s*(?:\)|:|panel|image|arrow|figure|side of the (?:image|figure)|column|row|to\b)",
    re.IGNORECASE,
)
LENGTH = re.compile(r"(?<![\d.x×–-] )(?<![\d.×x–-])(\d+(?:\.\d+)?) ?(mm|cm)\b(?! ?[x×])")
NOT_ITS_LENGTH = re.compile(
    r"slice|section|interval|scale|\bbar\b|distance|less|more|than|over|increas|decreas", re.IGNORECASE
)
LEVELLED = re.compile(
    r"\b(fracture|herniation|stenosis|compression|lesion|collapse|spondylolisthesis|protrusion|mass)\b"
)
LEVEL = re.compile(r"\b(L[1-5])[-–/](L?[2-5]|S1)\b(?! (?:and|to|through))|\b(L[1-5])\b(?![-–/,]| (?:and|to|through))")
COUNT = re.compile(
    r"\b(two|three|four|five) ((?:[a-z]+ )?(?!weeks|months|years|days|hours|times|views|images|arrows|patients|cases"
    r"|sides|planes|dimensions|types|groups|parts|points|lines|sections|observers|courses|cycles|minutes|others)[a-z]{3,}[^s\W]s)\b"
)


@dataclass(frozen=True)
class Finding:
    """What a caption affirms: `phrase` without its side, e.g. "pleural effusion" or "mass in the upper lobe"."""

    side: str
    more: str
    head: str
    place: str

    def phrase(self, side: str | None = None) -> str:
        """As a claim names it, on the given side; None leaves the side out."""
        before = f"{side} " if side and not self.place else ""
        after = f" in the {side + ' ' if side else ''}{self.place}" if self.place else ""
        return f"{before}{self.more}{self.head}{after}"


def affirmed(caption: str) -> Iterator[Finding]:
    for sentence in re.split(r"(?<=[a-z)])[.;]\s*(?=[A-Z])", caption):
        for match in _PHRASE.finditer(sentence):
            # A cue anywhere in the sentence leaves open what it is about: such sentences give no plain claim.
            if DOUBTED.search(sentence):
                continue
            side = (match["side"] or match["at_side"] or "").lower().replace("-sided", "").strip(" -").split(" ")[0]
            more, place = match["more"].lower(), (match["place"] or "").lower()
            yield Finding(side, more, match["head"].lower(), place)


def only_modality(caption: str) -> str:
    """The one modality that a caption names, else ""."""
    named = [
        name
        for name, pattern in MODALITIES.items()
        if re.search(pattern, caption, re.IGNORECASE if name in ("X-ray", "other") else 0)
    ]
    return named[0] if len(named) == 1 and named[0] != "other" else ""


def other_side(side: str) -> str:
    return "right" if side == "left" else "left"


def is_only_level(caption: str, level: str) -> bool:
    return len(re.findall(r"\b[CTLS]\d", caption)) == len(re.findall(r"[LS]\d", level))


def are_near(caption: str, head: str, number: str) -> bool:
    """Whether the number can only be that finding's: in its sentence and beside it."""
    sentence = next((part for part in re.split(r"[.;] (?=[A-Z])", caption) if number in part), "")
    at = sentence.lower().find(head)
    return at >= 0 and abs(at - sentence.find(number)) < 45


def with_article(phrase: str) -> str:
    """With its article, which a plural has none of."""
    if re.search(r"(?:[^su]s|calculi|metastases)$", phrase.split(" in the ")[0]) and not phrase.endswith("sis"):
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
