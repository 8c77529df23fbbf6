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
    ("faec", "fec"),
    ("ischaem", "ischem"),
    ("foetus", "fetus"),
    ("foetal", "fetal"),
    ("diarrhoea", "diarrhea"),
    ("fibre", "fiber"),
    ("centre", "center"),
    ("colour", "color"),
    ("ageing", "aging"),
    ("grey", "gray"),
)

# A phrase is read as these words; the first pattern that fits at a place wins.
PHRASES: tuple[tuple[str, str], ...] = (
    (r"positron emission tomograph\w*", "pet"),
    (r"computer(?:i[sz]ed|-assisted)? (?:axial )?tomograph\w*|computed tomograph\w*|cat[- ]scans?", "ct"),
    (r"(?:functional )?magnetic resonance(?: imag\w+)?|mr[- ]imag\w+", "mri"),
    (r"chest (?:radiographs?|roentgenograms?|x[- ]?rays?)|cxr", "chest xray"),
    (r"(?:plain )?(?:radiographs?|roentgenograms?)|x[- ]?rays?(?: films?)?|plain films?", "xray"),
    (r"ultrasonograph\w*|sonogra\w*|echograph\w*|ultrasound scans?|ultrasonic", "ultrasound"),
    (r"echocardiogra\w*", "echocardiography"),
    (r"enlarge(?:d|ment of the) heart|cardiac enlargement|heart (?:is |appears )?enlarge(?:d|ment)", "cardiomegaly"),
    (r"enlarged liver|liver enlargement|liver (?:is |appears )?enlarged", "hepatomegaly"),
    (r"enlarged spleen|spleen enlargement|spleen (?:is |appears )?enlarged", "splenomegaly"),
    (r"enlarged (?:lymph )?nodes?|lymph node enlargement", "lymphadenopathy"),
    (r"(?:left and right|right and left)", "bilateral"),
    (r"gall[- ]?bladder stones?|gall[- ]?stones?|cholelithiasis", "gallbladder stone"),
    (r"gall[- ]bladder", "gallbladder"),
    (r"kidney[- ]stones?|nephrolithiasis|(?:renal|kidney) calcul(?:us|i)|renal stones?", "kidney stone"),
    (r"white[- ]matter", "whitematter"),
    (r"gr[ae]y[- ]matter", "graymatter"),
    (r"lymph[- ]nodes?", "lymphnode"),
    (r"upper lobes?", "upper lobe lunglobe"),
    (r"middle lobes?", "middle lobe lunglobe"),
    (r"lower lobes?", "lower lobe lunglobe"),
    (r"broken bones?|bone fractures?", "fracture"),
    (r"fluid (?:around|in) the (?:lungs?|pleural space)", "pleura effusion"),
    (r"collapsed lung", "lung collapse"),
    (r"brain ?stem", "brainstem"),
    (r"small (?=bowel|intestin)", "smallbowel"),
    (r"large (?=bowel|intestin)", "largebowel"),
    (r"space[- ]occupying lesion", "mass"),
    (r"soft[- ]tissues?", "softtissue"),
    (r"t1[- ]?(?:weighted|weighting|wi|w)", "t1"),
    (r"t2[- ]?(?:weighted|weighting|wi|w)", "t2"),
)

