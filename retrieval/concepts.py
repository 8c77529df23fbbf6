"""Which modality, which region of the body, and which findings a text names, by its words.

    named_modalities("Axial T2-weighted MR image of the pelvis")    # {"MRI"}
    first_region("Chest radiograph with pleural effusion")          # "chest"
    findings_at("Chest radiograph with pleural effusion")           # [("effusion", 30)]

A word counts by its beginning ("pleur" stands for pleura and pleural); a full stop closes a beginning that must be
the whole word ("leg." is not "legend"), and a word in capitals must be written so ("US" is not "us").
"""

import re
from functools import lru_cache

MODALITIES: dict[str, str] = {
    "PET": "PET positron fdg",
    "OCT": "OCT coherence",
    "mammography": "mammogra mammograph",
    "scintigraphy": "scintigra SPECT",
    "angiography": "angiogra DSA arteriogra venogra",
    "fluoroscopy": "fluorosc barium esophagogra oesophagogra urethrogra cystogra",
    "CT": "CT CTA CECT NCCT CBCT MDCT HRCT tomograph tomogram",
    "MRI": "MR MRI MRIs fMRI MRA MRCP CMR magnetic t1- t2- t1w t2w t1. t2. FLAIR STIR",
    "ultrasound": "ultraso echocardio sonogra doppler US USG EUS TTE TEE echogra",
    "X-ray": "x-ray xray radiograph roentgen orthopantomo OPG CXR skiagra",
    "endoscopy": "endoscop bronchoscop colonoscop gastroscop cystoscop laparoscop arthroscop",
    "electron microscopy": "SEM TEM",
    "blood smear": "smear giemsa",
    "histology": "histolog histopath hematoxylin haematoxylin microphotogra photomicrogra immunohisto"
    " cytolog microscop magnification",
    "dermoscopy": "dermoscop dermatoscop",
    "fundus": "fundus funduscop fluorescein",
    "ECG": "electrocardiogra ECG EKG",
    "diagram": "diagram schematic drawing illustration flowchart",
    "photograph": "photograph",
}
"""Where a text names several ("PET/CT"), the earlier of this list is the one that says more."""

REGIONS: dict[str, str] = {
    "heart": "heart. cardiac cardiom ventricular atrium atrial mitral aort coronar pericard myocard echocardio LV RV",
    "chest": "chest thora lung. lungs. pulmon pleur pneumo mediastin bronch rib. ribs. hilar hilum hemithora CXR"
    " airway empyema costophrenic diaphragm",
    "head": "brain cereb head. crani intracran frontal tempor parietal occipit pituitar sellar suprasellar hippocamp"
    " skull thalam ganglia pons. mening sinus. sinuses. orbit callosum hydroceph amygdal subdural stroke",
    "teeth and jaw": "tooth teeth dental dentin molar incisor premolar mandib maxill panoramic periapical jaw root",
    "neck": "neck. thyroid laryn pharyn nasophar carotid parotid submandib epiglott",
    "breast": "breast mammogra mammary",
    "spine": "spin. spine spinal vertebra lumbar sacr interverteb disc. disk. discs. L1 L2 L3 L4 L5 L4-L5 L5-S1",
    "abdomen": "abdom liver hepat spleen splen pancrea kidney renal bowel intestin colon. colonic sigmoid gastr stomach"
    " duoden jejun ileum ileal ileo append gallbladder bil. bile biliary mesent perito intraperito adrenal ureter"
    " portal cecum cecal caec retroperito choledoch hydroneph ascites",
    "pelvis": "pelvi bladder uterus uterin ovar prostat rectal rectum vagin scrot testi endometr adnex perine fetus"
    " fetal foetal gestation hip. hips. acetab iliac",
    "limbs": "knee femur femoral tibia fibula ankle foot. feet. hand. hands. wrist radius ulna humer elbow shoulder"
    " leg. legs. arm. arms. thigh patell finger toe. metatars metacarp calcane clavic scapul forearm limb",
    "eye": "eye. eyes. retina macula cornea ocular optic choroid vitre iris. lens. fovea foveal",
    "skin": "skin. cutaneous derma epiderm melanom nevus rash. papule plaque",
    "blood": "erythrocyt leukocyt leucocyt lymphocyt neutrophil platelet smear",
}

