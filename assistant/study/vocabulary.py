"""The words of each class of answers, what else they are called, and how a class of images is read.

A free text is completed from the whole of a class, and graded by `grade`, which reads these names.
"""

import re
from functools import cache

# Class -> its answers. The first name is the one that is shown.
CLASSES: dict[str, tuple[tuple[str, ...], ...]] = {
    "chest finding": (
        ("pneumothorax", "ptx", "air in the pleural space"),
        ("pleural effusion", "effusion", "fluid in the pleural space"),
        ("pneumonia", "chest infection"),
        ("atelectasis", "collapsed lung", "lung collapse"),
        ("cardiomegaly", "enlarged heart", "enlargement of the heart"),
        ("pulmonary nodule", "nodule", "lung nodule"),
        ("pulmonary mass", "mass", "lung mass"),
        ("infiltration", "infiltrate", "pulmonary infiltrate", "pulmonary infiltration"),
        ("lung cancer", "bronchial carcinoma"),
        ("consolidation",),
        ("emphysema",),
        ("pulmonary edema",),
        ("rib fracture",),
        ("pleural thickening",),
        ("fibrosis", "pulmonary fibrosis"),
        ("hernia",),
        ("tuberculosis", "tb"),
    ),
    "brain finding": (
        ("edema", "brain edema", "cerebral edema"),
        ("enhancing tumor", "brain enhancing tumor"),
        ("non-enhancing tumor", "brain non-enhancing tumor"),
        ("glioma",),
        ("meningioma",),
        ("pituitary tumor", "pituitary adenoma"),
        ("metastasis", "brain metastasis"),
        ("infarct", "stroke"),
        ("hemorrhage", "bleeding"),
        ("hydrocephalus",),
        ("abscess",),
        ("subdural hematoma", "sdh"),
    ),
    "abdominal finding": (
        ("liver cancer", "hepatocellular carcinoma", "hcc"),
        ("kidney cancer", "renal cell carcinoma", "rcc"),
        ("kidney stone",),
        ("gallstone",),
        ("liver cyst",),
        ("ascites",),
        ("bowel obstruction",),
        ("appendicitis",),
        ("splenomegaly", "enlarged spleen"),
        ("hydronephrosis",),
    ),
    "organ": tuple(
        (name,)
        for name in (
            "liver", "spleen", "left kidney", "right kidney", "stomach", "small bowel", "colon", "duodenum", "pancreas",
            "gallbladder", "bladder", "rectum", "left lung", "right lung", "heart", "trachea", "esophagus",
            "spinal cord", "brain stem", "larynx", "aorta", "left eye", "right eye", "left ear", "right ear",
            "left parotid gland", "right parotid gland", "left temporal lobe", "right temporal lobe", "left mandible",
            "right mandible", "left femoral head", "right femoral head", "teeth", "thyroid gland", "prostate", "uterus",
        )
    ),
    "modality": (("CT", "computed tomography"), ("MRI", "magnetic resonance imaging"), ("X-ray", "radiograph"),
                 ("ultrasound", "sonography"), ("PET",), ("scintigraphy",), ("fluoroscopy",), ("mammography",)),
    "plane": (("axial", "transverse", "axial plane", "transverse plane"), ("coronal", "coronal plane"),
              ("sagittal", "sagittal plane"), ("oblique",)),
    "blood cell": (
        ("neutrophil",), ("eosinophil",), ("basophil",), ("lymphocyte",), ("monocyte",), ("erythroblast",),
        ("immature granulocyte",), ("platelet", "thrombocyte"), ("blast",), ("plasma cell",),
    ),
    "shape": (("round", "circular"), ("oval", "elliptic"), ("lobulated",), ("spiculated", "spiky"), ("crescent",)),
    "window": (("lung window",), ("soft-tissue window",), ("bone window",), ("brain window",), ("liver window",)),
    "artefact": (("motion", "motion artefact", "ghosting"),
                 ("streaks", "metal streaks", "metal artefact", "beam hardening"),
                 ("rings", "ring artefact"), ("wrap-around", "aliasing"), ("noise",), ("no artefact",),
                 ("zipper",), ("susceptibility",)),
    "zone": tuple(
        (f"{side} {level} zone", *(f"{side} {level}{more}" for more in ("", " lung", " lobe", " field", " third")))
        for side in ("left", "right") for level in ("upper", "middle", "lower")
    ),
    "count": tuple((str(number),) for number in range(10)),
}  # fmt: skip