# Groups of words that mean the same; the first is the name of the group.
SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("mri", "mr"),
    ("xray", "cxr", "radiography", "roentgenography", "radiographic"),
    ("ultrasound", "us", "usg", "ultrasonography"),
    ("chest", "thorax", "thoracic"),
    ("lung", "pulmonary", "pulmonic"),
    ("liver", "hepatic"),
    ("kidney", "renal", "nephric"),
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
    ("skin", "cutaneous", "dermal"),
    ("tumor", "neoplasm", "neoplastic", "neoplasia"),
    ("hemorrhage", "bleeding", "bleed", "hemorrhagic"),
    ("hematoma", "hematomata"),
    ("edema", "edematous"),
    ("infarct", "infarction", "infarcted"),
    ("fracture", "fractured", "broken"),
    ("metastasis", "metastatic", "metastases"),
    ("calcification", "calcified", "calcific"),
    ("cyst", "cystic"),
    ("nodule", "nodular"),
    ("opacity", "opacification", "opacified", "opaque"),
    ("consolidation", "consolidated", "consolidative"),
    ("dilation", "dilatation", "dilated"),
    ("enlargement", "enlarged"),
    ("thickening", "thickened"),
    ("narrowing", "narrowed", "stenosis", "stenotic"),
    ("obstruction", "obstructed", "obstructive", "obstructing", "blocked", "blockage"),
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
    ("tumor", "tumoral"),
    ("enhancement", "enhancing", "enhanced", "enhances"),
    ("lymphadenopathy", "adenopathy"),
    ("perforation", "perforated"),
    ("herniation", "hernia", "herniated"),
    ("bronchus", "bronchial", "bronchi"),
    ("thrombus", "thrombosis", "thrombosed", "thrombi"),
    ("abscess", "abscesses"),
    ("embolism", "embolus", "emboli", "embolic"),
    ("diverticulum", "diverticula", "diverticular"),
    ("sclerosis", "sclerotic"),
    ("ulcer", "ulcerated", "ulceration"),
    ("cirrhosis", "cirrhotic"),
    ("hypertrophy", "hypertrophic", "hypertrophied"),
    ("atrophy", "atrophic", "atrophied"),
    ("ischemia", "ischemic"),
    ("aneurysm", "aneurysmal"),
    ("mandible", "mandibular"),
    ("maxilla", "maxillary"),
    ("ureter", "ureteral", "ureteric"),
    ("rectum", "rectal"),
    ("duodenum", "duodenal"),
    ("appendix", "appendiceal"),
    ("mediastinum", "mediastinal"),
    ("pericardium", "pericardial"),
    ("peritoneum", "peritoneal"),
    ("thyroid", "thyroidal"),
    ("testis", "testicular", "testicle", "testes"),
    ("eye", "ocular"),
    ("bone", "osseous", "bony"),
    ("muscle", "muscular"),
    ("sinus", "sinuses"),
    ("humerus", "humeral"),
    ("cortex", "cortical"),
    ("hilum", "hilar"),
    ("lobe", "lobar"),
    ("hippocampus", "hippocampal", "hippocampi"),
    ("larynx", "laryngeal"),
    ("pharynx", "pharyngeal"),
    ("cartilage", "cartilaginous"),
    ("ligament", "ligamentous"),
    ("nerve", "neural"),
    ("normal", "healthy"),
    ("large", "massive", "huge", "big", "giant"),
    ("small", "tiny", "minimal", "little"),
    ("mild", "slight"),
    ("occlusion", "occluded", "occlusive"),
    ("union", "united"),
    ("distension", "distended", "distention"),
    ("increased", "high", "elevated", "raised"),
    ("compression", "compressed", "compressing", "compressive"),
    ("displacement", "displaced"),
    ("dislocation", "dislocated"),
    ("rupture", "ruptured"),
    ("deviation", "deviated"),
    ("hyperintense", "hyperintensity"),
    ("hypointense", "hypointensity"),
    ("hyperdense", "hyperdensity"),
    ("hypodense", "hypodensity"),
    ("hypoechoic", "hypoechogenic"),
    ("hyperechoic", "hyperechogenic"),
    ("radius", "radial"),
    ("phalanx", "phalanges", "phalangeal"),
    ("mass", "masses"),
    ("metabolism", "metabolic"),
    ("scar", "scarring"),
)

# What the narrower word says, the wider one may claim: "carcinoma" supports "cancer", never the reverse.
WIDER: dict[str, tuple[str, ...]] = {
    "carcinoma": ("cancer",),
    "adenocarcinoma": ("carcinoma",),
    "sarcoma": ("cancer",),
    "lymphoma": ("cancer",),
    "glioma": ("tumor",),
    "glioblastoma": ("glioma", "cancer"),
    "meningioma": ("tumor",),
    "schwannoma": ("tumor",),
    "adenoma": ("tumor",),
    "hemangioma": ("tumor",),
    "hemangioblastoma": ("tumor",),
    "lipoma": ("tumor",),
    "teratoma": ("tumor",),
    "metastasis": ("malignancy", "lesion"),
    "cancer": ("tumor", "malignancy"),
    "tumor": ("lesion",),
    "mass": ("lesion",),
    "nodule": ("lesion",),
    "cyst": ("lesion",),
    "abscess": ("lesion",),
    "hematoma": ("hemorrhage",),
    "effusion": ("fluid",),
    "ascites": ("fluid", "abdomen"),
    "hydrothorax": ("pleura", "effusion"),
    "hemothorax": ("pleura", "effusion"),
    "hydronephrosis": ("kidney", "dilation"),
    "pneumonia": ("lung",),
    "atelectasis": ("lung",),
    "lunglobe": ("lung",),
    "lymphadenopathy": ("lymphnode",),
    "intussusception": ("bowel",),
    "appendicitis": ("appendix", "inflammation"),
    "cholecystitis": ("gallbladder", "inflammation"),
    "pancreatitis": ("pancreas", "inflammation"),
    "synovitis": ("inflammation",),
    "sinusitis": ("sinus", "inflammation"),
    "osteomyelitis": ("bone", "infection"),
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
    "leftsided": "left",
    "right": "right",
    "rt": "right",
    "right-sided": "right",
    "right-side": "right",
    "rightward": "right",
    "rightsided": "right",
    "bilateral": "bilateral",
    "bilaterally": "bilateral",
    "contralateral": "contralateral",
    "contralaterally": "contralateral",
    "ipsilateral": "ipsilateral",
    "unilateral": "unilateral",
}

