import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.evidence import mark, support
from assistant.evidence.statement import read_statement
from assistant.evidence.tokens import sentences, term_of
from retrieval.figures import Figure, Hit

WHAT = "What is abnormal in this image?"


def hit(caption: str, rank: int = 1, modality: str = "") -> Hit:
    figure = Figure(
        f"PMC1/{rank}", "PMC1", str(rank), "", caption, "CC BY", "https://example.org", "test", modality=modality
    )
    return Hit(figure, 0.8, rank, ("text",))


def verdict(question: str, answer: str, *captions: str) -> str:
    hits = [hit(caption, rank) for rank, caption in enumerate(captions, 1)]
    return "; ".join(item.words() for item in support(question, answer, hits))


def conflicts(question: str, answer: str, *captions: str) -> list[tuple[int, str]]:
    found = support(question, answer, [hit(caption, rank) for rank, caption in enumerate(captions, 1)])
    return [conflict for item in found for conflict in item.contradicted_by]


@pytest.mark.parametrize(
    "question, answer, caption",
    [
        (WHAT, "Pneumothorax", "Chest X-ray showing a left pneumothorax."),
        ("Is there a pneumothorax?", "Yes", "Chest X-ray showing a left pneumothorax."),
        ("Is there a pneumothorax?", "Yes, there is.", "Large pneumothorax on the left side."),
        ("Is there a pneumothorax?", "No", "Chest radiograph without effusion or pneumothorax."),
        ("Is there a fracture?", "No.", "A fracture was ruled out by CT."),
        ("Where is the effusion?", "Left lung", "CT shows a left pleural effusion beside the lung."),
        ("Is the effusion left or right?", "Left", "Bilateral pleural effusions."),
        ("Which modality was used?", "MRI", "Axial T2-weighted magnetic resonance image of the brain."),
        ("Which modality was used?", "X-ray", "Chest radiograph of a child."),
        ("Is this a CT or an MRI?", "CT", "Axial computed tomography of the brain."),
        ("Which organ is abnormal?", "Liver", "Hepatic abscess in the right lobe."),
        ("How many kidneys are visible?", "2", "Two kidneys are seen."),
        ("Is there a tumour?", "Yes", "A meningioma of the convexity."),
        ("Is there haemorrhage?", "Yes", "Intracerebral hemorrhage."),
        (WHAT, "There is a mass in the left lower lobe.", "Mass in the left lower lobe. No effusion in the left lung."),
        (WHAT, "No effusion in the left lung.", "The left lung shows no pleural effusion."),
        (WHAT, "The heart is enlarged.", "Cardiomegaly with clear lungs."),
        ("Which lung is abnormal, left or right?", "Both", "Infiltrates in both lungs."),
        (WHAT, "A mass in the left adrenal gland.", "Mass in the right kidney and the left adrenal gland."),
        (WHAT, "Mediastinal shift to the right.", "Left pneumothorax with contralateral mediastinal shift."),
        (
            WHAT,
            "There is a fracture of the left femur.",
            "X-ray of the right hip showing a fracture of the left femur.",
        ),
        (WHAT, "Effusion of the right hip", "MRI of the right hip (arrow). An effusion is seen."),
        (WHAT, "There is a lesion in the lung.", "Nodule in the right upper lobe."),
        (WHAT, "There is no mass.", "No mass, effusion or fracture."),
        (WHAT, "There is no effusion.", "Left renal mass and no effusion."),
        ("Which ventricle is dilated?", "Right ventricle", "Dilated right ventricle."),
        (WHAT, "There is a large effusion.", "Massive effusion."),
        ("In what plane is this image scanned?", "Coronal", "Coronal CT of the abdomen."),
        (WHAT, "No fracture.", "No effusion or fracture, but the heart is enlarged."),
        (WHAT, "There is an abscess.", "Not only an effusion but an abscess."),
        ("How large is the mass?", "3 cm", "A renal mass of 30 mm."),
        (WHAT, "The mass measures 3 × 2 cm.", "A mass of 3.1 x 2.0 cm."),
        ("At which level is the herniation?", "L4-L5", "Disc herniation at L4/5."),
        (WHAT, "The third rib is fractured.", "Fracture of the 3rd rib."),
        ("Which finding is shown? A: Fracture B: Effusion", "B: Effusion", "Pleural effusion."),
        ("Is this an MRI of the liver?", "No", "CT of the liver."),
    ],
)
def test_supported(question, answer, caption):
    assert verdict(question, answer, caption) == "supported by [1]"