ABBREVIATIONS: dict[str, str] = {
    "lll": "left lower lobe", "lul": "left upper lobe", "rll": "right lower lobe", "rul": "right upper lobe",
    "rml": "right middle lobe", "bilat": "bilateral", "lt": "left", "rt": "right", "ln": "lymph node",
    "mets": "metastases", "ca": "carcinoma", "fx": "fracture", "abd": "abdomen", "ptx": "pneumothorax",
    "t1w": "t1", "t2w": "t2", "t1wi": "t1", "t2wi": "t2", "cxr": "chest x-ray", "tb": "tuberculosis",
    "sdh": "subdural hematoma", "sah": "subarachnoid hemorrhage", "hcc": "hepatocellular carcinoma",
    "rcc": "renal cell carcinoma", "svc": "superior vena cava", "ivc": "inferior vena cava", "sbo":
    "small bowel obstruction", "gb": "gallbladder", "pe": "pulmonary embolism", "cbd": "common bile duct",
}  # fmt: skip

# Words that are one edit from another; captions have them too seldom to be listed.
CONFUSABLE = frozenset(
    """ileum ilium ileal iliac perineal peroneal dysphagia dysphasia humerus sacral sural facial fascial prostate
    prostrate malleus mucus mucous palpation palpitation trapezius trapezium ureteric urethra urethral metacarpal
    metatarsal cervix vertebra vertebrae radial ulnar tibial vagal ileitis iritis colitis""".split()  # noqa: SIM905
)

# Class or region -> how such an image is read; the same text for every finding.
CHECKLISTS: dict[str, str] = {
    "chest": "Plane and marker first, then the trachea and airways, bones, heart and mediastinum, diaphragm, the lungs "
    "zone by zone, and the edges of the film.",
    "brain": "Plane and sequence first, then compare the halves, the midline, the ventricles, grey and white matter, "
    "the skull base and the bone.",
    "abdomen": "Plane first, then each solid organ for size, outline and density, the hollow organs, the vessels, free "
    "fluid and air, the bones.",
    "neck": "Plane first, then the airway, the glands on both sides compared, the vessels, the spine.",
    "pelvis": "Plane first, then bladder, rectum, the bones of both sides compared, free fluid.",
    "blood": "Size of the cell against a red cell, shape of the nucleus, chromatin, colour of the cytoplasm, granules.",
    "skin": "Asymmetry, border, colours, structures, and what is artefact: hair, ruler, ink.",
    "knee": "Joint space on both sides, spurs at the edges, density below the cartilage, shape of the bone ends.",
    "phantom": "Find the marker, compare the halves, then look at each region once, from the edge inwards.",
    "": "Say what kind of image it is, which plane, compare the sides, then go region by region.",
}


def names(vocabulary: str) -> tuple[str, ...]:
    """Every answer of a class in alphabetical order; () for none."""
    return tuple(sorted((group[0] for group in CLASSES.get(vocabulary, ())), key=lambda name: (len(name) < 2, name)))


@cache
def synonyms(vocabulary: str, answer: str) -> tuple[str, ...]:
    """What else an answer of a class is called."""
    found = (group for group in CLASSES.get(vocabulary, ()) if answer.lower() in (name.lower() for name in group))
    return tuple(name for group in found for name in group if name.lower() != answer.lower())


def checklist(region: str) -> str:
    """How an image of a region is read."""
    return CHECKLISTS.get(region, CHECKLISTS[""])


_PROJECTION = re.compile(r"\b(antero|anterior|postero|posterior)[- ]?(?:to[- ])?(?:posterior|anterior)\b")
_ABBREVIATION = re.compile(rf"\b({'|'.join(ABBREVIATIONS)})\b")


def spelled_out(text: str) -> str:
    """Lower-case text with its abbreviations in full, and the two projections as words of their own."""
    text = _PROJECTION.sub(lambda match: "ap" if match[1] == "antero" or match[1] == "anterior" else "pa", text)
    return _ABBREVIATION.sub(lambda match: ABBREVIATIONS[match[1]], text)
