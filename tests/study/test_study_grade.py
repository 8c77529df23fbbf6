"""The grader: exact in every slot, generous in wording, silent where it cannot tell."""

import pytest

from assistant.study.grade import grade, grade_box, grade_point, known_words, mentions
from assistant.study.items import Gold


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("left pleural effusion", "Left-sided pleural effusion"),
        ("left pleural effusion", "effusion of the left pleura"),
        ("lower left lobe", "left lower lobe"),
        ("left lower lobe", "LLL"),
        ("brain edema, enhancing tumor", "enhancing tumour and brain oedema"),
        ("pneumothorax", "pneumothroax"),
        ("pulmonary nodule", "Lung nodules"),
        ("axial", "Transverse plane"),
        ("T2", "T2-weighted"),
        ("cardiomegaly", "enlarged heart"),
        ("2", "two"),
        ("normal", "no abnormality"),
        ("No", "no."),
    ],
)
def test_other_words_for_the_key_are_right(key: str, said: str):
    assert grade(Gold(key), said).outcome == "right"


@pytest.mark.parametrize(
    ("key", "said", "slot"),
    [
        ("left pleural effusion", "Effusion on the right", "side"),
        ("left lower lobe", "left upper lobe", "level"),
        ("above the diaphragm", "below the diaphragm", "level"),
        ("no pleural effusion", "pleural effusion", "negation"),
        ("pleural effusion", "no pleural effusion", "negation"),
        ("T1", "T2", "modality"),
        ("axial", "coronal", "plane"),
        ("hypointense lesion", "hyperintense lesion", "polarity"),
        ("hypotension", "hypertension", "polarity"),
        ("two nodules", "three nodules", "number"),
        ("left lung, right kidney", "right lung, left kidney", "side"),
        ("pneumonia", "atelectasis", "finding"),
        ("normal", "pneumonia", "finding"),
        ("pneumonia", "normal", "finding"),
        ("ileum", "ilium", "finding"),
        ("dysphagia", "dysphasia", "finding"),
        ("Yes", "no", "negation"),
    ],
)
def test_what_differs_in_a_slot_is_wrong_and_the_slot_is_named(key: str, said: str, slot: str):
    graded = grade(Gold(key), said)
    assert graded.outcome == "wrong"
    assert slot in graded.failed


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("pneumonia", "possible pneumonia"),
        ("pneumonia", "a fluffy thingummy"),
        ("left coronary artery right anterior view", "right coronary artery left anterior view"),
        ("pneumonia", ""),
        ("pulmonary nodules of varying size", "nodules"),
        ("lung", "I would ask a colleague"),
    ],
)
def test_in_doubt_it_is_not_graded(key: str, said: str):
    assert grade(Gold(key), said).outcome == "not graded"


def test_a_side_that_the_source_does_not_tell_is_said_to_be_unchecked():
    graded = grade(Gold("pneumothorax"), "left pneumothorax")
    assert graded.outcome == "right"
    assert "side" in graded.note


def test_an_accepted_synonym_is_right():
    assert grade(Gold("melanoma"), "a black mole").outcome != "right"
    assert grade(Gold("melanoma", ("black mole",)), "a black mole").outcome == "right"


def test_a_word_that_is_a_word_is_never_taken_for_a_typo():
    assert {"pneumonia", "ilium", "perineal", "peroneal"} <= known_words()
    assert grade(Gold("perineal mass"), "peroneal mass").outcome == "wrong"


@pytest.mark.parametrize(("point", "right"), [((0.5, 0.5), True), ((0.555, 0.5), True), ((0.7, 0.5), False)])
def test_a_click_is_right_in_the_grown_box(point, right: bool):
    assert (grade_point([(0.45, 0.45, 0.1, 0.1)], point).outcome == "right") is right


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("Think of an effusion.", False),
        ("A pleural effusion looks like this.", True),
        ("Look at the left.", True),
        ("Trachea first.", False),
    ],
)
def test_a_hint_that_names_the_key_or_its_slot_is_found(text: str, tells: bool):
    assert mentions(Gold("left pleural effusion"), text) is tells


@pytest.mark.parametrize(
    ("drawn", "outcome", "failed"),
    [
        ((0.4, 0.4, 0.2, 0.2), "right", ()),
        ((0.42, 0.42, 0.2, 0.2), "right", ()),
        ((0.1, 0.1, 0.8, 0.8), "wrong", ("size",)),
        ((0.48, 0.48, 0.04, 0.04), "wrong", ("size",)),
        ((0.0, 0.0, 0.2, 0.2), "wrong", ("place",)),
    ],
)
def test_a_drawn_box_has_to_fit(drawn, outcome: str, failed: tuple[str, ...]):
    graded = grade_box([(0.4, 0.4, 0.2, 0.2)], drawn)
    assert (graded.outcome, graded.failed) == (outcome, failed)
