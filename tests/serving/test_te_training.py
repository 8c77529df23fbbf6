"""MedVInT-TE's training: what is masked and learned, that it learns, goes on where it stopped, and can be served."""

import random

import pytest
import torch
from PIL import Image

from serving.evaluation.benchmarks import VqaRow
from serving.medvint_te.answering import Answerer, Asked
from serving.medvint_te.modeling import IGNORE
from serving.training.te import TERecipe, TETrainer
from serving.training.te_batch import collate, example
from tests.serving.te_models import SLOTS, tiny
from tests.serving.variants import pictures

ANSWERS = {"Which plane?": ("axial", "coronal"), "Is it a lung?": ("yes", "no")}
RECIPE = TERecipe(
    sets={"own": 1.0}, images=2, questions=2, rates={"projector": 3e-3, "encoder": 3e-3, "fresh": 3e-3}, steps=80,
    crop=0.0, degrees=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two pictures, and of each question two answers."""
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for number, picture in enumerate(pictures()):
        picture.save(folder / f"{number}.png")
        for question, answers in ANSWERS.items():
            path = folder / f"{number}.png"
            made.append(VqaRow(f"{number}/{question}", "own", path, question, answers[number], False, "", ""))
    return {"own": made}


def trainer(rows, recipe=RECIPE):
    answerer = tiny()
    torch.manual_seed(1)
    return TETrainer(recipe, answerer.model, answerer.text.tokenizer, rows)


@pytest.mark.parametrize("slots", [SLOTS, None])
def test_the_answer_is_masked_and_learned_with_its_end(slots, rows):
    text = tiny(answer_slots=slots).text
    row = rows["own"][0]
    made = example(row, text)
    prompt, answer = text.blank(row.question), text.answer(row.answer)
    mask, end = text.config.mask_token_id, text.config.end_token_id
    assert made.ids == [text.first_id, *prompt, *[mask] * (slots or len(answer)), end]
    learned = [(place, token) for place, token in enumerate(made.labels) if token != IGNORE]
    begin = len(prompt) + 1
    expected = [(begin + place, token) for place, token in enumerate([*answer, end])]
    # The original learns its first token too.
    assert learned == ([(0, text.first_id)] if slots is None else []) + expected
    batch = collate([made, made], text)
    assert batch["labels"].shape == batch["input_ids"].shape == batch["attention_mask"].shape


def test_choices_that_are_shown_are_learned_by_letter(rows):
    text = tiny(answer_slots=None, text_length=64).text
    row = rows["own"][0]
    shown = VqaRow(
        *[getattr(row, name) for name in list(row.__dataclass_fields__)[:8]], (" A:axial ", " B:oblique "), 1, True
    )
    made = example(shown, text)
    assert [token for token in made.labels if token != IGNORE][1:-1] == text.answer("B")
    assert "oblique" in text.words(made.ids)


def test_what_has_no_room_is_left_out(rows):
    row = rows["own"][0]
    long = VqaRow("0", "own", row.image_path, "Which?", "an answer of far too many words", False, "", "")
    assert example(long, tiny().text) is None
    assert example(long, tiny(answer_slots=None, text_length=8).text) is None


def test_it_learns_what_depends_on_the_picture_alone_and_is_served(rows, tmp_path):
    training = trainer(rows)
    losses = [training.step() for _ in range(RECIPE.steps)]
    assert losses[-1] < 0.25 < losses[0]
    assert training.exact_match(rows["own"]) == 100
    # Without the picture at most one of two answers can be right.
    assert training.exact_match(rows["own"], blank=True) <= 50
    training.export(tmp_path / "model")
    answerer = Answerer.load(tmp_path / "model")
    with Image.open(rows["own"][-1].image_path) as picture:
        (seen,) = answerer.look([picture])
    assert [a.text for a in answerer.answer([Asked(seen, question) for question in ANSWERS])] == ["coronal", "no"]


@pytest.mark.parametrize("lora", [None, 2])
def test_it_goes_on_where_it_stopped(lora, rows, tmp_path):
    recipe = TERecipe(**RECIPE.__dict__ | {"steps": 4, "average": 0.5, "lora": lora})
    whole = trainer(rows, recipe)
    before = [whole.step(), whole.step()]
    whole.save(tmp_path / "checkpoint.pt")
    after = [whole.step(), whole.step()]
    torch.rand(3), random.random()
    again = trainer(rows, recipe)
    again.resume(tmp_path / "checkpoint.pt")
    assert [again.step(), again.step()] == pytest.approx(after, rel=1e-5)
    assert after != before
    for name, tensor in whole.trained.items():
        torch.testing.assert_close(again.trained[name], tensor)
        torch.testing.assert_close(again.average[name], whole.average[name])
    assert all(("lora_" in name) == (lora is not None) for name in whole.trained if name.startswith("text_encoder."))


def test_what_rests_is_not_moved(rows):
    recipe = TERecipe(**RECIPE.__dict__ | {"rates": {"fresh": 1e-2}})
    training = trainer(rows, recipe)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    training.step()
    moved = {name for name, t in training.model.state_dict().items() if not torch.equal(t, before[name])}
    assert moved
    assert not [name for name in moved if name.startswith(("vision_tower.", "projector.", "text_encoder."))]
