"""Free answers from one pass and step by step, and choices by their likelihood."""

import math

import pytest
import torch

from serving.choices import ChoiceError
from serving.medvint_te.answering import MOST_TOKENS, Answerer, Asked
from serving.medvint_te.text import QuestionTooLongError
from tests.serving.te_models import SLOTS, tiny
from tests.serving.variants import pictures

HOSTILE = ["[MASK]", "[SEP] [CLS]", "</s><s>", "[PAD]", "\x00\x1b[2J\x7f", "[UNK][MASK]"]


@pytest.fixture(scope="module")
def answerer():
    return tiny()


@pytest.fixture(scope="module")
def original_kind():
    """No places of its own: the length of an answer has to be tried, choices are letters."""
    return tiny(answer_slots=None, text_length=64, choice_by="letter")


@pytest.fixture(scope="module")
def seen(answerer):
    return answerer.look(pictures())


@torch.no_grad()
def logprobs(answerer: Answerer, features, prompt, slots):
    """By the model itself, at the answer's places and the end: [slots + 1, vocabulary]."""
    ids, mask = answerer.text.batch([answerer.text.masked(prompt, slots)])
    found = answerer.model(ids, mask, image_features=features[None]).logits[0].log_softmax(-1)
    return found[len(prompt) + 1 : len(prompt) + 2 + slots]


def test_one_pass_takes_the_best_token_of_every_place(answerer, seen):
    (found,) = answerer.answer([Asked(seen[0], "Which plane is this?")])
    told = logprobs(answerer, seen[0], answerer.text.blank("Which plane is this?"), SLOTS)[:SLOTS]
    best = told.max(-1)
    end = answerer.config.end_token_id
    count = best.indices.tolist().index(end) if end in best.indices else SLOTS
    assert list(found.tokens) == best.indices[:count].tolist()
    assert found.logprobs == pytest.approx(best.values[: count + 1].tolist(), abs=1e-4)


def test_a_batch_answers_as_each_alone_and_the_image_counts(answerer, seen):
    asked = [Asked(seen[n], question) for question in ("Why?", "Which plane is shown in this picture?") for n in (0, 1)]
    together = answerer.answer(asked)
    for one, found in zip(asked, together, strict=True):
        (alone,) = answerer.answer([one])
        assert alone.tokens == found.tokens
        assert alone.logprobs == pytest.approx(found.logprobs, abs=1e-3)
    assert together[0].logprobs != pytest.approx(together[1].logprobs, abs=1e-2)


def test_step_by_step_fills_the_surest_place_first_and_reads_it(answerer, seen):
    question = "What is it?"
    prompt = answerer.text.blank(question)
    (found,) = answerer.answer([Asked(seen[0], question)], length=2, rounds=2)
    first = logprobs(answerer, seen[0], prompt, 2)[:2].max(-1)
    place = int(first.values.argmax())
    ids = answerer.text.masked(prompt, 2)
    ids[len(prompt) + 1 + place] = int(first.indices[place])
    rows, mask = answerer.text.batch([ids])
    with torch.no_grad():
        then = answerer.model(rows, mask, image_features=seen[:1]).logits[0].log_softmax(-1)
    expected = [0, 0]
    expected[place] = int(first.indices[place])
    expected[1 - place] = int(then[len(prompt) + 2 - place].argmax())
    assert list(found.tokens) == expected


def test_of_every_length_the_one_with_the_most_probable_tokens(original_kind, seen):
    (found,) = original_kind.answer([Asked(seen[0], "Which plane is this?")])
    each = [original_kind.answer([Asked(seen[0], "Which plane is this?")], length=n + 1)[0] for n in range(MOST_TOKENS)]
    assert [len(answer.tokens) for answer in each] == list(range(1, MOST_TOKENS + 1))
    assert found.tokens == max(each, key=lambda answer: answer.mean_logprob).tokens


def test_choices_by_the_likelihood_of_their_words(answerer, seen):
    choices = ["axial", "the left lung"]
    found = answerer.choose(Asked(seen[0], "Which?"), choices)
    told = logprobs(answerer, seen[0], answerer.text.blank("Which?"), SLOTS)
    for choice, text in zip(found, choices, strict=True):
        ids = [*answerer.text.answer(text), answerer.config.end_token_id]
        expected = sum(told[place, token].item() for place, token in enumerate(ids))
        assert choice.logprob == pytest.approx(expected, abs=1e-3)
    assert sum(choice.probability for choice in found) == pytest.approx(1)
    ratio = found[0].probability / found[1].probability
    assert math.log(ratio) == pytest.approx(found[0].logprob - found[1].logprob, abs=1e-3)


def test_choices_by_letter_are_read_in_the_prompt(original_kind, seen):
    asked = Asked(seen[0], "Which?")
    found = original_kind.choose(asked, ["axial", "coronal"])
    prompt = original_kind.text.choice("Which?", [" A:axial ", " B:coronal "])
    told = logprobs(original_kind, seen[0], prompt, 1)
    for choice in found:
        (token,) = original_kind.text.answer(choice.letter)
        assert choice.logprob == pytest.approx(told[0, token].item(), abs=1e-4)
    others = original_kind.choose(asked, ["sagittal", "coronal"])
    assert others[1].logprob != pytest.approx(found[1].logprob, abs=1e-6)
    with pytest.raises(ChoiceError):
        original_kind.choose(asked, [])


@pytest.mark.parametrize("text", HOSTILE)
def test_text_cannot_become_structure(text, answerer):
    special = set(answerer.text.tokenizer.all_special_ids) - {answerer.text.tokenizer.unk_token_id}
    assert not special & set(answerer.text.blank(text))
    assert not special & set(answerer.text.choice("x", [f" A:{text} "]))


def test_a_question_that_is_too_long_is_refused(original_kind, seen):
    with pytest.raises(QuestionTooLongError, match="64"):
        original_kind.answer([Asked(seen[0], "lung " * 80)])
