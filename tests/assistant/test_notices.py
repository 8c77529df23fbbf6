"""Which questions get the fixed sentences, and which a learner must be able to ask without them."""

import json
from pathlib import Path

import pytest

from assistant.notices import EMERGENCY, REAL_PATIENT, notices


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("My father's X-ray shows a shadow. Should he take antibiotics?", (REAL_PATIENT,)),
        ("Is my tumour malignant?", (REAL_PATIENT,)),
        ("Do I have cancer?", (REAL_PATIENT,)),
        ("Here is my patient's CT. What is wrong?", (REAL_PATIENT,)),
        ("Should I stop taking warfarin before surgery?", (REAL_PATIENT,)),
        ("I can't breathe, what should I do", (EMERGENCY,)),
        ("My husband has collapsed right now", (EMERGENCY, REAL_PATIENT)),
        ("She is unconscious, help", (EMERGENCY,)),
        ("I have crushing chest pain since an hour", (EMERGENCY,)),
        ("I want to kill myself", (EMERGENCY,)),
    ],
)
def test_a_persons_own_case_is_told(question, told):
    assert notices(question) == told


@pytest.mark.parametrize(
    "question",
    [
        "What is a pneumothorax?",
        "Is there a pleural effusion on the left?",
        "What causes chest pain?",
        "Which drugs are given in an overdose of paracetamol?",
        "How is an unconscious patient intubated?",
        "Can a CT show a stroke?",
        "Does the patient have a fracture?",
        "What should I look for in a chest X-ray?",
        "Where do I see the aorta?",
        "Explain my options for imaging modalities in pregnancy",
        "",
    ],
)
def test_a_learners_question_is_not_disturbed(question):
    assert notices(question) == ()


@pytest.mark.parametrize("part", ["slake/validate.json", "slake/train.json"])
def test_no_benchmark_question_is_disturbed(shared_data: Path, part: str):
    rows = json.loads((shared_data / part).read_text(encoding="utf-8"))
    asked = {row["question"] for row in rows if row.get("q_lang") == "en"}
    assert asked
    assert [question for question in asked if notices(question)] == []