FINDINGS: dict[str, str] = {
    "pneumothorax": "pneumothora hydropneumothora",
    "air in the mediastinum": "pneumomediastin",
    "free air in the abdomen": "pneumoperiton",
    "effusion": "effusion hydrothora empyema hemothora haemothora",
    "consolidation or opacity": "pneumonia bronchopneumonia consolidat infiltrat opacit opacif",
    "atelectasis": "atelecta",
    "bronchiectasis": "bronchiecta",
    "emphysema": "emphysema",
    "fibrosis": "fibrosis fibrotic honeycomb",
    "cavitation": "cavitat cavitary",
    "tumour or nodule": "nodul mass. masses. tumor tumour neoplas carcinom adenocarcinom cancer malignan lymphoma"
    " sarcoma osteosarcoma liposarcoma glioma glioblastoma astrocytoma meningioma metasta adenoma schwannoma melanoma",
    "cyst": "cyst. cysts. cystic. pseudocyst",
    "abscess": "abscess",
    "haemorrhage": "hemorrhag haemorrhag bleeding hematoma haematoma",
    "infarction": "infarct ischem ischaem stroke",
    "aneurysm": "aneurysm pseudoaneurysm",
    "narrowing": "stenos stenotic stricture occlusion occluded",
    "thrombus": "thromb embol",
    "hydrocephalus": "hydroceph ventriculomegal",
    "oedema": "edema oedema",
    "fracture": "fractur",
    "dislocation": "dislocat sublux",
    "arthritis": "arthrit osteoarthrit arthros osteophyt",
    "scoliosis": "scolio",
    "enlarged heart": "cardiomegal cardiomyopath",
    "enlarged lymph nodes": "lymphadenopath adenopath",
    "calcification": "calcif",
    "stone": "stone. stones. calculus. calculi. nephrolith cholelith choledocholith urolith",
    "dilatation": "dilat hydroneph ectasia megacolon",
    "hernia": "hernia",
    "appendicitis": "appendicit",
    "cholecystitis": "cholecystit",
    "pancreatitis": "pancreatit",
    "colitis": "colitis",
    "ulcer": "ulcer",
    "polyp": "polyp",
    "caries": "caries carious",
}
"""Small on purpose, and coarse: two figures differ in a finding only where their words leave no doubt."""

_WORDS = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_PARTS = re.compile(r"[A-Za-z0-9]+")


class _Lexicon:
    def __init__(self, concepts: dict[str, str]) -> None:
        self.names = list(concepts)
        self.exact: dict[str, list[str]] = {}
        self.beginnings: dict[str, tuple[str, ...]] = {}
        for name, listed in concepts.items():
            words = listed.split()
            for word in words:
                if word != word.lower() or word.endswith("."):
                    self.exact.setdefault(word.rstrip("."), []).append(name)
            self.beginnings[name] = tuple(word for word in words if word == word.lower() and not word.endswith("."))

    def of_word(self, word: str) -> tuple[str, ...]:
        lower = word.lower()
        found = {*self.exact.get(word, ()), *self.exact.get(lower, ())}
        found |= {name for name, beginnings in self.beginnings.items() if lower.startswith(beginnings)}
        return tuple(name for name in self.names if name in found)


_MODALITIES, _REGIONS, _FINDINGS = _Lexicon(MODALITIES), _Lexicon(REGIONS), _Lexicon(FINDINGS)


@lru_cache(maxsize=100_000)
def _modalities_of(word: str) -> tuple[str, ...]:
    return _MODALITIES.of_word(word)


@lru_cache(maxsize=100_000)
def _regions_of(word: str) -> tuple[str, ...]:
    return _REGIONS.of_word(word)


@lru_cache(maxsize=100_000)
def _findings_of(word: str) -> tuple[str, ...]:
    return _FINDINGS.of_word(word)


def _words(text: str) -> list[str]:
    """Words in order; a compound ("T2-weighted") and then its parts."""
    words = []
    for compound in _WORDS.findall(text):
        words.append(compound)
        if "-" in compound:
            words += _PARTS.findall(compound)
    return words


def named_modalities(text: str) -> set[str]:
    return {name for word in _words(text) for name in _modalities_of(word)}


def named_regions(text: str) -> set[str]:
    return {name for word in _words(text) for name in _regions_of(word)}


def first_modality(text: str) -> str:
    """The modality named in a text that comes first in `MODALITIES`, or ""."""
    named = named_modalities(text)
    return next((name for name in MODALITIES if name in named), "")


def first_region(text: str) -> str:
    """The region whose words come first in the text, or ""."""
    return next((names[0] for word in _words(text) if (names := _regions_of(word))), "")


def findings_at(text: str) -> list[tuple[str, int]]:
    """The findings that a text names, each with where its word begins; whether it denies them is not read."""
    return [(name, match.start()) for match in _PARTS.finditer(text) for name in _findings_of(match[0])]
