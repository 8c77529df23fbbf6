import pytest

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
    ],
)
def test_in_doubt_no_marker(question, answer, caption):
    assert verdict(question, answer, caption) == "not found in the index"


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


@pytest.mark.parametrize(
    "text, parts",
    [
        ("One. Two.", ["One.", "Two."]),
        ("It is 2.5 cm, see Fig. 3 and e.g. Dr. Smith. Next", ["It is 2.5 cm, see Fig. 3 and e.g. Dr. Smith.", "Next"]),
        ("- first\n- second", ["- first", "- second"]),
        ("Yes", ["Yes"]),
        ("2", ["2"]),
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