# A side in front of one of these is that part's name: a mass in the right ventricle need not lie on the right.
SIDED_PARTS = re.compile(
    r"(?:heart|ventric\w*|atri\w*|coronary|main|anterior descending|circumflex|bundle|axis|aortic arch|sided aortic)\b"
)
# A side with one of these after it says where on the page, or is no side at all.
NOT_A_SIDE_AFTER = re.compile(
    r"(?:hand )?(?:panel|images?|figures?|photo\w*|pictures?|columns?|rows?|arrows?|arrowheads?|insets?|graphs?|box"
    r"|(?:side )?of the (?:image|figure|picture|page|panel)|to (?:left|right)|untreated|in place|in situ|behind|open"
    r"|after|before|away|angled|angles? (?:to|with|between)|decubitus|(?:anterior|posterior) oblique"
    r"|lateral (?:view|decubitus|radiograph|x-?ray|film))\b"
)
NOT_A_SIDE_BEFORE = re.compile(r"\b(?:left|right)[ -]to\s*$")
# "Both" speaks of sides only before what comes in pairs.
PAIRED = re.compile(
    r"(?:the )?(?:\w+ )?(?:lungs?|kidneys|eyes|ears|hips|knees|breasts|sides|hemispheres|ovaries|testes|adrenals?|hands"
    r"|feet|legs|arms|shoulders|ankles|wrists|elbows|orbits|ureters|lobes|ventricles|atria|hemithora\w*|bases"
    r"|extremities|limbs|femora|femurs|femoral heads|parotids?|mandibles|maxill\w*|globes|optic nerves)\b"
)

NUMBER_WORDS = {
    "single": "1",
    "solitary": "1",
    "one": "1",
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
abdomen adrenal anterior aorta apex apical appendix artery atrium basal base bladder body bone bowel brain
brainstem breast bronchus cardiac cerebellum cervical chest clavicle colon cortex cranium distal duodenum
esophagus eye femur frontal gallbladder graymatter head heart hemisphere hip humerus inferior joint kidney knee
larynx lateral liver lobe lower lumbar lung lymphnode mandible maxilla medial mediastinum middle muscle neck
occipital orbit ovary pancreas parietal pelvis pericardium peritoneum pleura posterior prostate proximal rectum
retina rib sinus skin skull space spine spleen stomach superior temporal testis thalamus thyroid tibia
trachea ureter upper uterus vein ventricle vertebra vessel wall whitematter zone
"""
PLACES = frozenset(_PLACES.split())

PLANES = frozenset({"axial", "coronal", "sagittal", "oblique"})

# Words that any caption or question may have without saying anything about what is in the picture.
_EMPTY_WORDS = """
a abnormal abnormalities abnormality about above according actually after again all along also am an and another any
appear appearance appearing appears are area areas around arrow arrowhead arrowheads arrows as aspect at be because been
before being below
between body both but by called can case category caused causes characterized clearly commonly condition consistent
could define demonstrate demonstrated demonstrates demonstrating depict depicted depicting depicts describe did
disease diseases do does doing done due during each either etc evidence exist exists feature features figure film
find finding findings following for found from further generally given had has have he her here his how however i if
image imaged images imaging in indicate indicated indicates indicating into involve involved involves is it its
itself just kind know known likely look looks main make many may me medical might modality more most much must name
near nearly no nor not notable note noted of often on only or organ organs our out over part parts patient
patients people person photo photograph picture pictured plane position possible presence present primarily probably
question refers region represent represents reveal revealed revealing reveals same scan scanned scanning scans section
see seen several she should show showed showing shown shows side sides sign signs since site situated slice so some
sometimes specific such suggest suggested suggesting suggestive suggests symptom take taken tell term than that the
their them then there these they thing this those through to too type typically under up use used using usually
across adjacent against behind inside outside toward towards via upon
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth striking remarkable
cc cm gland glands measure measures ml mm answer choice choices
measured measuring size sized diameter approximately level levels
shot identified observe observed body belong belongs system contain contains contained include included includes
locate located location existed existing exists people radiological radiologic radiology total study detected
visualization visualizes imagery dataset obtained performed compatible demonstration diagnosed diagnosis presents
mr cect weighted weighting weight number shape organism human pair pairs main plane kind kinds kindly
various very view viewed visible visualised visualized was way we well were what when where whether which while who
whom whose why will with within without would yes you your
"""
EMPTY_WORDS = frozenset(_EMPTY_WORDS.split())

# How much or how sure, not what. A long sentence may have one more of these than its caption; "no large effusion"
# leaves a small one possible.
_DEGREES = """
acute additional associated big bigger chronic complete diffuse early entire extensive faint focal further gross huge
large larger largest late little localized marked massive mild minimal minor moderate multiple new numerous old
other partial persistent progressive prominent recent recurrent residual secondary severe slight small smaller
smallest subtle surrounding thin thick tiny well whole widespread
"""
DEGREES = frozenset(_DEGREES.split())