@pytest.mark.parametrize(
    "question, answer, caption",
    [
        (WHAT, "Left pleural effusion", "CT shows a right pleural effusion."),
        ("Where is the effusion?", "Left lung", "Right pleural effusion, right lung."),
        ("Which side is the mass?", "Right", "Mass in the left kidney."),
        (WHAT, "There is a cyst in the right kidney.", "Left renal cyst."),
        (WHAT, "Right pneumothorax", "Left pneumothorax with strain of the right heart."),
        (WHAT, "Mass in the left atrium", "Mass in the right atrium."),
        (WHAT, "Right atrial mass", "Large left atrial mass and left effusion."),
        (WHAT, "Right effusion", "Left effusion and right pneumothorax."),
        (WHAT, "Left renal mass", "CT of the right kidney. A mass is seen."),
        (
            "Which ventricle is dilated?",
            "Right ventricle",
            "Dilated left ventricle (RV, right ventricle; RA, right atrium).",
        ),
    ],
)
def test_the_other_side(question, answer, caption):
    assert conflicts(question, answer, caption) == [(1, "side")]


@pytest.mark.parametrize(
    "question, answer, caption",
    [
        ("Is there a pneumothorax?", "No", "Left pneumothorax."),
        ("Is there a pneumothorax?", "Yes", "No pneumothorax is seen."),
        (WHAT, "Pleural effusion.", "There is no pleural effusion."),
        (WHAT, "There is no fracture.", "Fracture of the femur."),
        (WHAT, "Metastasis of the liver.", "Liver without metastases."),
        (WHAT, "Hydronephrosis is present.", "Hydronephrosis was not seen."),
        (WHAT, "There is an effusion.", "The lungs are clear and an effusion is absent."),
        (WHAT, "There is a tumour.", "No evidence of tumor in the liver."),
        (WHAT, "There is no mass in the supraspinous fossa.", "Mass in the supraspinous fossa."),
        (WHAT, "There is no tumour.", "Adenocarcinoma of the stomach."),
        ("Is there no effusion?", "Yes", "Left effusion."),
        ("How many stones are there?", "0", "A stone in the bladder."),
    ],
)
def test_the_opposite(question, answer, caption):
    assert conflicts(question, answer, caption) == [(1, "negation")]


@pytest.mark.parametrize(
    "question, answer, caption",
    [
        (WHAT, "Pneumothorax", "Pneumonia of the right lung."),
        (WHAT, "Left pleural effusion", "Pleural effusion."),
        (WHAT, "Bilateral effusions", "Left effusion."),
        (WHAT, "Carcinoma", "A cancer of the breast."),
        ("Which modality was used?", "MRI", "CT of the brain."),
        (WHAT, "A pneumothorax is air in the pleural space that makes the lung collapse.", "Pneumothorax."),
        (WHAT, "Effusion", "Effusion on the left, no effusion on the right."),
        ("Does it look normal?", "No", "A film."),
        (WHAT, "Right pneumothorax", "Pneumothorax with strain of the right heart."),
        (WHAT, "Effusion on the right", "Left panel: effusion. The right image shows a chest tube."),
        (WHAT, "Cyst in the liver", "Mass in the liver and cyst in the kidney."),
        (WHAT, "There is a pneumonia.", "Possible pneumonia."),
        (WHAT, "There is a fracture.", "A fracture cannot be excluded."),
        (WHAT, "There is a tumour.", "After resection of the tumor."),
        (WHAT, "There is no tumour.", "No carcinoma."),
        (WHAT, "There is a mass.", "No enhancement of the mass."),
        (WHAT, "There is no effusion.", "No large effusion."),
        (WHAT, "There is no effusion.", "No effusion on the left."),
        (WHAT, "There is an effusion.", "No effusion on the left."),
        (WHAT, "Left effusion", "Unilateral effusion."),
        (WHAT, "There is an enhancing tumour.", "Non-enhancing tumor."),
        (WHAT, "Small mass", "Large mass."),
        (WHAT, "Three nodules.", "Case 3: nodules."),
        ("Which modality was used?", "CT", "An MRI or a film."),
        ("Where is the liver?", "Not seen", "The spleen."),
    ],
)
def test_in_doubt_no_marker(question, answer, caption):
    assert verdict(question, answer, caption) == "not found in the index"


