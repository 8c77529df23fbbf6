"""MedVInT-TE's training: what is masked and learnt, that it learns, goes on where it stopped, and can be served."""

import csv
import json
import shutil

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from serving.medvint_te.answering import Answerer, Asked
from serving.medvint_te.beginning import minilm_folder
from serving.training.beginning import BackboneError
from serving.training.packing import IGNORE
from serving.training.plan import Item
from serving.training.recipe import RECIPES, RecipeError, load_recipe, parse_recipe
from serving.training.recipe_sections import Source
from serving.training.rows import Row, read_source
from serving.training.run import train
from serving.training.te import TrainedTE, begin_te
from serving.training.te_batch import MaskedCollator, MaskedEncoder
from tests.serving.te_models import SLOTS, save, tiny
from tests.serving.te_variants import TEXT, write_text_encoder
from tests.serving.variants import pictures

ANSWERS = {"Which plane?": ("axial", "coronal"), "Is it a lung?": ("yes", "no")}
RATES = {"projector": 3e-3, "encoder": 3e-3, "fresh": 3e-3}
RECIPE = {
    "stage": "masked-answers",
    "name": "tiny",
    "about": "A test.",
    "model": {"start": "{data}/te"},
    "data": {"train": [{"set": "own"}], "validate_on": [{"set": "own"}]},
    "rates": RATES,
    "steps": 80,
    "batch": 2,
    "precision": "fp32",
    "log_every": 1,
    "save_every": 80,
    "evaluate_every": 80,
}
SHORT = {"steps": 4, "save_every": 2, "evaluate_every": 4, "average": 0.5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tiny MedVInT-TE, and two pictures with two questions, each answered by the picture alone."""
    folder = tmp_path_factory.mktemp("data")
    save(tiny(), folder / "te")
    (folder / "own").mkdir()
    with (folder / "own" / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "question", "answer"])
        for number, picture in enumerate(pictures()):
            picture.save(folder / "own" / f"{number}.png")
            rows.writerows([f"{number}.png", question, answers[number]] for question, answers in ANSWERS.items())
    return folder


def recipe(**changes):
    return parse_recipe(yaml.safe_dump(RECIPE | changes), "test")


def curve(folder, name):
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record[name] for record in records if name in record]


def row(answer, question="Which plane?"):
    return Row("picture", f"Question: {question}The Answer is:", answer)


def batch(text, *rows):
    encode = MaskedEncoder(text)
    return MaskedCollator(text)([Item(torch.zeros(3, 64, 64), [encode(row) for row in rows], [False] * len(rows))])


@pytest.mark.parametrize("slots", [SLOTS, None])
def test_the_answer_is_masked_and_learnt_with_its_end(slots):
    text = tiny(answer_slots=slots).text
    made = batch(text, row("axial"), row("yes", "Is it a lung, or is it not?"))
    prompt, answer = text.blank("Which plane?"), text.answer("axial")
    mask, end = text.config.mask_token_id, text.config.end_token_id
    ids = [text.first_id, *prompt, *[mask] * (slots or len(answer)), end]
    assert made["input_ids"][0, : len(ids)].tolist() == ids
    learnt = [(place, token) for place, token in enumerate(made["labels"][0].tolist()) if token != IGNORE]
    begin = len(prompt) + 1
    expected = [(begin + place, token) for place, token in enumerate([*answer, end])]
    # The original learns its first token too.
    assert learnt == ([(0, text.first_id)] if slots is None else []) + expected
    assert made["images"].tolist() == [0, 0] and made["places"].tolist() == [0, 1]


def test_choices_that_are_shown_are_answered_by_letter(data, tmp_path):
    (tmp_path / "own").mkdir()
    lines = "image,question,answer,choices\n0.png,Which plane?,oblique,axial|oblique\n"
    (tmp_path / "own" / "train.csv").write_text(lines)
    (found,) = read_source(Source(set="own"), tmp_path, by_letter=True)
    text = tiny().text
    assert found.answer == "B" and found.closed
    assert text.tokens(found.prompt) == text.choice("Which plane?", (" A:axial ", " B:oblique "))


@pytest.mark.parametrize(
    ("made", "settings"),
    [
        (row("an answer of far too many words"), {}),
        (row("axial", "Which plane of all planes?"), {"answer_slots": None, "text_length": 12}),
        (row("\u200b"), {}),
    ],
)
def test_what_has_no_room_is_not_trained_on_and_does_not_break_validation(made, settings):
    text = tiny(**settings).text
    assert MaskedEncoder(text).fits(row("yes", "A?")) and not MaskedEncoder(text).fits(made)
    assert batch(text, made)["input_ids"].shape[1] <= text.longest


def test_an_answer_without_room_for_its_end_is_a_miss():
    answerer = tiny()
    text = answerer.text
    made = batch(text, row("a b c d e"))
    learnt = made["labels"][made["labels"] != IGNORE]
    assert len(learnt) == SLOTS + 1 and text.config.end_token_id not in learnt
    hits = TrainedTE(answerer.model).eval()(**made)["hits"]
    assert hits.tolist() == [[0]]


def test_it_learns_what_depends_on_the_picture_alone_and_is_served(data, tmp_path):
    folder = train(recipe(), data, tmp_path)
    # Of training, the loss has the queries' dropout in it.
    assert curve(folder, "own_loss")[0] < 0.4 < 4 < curve(folder, "loss")[0]
    assert curve(folder, "own_exact") == [100.0]
    # Without the picture at most one of two answers can be right.
    assert curve(folder, "own-blank_exact")[0] <= 50.0
    card = (folder / "model" / "README.md").read_text()
    assert "| own, train | 80 | 100.0 |" in card and "Text encoder: trained whole" in card
    answerer = Answerer.load(folder / "model")
    with Image.open(data / "own" / "1.png") as picture:
        (seen,) = answerer.look([picture])
    assert [a.text for a in answerer.answer([Asked(seen, question) for question in ANSWERS])] == ["coronal", "no"]


@pytest.mark.parametrize("lora", [None, {"rank": 2, "modules": ["query", "value"]}])
def test_it_goes_on_exactly_where_it_stopped(lora, data, tmp_path):
    short = recipe(**SHORT, lora=lora)
    whole = train(short, data, tmp_path / "whole")
    again = tmp_path / "again" / "tiny"
    again.mkdir(parents=True)
    for name in ("recipe.yaml", "log.jsonl"):
        shutil.copy(whole / name, again)
    shutil.copytree(whole / "checkpoint-2", again / "checkpoint-2")
    train(short, data, tmp_path / "again", resume=True)
    for name in ("loss", "grad_norm", "own_exact", "own-blank_loss"):
        assert curve(again, name) == curve(whole, name)
    ours, theirs = (load_file(folder / "trained.safetensors") for folder in (again, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(("lora_" in name) == (lora is not None) for name in ours if name.startswith("te.text_encoder."))
    served = load_file(whole / "model" / "model.safetensors")
    before = load_file(data / "te" / "model.safetensors")
    assert served.keys() == {name for name in before if "num_batches" not in name}
    moved = {name.split(".")[0] for name, tensor in served.items() if not torch.equal(tensor, before[name])}
    assert moved == {"projector", "text_encoder", "text_embed", "image_token", "fusion", "mlm_projection"}


def test_what_rests_is_not_moved_and_a_run_is_gone_on_from(data, tmp_path):
    first = train(recipe(steps=1, warmup=0, rates={"fresh": 1e-2}), data, tmp_path)
    assert not [name for name in load_file(first / "trained.safetensors") if ".text_encoder." in name]
    model, _ = begin_te(recipe(model={"start": str(first)}), data, tmp_path)
    before = load_file(data / "te" / "model.safetensors")
    after = model.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])}
    assert "fusion" in moved and not moved & {"vision_tower", "projector", "text_encoder"}


def test_a_bert_is_read_from_its_folder_and_stays_whole(tmp_path):
    folder = write_text_encoder(tmp_path / "bert", "bert")
    BertModel(BertConfig(**TEXT["bert"]), add_pooling_layer=False).save_pretrained(folder)
    write_text_encoder(tmp_path / "words", "bert")
    parts = {"encoder": str(folder), "tokenizer": str(tmp_path / "words"), "vision_config": {"layers": [1, 1, 1, 1]}}
    parts["projector_config"] = {"num_layers": 1}
    made = recipe(model=parts, rates=RATES | {"tower": 1e-3}, lora={"modules": ["query"]}, precision="bf16")
    model, _ = begin_te(made, tmp_path, tmp_path)
    assert len([name for name in model.state_dict() if "lora_A" in name]) == TEXT["bert"]["num_hidden_layers"]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    for missing in folder.glob("*.safetensors"):
        missing.unlink()
    with pytest.raises(BackboneError, match="no weights of a BERT"):
        begin_te(made, tmp_path, tmp_path)


def test_the_small_one_begins_with_the_demo_s_tower_and_minilm(tmp_path):
    model, tokenizer = begin_te(load_recipe("medvint-te-small"), tmp_path, tmp_path)
    assert model.config.answer_slots == 8 and model.config.mask_token_id == tokenizer.mask_token_id
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert str(minilm_folder()) not in model.config.to_json_string()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 1}, "learning_rate: Extra inputs"),
        ({"rates": {"llm": 1e-3}}, "rates.llm: Extra inputs"),
        ({"rates": {}}, "nothing is trained"),
        ({"model": {"start": "small", "tower": "x"}}, "brings all parts"),
        ({"model": {"encoder": "x", "vision_config": {"widht": 1}}}, "no field named widht"),
        ({"model": {"encoder": "x"}}, "random weights must be trained"),
        ({"model": {"encoder": "x", "tower": "y"}, "rates": {"fresh": 1e-3}}, "begin fresh"),
        ({"lora": {"rank": 8}, "rates": {"fresh": 1e-3}}, "needs a rate: `rates.encoder`"),
        ({"data": {"train": [{"set": "pmc-oa"}]}, "best": None}, "captions only"),
        ({"data": {"train": [{"set": "slake"}], "dialogue_share": 0.1}}, "dialogue_share: Extra inputs"),
    ],
)
def test_a_wrong_recipe_is_refused_and_the_setting_named(change, words):
    wrong = yaml.safe_load((RECIPES / "medvint-te-small.yaml").read_text()) | change
    with pytest.raises(RecipeError, match=words):
        parse_recipe(yaml.safe_dump(wrong), "mine.yaml")


def test_a_hostile_recipe_runs_nothing(tmp_path):
    text = f"stage: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{tmp_path}/ran]]"
    with pytest.raises(RecipeError, match="not YAML"):
        parse_recipe(text, "mine.yaml")
    assert not (tmp_path / "ran").exists()


def test_a_beginning_that_is_no_medvint_te_is_told(data, tmp_path):
    with pytest.raises(BackboneError, match="neither a finished run of a MedVInT-TE"):
        train(recipe(model={"start": "{data}/own"}), data, tmp_path)
    of_td = yaml.safe_load((RECIPES / "medvint-7b-slake.yaml").read_text()) | {"model": {"start": "{data}/te"}}
    with pytest.raises(BackboneError, match="nor a converted MedVInT folder"):
        train(parse_recipe(yaml.safe_dump(of_td), "td"), data, tmp_path)
