"""Words of content, and follow-up questions made whole."""

import pytest

from retrieval.condense import condense, is_follow_up
from retrieval.words import content_words, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T2-weighted MRI of L5-S1", ["t2-weighted", "t2", "weighted", "mri", "l5-s1", "l5", "s1"]),
        ("The lung, and the LUNG.", ["lung", "lung"]),
        ("", []),
        ("... of the ...", []),
        ("肺炎 und Ödem", ["肺炎", "und", "ödem"]),
    ],
)
def test_tokens(text, expected):
    assert tokens(text) == expected


def test_content_words_say_what_a_question_is_about():
    assert content_words("Is there a left-sided pneumothorax in this image?") == ["left-sided", "pneumothorax"]
    assert content_words("What does this picture show?") == []


@pytest.mark.parametrize(
    ("question", "earlier", "expected"),
    [
        ("What causes it?", ["What is a pneumothorax?"], "pneumothorax causes"),
        ("And on the left?", ["Is there an effusion on the right?"], "effusion left"),
        ("And on MRI?", ["What does a glioma look like on CT?"], "glioma MRI"),
        ("Why?", ["What is a stroke?"], "stroke"),
        ("What about children?", ["What is a stroke?"], "stroke children"),
        ("Is it dangerous?", ["What is a stroke?"], "stroke dangerous"),
        ("Why does this happen?", ["What is a stroke?"], "stroke happen"),
        # Over several follow-ups, the topic stays the last that was named whole.
        ("How is it treated?", ["What is a cyst?", "What is a stroke?", "What causes it?"], "stroke causes treated"),
        # Whole questions stay as they are.
        ("What is a stroke?", ["What is a pneumothorax?"], "What is a stroke?"),
        ("What does this image show?", ["What is a pneumothorax?"], "What does this image show?"),
        ("What is this?", ["What is a pneumothorax?"], "What is this?"),
        ("Is this a CT?", ["What is a pneumothorax?"], "Is this a CT?"),
        ("Is the heart enlarged in this radiograph?", ["What is a cyst?"], "Is the heart enlarged in this radiograph?"),
        # Nothing to go on from.
        ("What causes it?", [], "causes"),
        ("Why?", [], "Why?"),
        ("", ["What is a stroke?"], ""),
    ],
)
def test_a_follow_up_takes_the_words_it_goes_on_from(question, earlier, expected):
    assert condense(question, earlier) == expected


def test_a_long_dialogue_keeps_the_newest_words():
    earlier = ["What is a pneumothorax?"] + [f"And what about number{n}?" for n in range(40)]
    assert condense("And the last?", earlier).split()[-2:] == ["number39", "last"]
    assert len(condense("And the last?", earlier).split()) <= 12


@pytest.mark.parametrize("question", ["x" * 5000, "\x00?", "and and and", "It", "😀", "' OR 1=1"])
def test_odd_questions_do_no_harm(question):
    assert isinstance(condense(question, ["What is a stroke?", ""]), str)
    assert isinstance(is_follow_up(question), bool)