@pytest.mark.parametrize(
    "question, answer, caption, kind, words",
    [
        (WHAT, "Left effusion", "Right effusion.", "side", "says the other side: right, not left"),
        (WHAT, "Effusion", "There was no effusion.", "negation", "says the opposite: “no effusion”"),
        (WHAT, "The CT shows a mass.", "MRI of a mass.", "modality", "is of another modality: MRI, not CT"),
        ("Is this a CT of the liver?", "Yes", "MRI of the liver.", "modality", "is of another modality: MRI, not CT"),
        ("How many nodules are there?", "3", "Two nodules.", "number", "says another number: Two, not 3"),
        ("How large is the cyst?", "4 cm", "Cyst of 15 mm.", "number", "says another number: 15 mm, not 4 cm"),
        (WHAT, "Fracture of L1", "Fracture of L3.", "number", "says another number: L3, not L1"),
        (WHAT, "Stage 3 tumour", "Stage II tumor.", "number", "says another number: Stage II, not Stage 3"),
    ],
)
def test_what_contradicts_is_said_and_shown(question, answer, caption, kind, words):
    (found,) = support(question, answer, [hit(caption)])
    (conflict,) = found.contradictions
    assert (conflict.kind, conflict.words()) == (kind, words)
    assert all(caption[start:end].strip() for start, end in conflict.caption_spans)
    assert conflict.caption_spans


def test_nothing_found_supports_nothing():
    assert verdict(WHAT, "Pneumothorax") == "not found in the index"
    assert support(WHAT, "", [hit("Pneumothorax.")]) == []


def test_the_figure_has_another_modality_than_the_claim():
    told = support("Does the MRI show a cyst?", "Yes", [hit("A renal cyst.", modality="CT")])
    assert told[0].contradicted_by == ((1, "modality"),)


def test_each_sentence_is_judged_alone_and_marked():
    answer = "There is a left pneumothorax. The liver is enlarged. No fracture is seen."
    hits = [hit("Left-sided pneumothorax.", 1), hit("Pneumothorax on the left; rib fracture.", 2)]
    found = support(WHAT, answer, hits)
    assert [item.words() for item in found] == [
        "supported by [1] [2]",
        "not found in the index",
        "[2] says the opposite: “fracture”",
    ]
    assert [answer[item.start : item.end] for item in found] == [item.sentence for item in found]
    assert mark(answer, found) == "There is a left pneumothorax. [1] [2] The liver is enlarged. No fracture is seen."


def test_the_words_that_matched_are_the_captions_own():
    (found,) = support(WHAT, "Kidney stones", [hit("Multiple renal calculi and a stone.")])
    assert found.matches == {1: ("renal calculi", "stone")}
    (found,) = support(WHAT, "Renal cyst", [hit("Cyst of the kidney.")])
    assert found.matches == {1: ("Cyst", "kidney")}


def test_the_words_are_marked_in_caption_and_sentence():
    caption, answer = (
        "Axial CT: large right-sided pleural effusion (arrow).",
        "The liver is normal. Effusion on the right.",
    )
    found = support(WHAT, answer, [hit(caption)])[1]
    assert [caption[start:end] for start, end in found.caption_spans[1]] == ["right", "effusion"]
    assert [found.sentence[start:end] for start, end in found.sentence_spans[1]] == ["Effusion", "right"]


def test_words_of_the_question_are_not_marked_in_the_answer():
    (found,) = support("Which side is the effusion on?", "Left", [hit("Left effusion.")])
    assert [found.sentence[start:end] for start, end in found.sentence_spans[1]] == ["Left"]


@given(st.text(), st.text(), st.text())
@settings(max_examples=60, deadline=None)
def test_any_text_is_read(question, answer, caption):
    for item in support(question, answer, [hit(caption)]):
        assert answer[item.start : item.end] == item.sentence
        assert mark(answer, [item]).startswith(answer[: item.end])


@pytest.mark.parametrize(
    "text, parts",
    [
        ("One. Two.", ["One.", "Two."]),
        ("It is 2.5 cm, see Fig. 3 and e.g. Dr. Smith. Next", ["It is 2.5 cm, see Fig. 3 and e.g. Dr. Smith.", "Next"]),
        ("- first\n- second", ["- first", "- second"]),
        ("Yes", ["Yes"]),
        ("2", ["2"]),
        ("No. The lung is clear.", ["No.", "The lung is clear."]),
        ("A cyst of the neck.A woman of 66.", ["A cyst of the neck.", "A woman of 66."]),
        (" \n ", []),
    ],
)
def test_sentences(text, parts):
    assert [text[start:end] for start, end in sentences(text)] == parts


def test_statement_reads_side_and_polarity_per_clause():
    read = read_statement("Left pleural effusion, but no pneumothorax on the right.")
    found = {word: read.of(*term_of(word))[0] for word in ("effusion", "pneumothorax")}
    assert (found["effusion"].sides, found["effusion"].polarity) == ({"left"}, "affirmed")
    assert (found["pneumothorax"].sides, found["pneumothorax"].polarity) == ({"right"}, "negated")
