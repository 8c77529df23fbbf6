"""The words that evidence compares by: synonyms, sides, negations, and words that say nothing.

Small on purpose: a missing synonym costs a marker, a wrong one puts a marker where it does not belong.
"""

import re

# Spelled the American way, since most captions are; British forms are turned into these first.
SPELLINGS: tuple[tuple[str, str], ...] = (
    ("haem", "hem"),
    ("oedem", "edem"),
    ("oesoph", "esoph"),
    ("tumour", "tumor"),
    ("anaem", "anem"),
    ("leukaem", "leukem"),
    ("paed", "ped"),
    ("gynaec", "gynec"),
    ("diarrhoea", "diarrhea"),
    ("fibre", "fiber"),
    ("centre", "center"),
    ("colour", "color"),
    ("ageing", "aging"),
    ("grey", "gray"),
)

# Phrases become one word before the text is split; longest first.
PHRASES: tuple[tuple[str, str], ...] = (
    (r"(?:positron emission tomograph\w*)", "pet"),
    (r"computer(?:i[sz]ed|-assisted)? (?:axial )?tomograph\w*|computed tomograph\w*|\bct[- ]scans?\b|\bcect\b", "ct"),
    (r"(?:functional )?magnetic resonance(?: imag\w+)?|\bmr[- ](?:imag\w+|scans?)\b|\bmri[- ]scans?\b", "mri"),
    (r"(?:plain |chest )?(?:radiographs?|roentgenograms?)\b|\bx[- ]?rays?(?: films?)?\b|\bplain films?\b", "xray"),
    (r"\bultrasonograph\w*|\bsonogra\w*|\bechograph\w*|\bultrasound scans?\b|\bultrasonic\b", "ultrasound"),
    (r"\bechocardiogra\w*", "echocardiography"),
    (r"\benlarge(?:d|ment of the) heart\b|\bcardiac enlargement\b|\bheart (?:is )?enlarge(?:d|ment)\b", "cardiomegaly"),
    (r"\benlarged liver\b|\bliver enlargement\b", "hepatomegaly"),
    (r"\benlarged spleen\b|\bspleen enlargement\b", "splenomegaly"),
    (r"\bleft and right\b|\bright and left\b|\bboth (?:the )?(?:left and right )?(?:sides? of the )?", "bilateral "),
    (r"\bgall[- ]stones?\b", "gallbladder stone"),
    (r"\bgall[- ]bladder", "gallbladder"),
    (r"\bkidney[- ]stones?\b|\bnephrolithiasis\b|\brenal calcul(?:us|i)\b", "kidney stone"),
    (r"\bwhite[- ]matter\b", "whitematter"),
    (r"\bgray[- ]matter\b", "graymatter"),
    (r"\blymph nodes?\b", "lymphnode"),
    (r"\bt([12])[- ]?(?:weighted|wi|w)\b", r"t\1"),
)

# Groups of words that mean the same; the first is the name of the group.
SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("mri", "mr"),
    ("xray", "cxr", "radiography", "roentgenography", "radiographic"),
    ("ultrasound", "us", "usg", "ultrasonography"),
    ("chest", "thorax", "thoracic"),
    ("lung", "pulmonary", "pulmonic"),
    ("liver", "hepatic"),
    ("kidney", "renal"),
    ("heart", "cardiac"),
    ("brain", "cerebral", "intracerebral"),
    ("cerebellum", "cerebellar"),
    ("head", "cranial", "cranium"),
    ("stomach", "gastric"),
    ("spleen", "splenic"),
    ("pancreas", "pancreatic"),
    ("colon", "colonic"),
    ("bowel", "intestine", "intestinal"),
    ("bladder", "vesical"),
    ("prostate", "prostatic"),
    ("uterus", "uterine"),
    ("ovary", "ovarian"),
    ("aorta", "aortic"),
    ("esophagus", "esophageal"),
    ("trachea", "tracheal"),
    ("pleura", "pleural"),
    ("spine", "spinal"),
    ("vertebra", "vertebral"),
    ("retina", "retinal"),
    ("abdomen", "abdominal"),
    ("pelvis", "pelvic"),
    ("femur", "femoral"),
    ("tibia", "tibial"),
    ("breast", "mammary"),
    ("skin", "cutaneous"),
    ("tumor", "neoplasm", "neoplastic", "neoplasia"),
    ("hemorrhage", "bleeding", "bleed", "hemorrhagic"),
    ("hematoma", "hematomata"),
    ("edema", "edematous"),
    ("infarct", "infarction", "infarcted"),
    ("fracture", "fractured"),
    ("metastasis", "metastatic", "metastases"),
    ("calcification", "calcified", "calcific"),
    ("cyst", "cystic"),
    ("nodule", "nodular"),
    ("opacity", "opacification", "opacified"),
    ("consolidation", "consolidated", "consolidative"),
    ("dilation", "dilatation", "dilated"),
    ("enlargement", "enlarged"),
    ("thickening", "thickened"),
    ("narrowing", "narrowed", "stenosis", "stenotic"),
    ("obstruction", "obstructed", "obstructive"),
    ("stone", "calculus", "calculi", "lithiasis"),
    ("axial", "transverse", "transaxial"),
    ("coronal", "frontal plane"),
    ("inflammation", "inflamed", "inflammatory"),
    ("infection", "infected"),
    ("necrosis", "necrotic"),
    ("atelectasis", "atelectatic"),
    ("emphysema", "emphysematous"),
    ("malignancy", "malignant"),
    ("cancer", "cancerous"),
    ("vessel", "vascular"),
    ("artery", "arterial"),
    ("vein", "venous"),
    ("ventricle", "ventricular"),
    ("atrium", "atrial"),
)

# What the narrower word says, the wider one may claim: "carcinoma" supports "cancer", never the reverse.
WIDER: dict[str, tuple[str, ...]] = {
    "carcinoma": ("cancer", "tumor", "malignancy"),
    "adenocarcinoma": ("carcinoma", "cancer", "tumor", "malignancy"),
    "sarcoma": ("cancer", "tumor", "malignancy"),
    "lymphoma": ("cancer", "tumor", "malignancy"),
    "glioma": ("tumor",),
    "glioblastoma": ("glioma", "cancer", "tumor", "malignancy"),
    "meningioma": ("tumor",),
    "schwannoma": ("tumor",),
    "adenoma": ("tumor",),
    "hemangioma": ("tumor",),
    "cancer": ("tumor", "malignancy"),
    "hemothorax": ("effusion",),
    "echocardiography": ("ultrasound",),
    "cardiomegaly": ("heart", "enlargement"),
    "hepatomegaly": ("liver", "enlargement"),
    "splenomegaly": ("spleen", "enlargement"),
}

# Both ends of an either-or that a caption can only say one of.
SIDES: dict[str, str] = {
    "left": "left",
    "lt": "left",
    "left-sided": "left",
    "left-side": "left",
    "leftward": "left",
    "right": "right",
    "rt": "right",
    "right-sided": "right",
    "right-side": "right",
    "rightward": "right",
    "bilateral": "bilateral",
    "bilaterally": "bilateral",
}

NEGATIONS_BEFORE = re.compile(
    r"^(?:no|not|without|never|nor|neither|none|absent|lacks?|lacking|cannot|isn't|aren't|wasn't|doesn't|don't|excludes?|denies)$"
)
# The words that a negation before them needs, so that "free air" or "negative contrast" negates nothing.
NEGATION_PHRASES = re.compile(r"\b(?:absence of|negative for|free of|devoid of|ruled? out|rather than|instead of)\b")
NEGATIONS_AFTER = re.compile(
    r"\b(?:(?:is|are|was|were|be|been) (?:absent|excluded|ruled out|not \w+)"
    r"|(?:not|never) (?:seen|visible|found|present|shown|identified|detected|demonstrated|noted|observed|evident)"
    r"|absent)\b"
)
CLAUSE_END = re.compile(
    r"[.,;:()\[\]]|\b(?:and|but|or|with|while|whereas|although|though|however|which|who|besides|except)\b"
)

NUMBER_WORDS = {
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}

# Where something is, not what: named under a negation, a place is not denied.
_PLACES = """
abdomen adrenal anterior aorta apex apical appendix artery atrium axial basal base bladder body bone bowel brain
brainstem breast bronchus cardiac cerebellum cervical chest clavicle colon coronal cortex cranium distal duodenum
esophagus eye femur frontal gallbladder graymatter head heart hemisphere hip humerus inferior joint kidney knee
larynx lateral liver lobe lower lumbar lung lymphnode mandible maxilla medial mediastinum middle muscle neck
occipital orbit ovary pancreas parietal pelvis pericardium peritoneum pleura posterior prostate proximal rectum
retina rib sagittal sinus skin skull space spine spleen stomach superior temporal testis thalamus thyroid tibia
trachea ureter upper uterus vein ventricle vertebra vessel wall whitematter zone
"""
PLACES = frozenset(_PLACES.split())

# Words that any caption or question may have without saying anything about what is in the picture.
_EMPTY_WORDS = """
a abnormal abnormalities abnormality about above according actually after again all along also am an and another any
appear appearance appearing appears are area areas around arrow arrowhead as at be because been before being below
between body both but by called can case category caused causes characterized clearly commonly condition consistent
could define demonstrate demonstrated demonstrates demonstrating depict depicted depicting depicts describe did
disease diseases do does doing done due during each either etc evidence exist exists feature features figure film
find finding findings following for found from further generally given had has have he her here his how however i if
image imaged images imaging in indicate indicated indicates indicating into involve involved involves is it its
itself just kind know known likely look looks main make many may me medical might modality more most much must name
near nearly no nor not notable note noted of often on one only or organ organs other our out over part parts patient
patients people person photo photograph picture pictured plane position possible presence present primarily probably
question refers region represent represents reveal revealed revealing reveals same scan scanning scans section see
seen several she should show showed showing shown shows side sides sign signs since site situated slice so some
sometimes specific such suggest suggested suggesting suggestive suggests symptom take taken tell term than that the
their them then there these they thing this those through to too type typically under up use used using usually
various very view viewed visible visualised visualized was way we well were what when where whether which while who
whom whose why will with within without would yes you your
"""
EMPTY_WORDS = frozenset(_EMPTY_WORDS.split())
