"""Recipes are read strictly, and every shipped one runs in its smallest form, stage after stage."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel
from typer.testing import CliRunner

from assistant.cli import app
from serving.decoders import open_decoder
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint_te.answering import Answerer
from serving.original_keys import our_name
from serving.training.beginning import BackboneError, load_tower
from serving.training.card import make_card
from serving.training.plan import Encoder, Group, Pictures, Plan, group_rows
from serving.training.recipe import RECIPES, RecipeError, dump_recipe, load_recipe, parse_recipe, recipe_names
from serving.training.recipe_sections import Source
from serving.training.results import original_name
from serving.training.rows import Row, read_source
from serving.training.run import train
from tests.serving import te_models, training_data, variants

IN_ORDER = [
    "demo-tower", "demo-projector", "demo-vqa",
    "medvint-7b-caption", "medvint-7b-choice", "medvint-7b-blank", "medvint-7b-slake", "medvint-7b-vqa-rad",
    "medvint-te-small", "medvint-te-choice", "medvint-te-blank", "medvint-te-slake", "medvint-te-vqa-rad",
]  # fmt: skip
PARTS = {"vision_config": training_data.VISION, "projector_config": training_data.QUERIES}
MASKED_PARTS = {
    "vision_config": training_data.VISION | {"layers": [1, 1, 1, 1]},
    "projector_config": {"num_queries": 4, "num_layers": 1},
    "embed_dim": 64,
}
DEMO_QUERIES = training_data.QUERIES | {
    "hidden_size": 32, "patch_norm": True, "position": "sine2d", "output_norm": True
}  # fmt: skip


def smallest(name: str):
    """A shipped recipe with tiny parts and two steps; everything else as it is."""
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    match recipe["stage"]:
        case "tower":
            phases = [{"steps": 1, "image_size": size, "answer_weight": 0.3} for size in (32, 64)]
            recipe |= {"phases": phases, "batch": 2, "vision_config": training_data.VISION}
        case "projector":
            recipe |= PARTS | {"projector_config": DEMO_QUERIES, "hidden_size": 64, "steps": 2, "batch": 2}
        case _:
            if name == "medvint-te-small":
                recipe["model"] = {"start": "{data}/te"}
            elif "encoder" in recipe["model"]:
                recipe["model"] |= MASKED_PARTS
            elif name == "demo-vqa":
                recipe["model"] |= PARTS | {"llm": "{data}/PMC_LLAMA_7B", "projector_config": DEMO_QUERIES}
            elif "llm" in recipe["model"]:
                recipe["model"] |= PARTS
            recipe.pop("epochs", None)
            recipe |= {"steps": 2, "batch": 1, "evaluate_every": 2, "save_every": 2, "log_every": 1, "workers": 0}
            if "rows_a_step" in recipe:
                recipe["rows_a_step"] = 2
    return parse_recipe(yaml.safe_dump(recipe), name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = training_data.write(tmp_path_factory.mktemp("data"))
    te_models.save(te_models.tiny(), folder / "te")
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


def test_every_shipped_recipe_is_valid_and_is_tried_below():
    assert sorted(IN_ORDER) == recipe_names()
    for name in IN_ORDER:
        recipe = load_recipe(name)
        assert recipe.name == name
        assert parse_recipe(dump_recipe(recipe), name) == recipe
    assert load_recipe("vqa") == load_recipe("demo-vqa")


@pytest.mark.parametrize("name", IN_ORDER)
def test_the_smallest_form_of_a_recipe_runs(name, data, out):
    recipe = smallest(name)
    folder = train(recipe, data, out)
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 2 and all(record.get("loss", 1) > 0 for record in records)
    if recipe.stage in ("tower", "projector"):
        train(recipe, data, out, resume=True)
        return
    if recipe.stage == "masked-answers":
        served = Answerer.load(folder / "model")
        assert (served.config.answer_slots is not None) == (name == "medvint-te-small")
        assert "Text encoder" in (folder / "model" / "README.md").read_text()
        return
    assert all(our_name(key) for key in load_file(folder / "original" / "model.safetensors"))
    served = MedVInTForConditionalGeneration.from_pretrained(folder / "model")
    assert served.config.projector.kind == "transformer" and (folder / "model" / "README.md").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 1}, "learning_rate: Extra inputs"),
        ({"data": {"train": [{"set": "slake", "shares": 1}]}}, "shares: Extra inputs"),
        ({"data": {"train": [{"set": "imagenet"}]}}, "data.train.0.set"),
        ({"model": {"llm": "x", "tower": "y", "vision_config": {"widht": 1}}}, "no field named widht"),
        ({"model": {"llm": "x", "start": "y"}}, "either with `start`"),
        ({"model": {"llm": "x"}, "rates": {"projector": 1e-3, "llm": 1e-3}}, "random weights must be trained"),
        ({"epochs": 3}, "either `steps` or `epochs`"),
        ({"lora": None}, "it needs `lora`"),
        ({"best": "vqa"}, "one of the sets of `validate_on`: slake, vqa-rad"),
        ({"batch": 4, "rows_a_step": 6}, "not a multiple"),
        ({"stage": "pretrain"}, "stage"),
        ({"rates": {"projector": -1}}, "rates.projector"),
    ],
)
def test_a_wrong_recipe_is_refused_and_the_setting_named(change, words):
    recipe = yaml.safe_load((RECIPES / "demo-vqa.yaml").read_text()) | change
    with pytest.raises(RecipeError, match=words):
        parse_recipe(yaml.safe_dump(recipe), "mine.yaml")


def test_what_is_missing_is_named(data, out):
    with pytest.raises(RecipeError, match=r"no recipe nothing.yaml.*medvint-7b-caption"):
        load_recipe("nothing.yaml")
    with pytest.raises(RecipeError, match="neither a finished run nor a converted"):
        train(smallest("medvint-7b-choice").model_copy(update={"name": "other"}), data, out / "empty")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nonsense"], 2, "none of tower, projector, vqa"),
        (["vqa", "--data", "nowhere"], 1, "nowhere does not exist"),
        (["mine.yaml"], 1, "no recipe mine.yaml"),
        (["projector"], 1, "no image tower"),
        (["medvint-7b-slake"], 1, "neither a finished run"),
    ],
)
def test_the_command_answers_mistakes_in_words(arguments, status, words, tmp_path):
    result = CliRunner().invoke(app, ["train", *arguments, "--out", str(tmp_path)])
    assert result.exit_code == status
    assert words in " ".join(result.output.replace("│", " ").split())


VARIANT_NAMES = [
    "transformer-pmc-clip-8",
    "mlp-clip",
    pytest.param("transformer-clip-12", marks=pytest.mark.slow),
    pytest.param("mlp-pmc-clip", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", VARIANT_NAMES)
def test_every_variant_is_trained_further_from_its_converted_folder(name, variant_model, data, tmp_path):
    recipe = smallest("medvint-7b-slake").model_dump(exclude_unset=True)
    recipe |= {"model": {"start": str(variant_model(name))}, "steps": 1, "name": name, "best": None, "patience": None}
    recipe |= {"rates": {"tower": 0.01, "projector": 0.01, "llm": 0.01}, "warmup": 0}
    recipe["data"] |= {"validate_on": []}
    folder = train(parse_recipe(yaml.safe_dump(json.loads(json.dumps(recipe))), name), data, tmp_path)
    before = MedVInTForConditionalGeneration.from_pretrained(variant_model(name), dtype=torch.float32).state_dict()
    after = MedVInTForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32).state_dict()
    assert before.keys() == after.keys()
    moved = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"vision_tower", "projector", "language_model"}


def test_a_clip_tower_is_taken_from_its_folder_at_another_image_size(tmp_path):
    small = CLIPVisionConfig(
        image_size=64, patch_size=32, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    clip = CLIPVisionModel(small).eval()
    clip.save_pretrained(tmp_path)
    vision = {"kind": "clip", "image_size": 128, "patch_size": 32, "hidden_size": 32, "intermediate_size": 32}
    vision |= {"num_attention_heads": 2}
    config = MedVInTConfig(vision_config=vision | {"num_hidden_layers": 1})
    tower = load_tower(str(tmp_path), config)
    loaded = tower.vision_model.state_dict()
    same = [name for name, tensor in clip.state_dict().items() if torch.equal(tensor, loaded[name])]
    assert len(same) == len(loaded) - 1
    positions = "embeddings.position_embedding.weight"
    torch.testing.assert_close(
        loaded[positions][1:].mean(0), clip.state_dict()[positions][1:].mean(0), atol=0.01, rtol=0
    )
    with pytest.raises(BackboneError, match="does not fit"):
        load_tower(str(tmp_path), MedVInTConfig(vision_config=vision | {"num_hidden_layers": 2}))


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_original_names_lead_back(name):
    config = variants.VARIANTS[name].config
    with torch.device("meta"):
        keys = [key for key in MedVInTForConditionalGeneration(config).state_dict() if "num_batches" not in key]
    assert [our_name(original_name(key)) for key in keys] == keys


def test_texts_are_the_originals(data):
    choice = read_source(Source(set="pmc-vqa-choice", part="train"), data)[0]
    assert choice.prompt == "Question: Which organ?Choices: A:lung  B:liver  C:RNA: two  D:bone The Answer is:"
    assert choice.answer == " B:liver "
    blank = read_source(Source(set="pmc-vqa-blank", part="held-out"), data)[0]
    assert (blank.prompt, blank.answer) == ("Question: Which organ?The Answer is:", " liver ")
    assert read_source(Source(set="pmc-oa", split="all"), data)[0].prompt == ""
    parts = [len(read_source(Source(set="pmc-oa", split="all", part=part), data)) for part in ("train", "held-out")]
    assert parts == [4, 2]


def test_tokens_are_prompt_answer_and_stop_token_and_only_the_last_two_are_learnt(data):
    tokenizer = open_decoder(data / "PMC_LLAMA_7B").tokenizer(1)
    encode = Encoder(tokenizer, stop_token_id=1, max_tokens=20)
    segment = encode(Row(Path("x"), "Question: Which?The Answer is:", "liver"))
    assert segment.tokens[0] == tokenizer.bos_token_id and segment.tokens[-1] == 1
    assert "liver" in tokenizer.decode(segment.tokens[segment.learned_from : -1])
    long = encode(Row(Path("x"), "word " * 40, "liver"))
    assert len(long.tokens) == 20 and long.learned_from == 19


def test_every_row_of_a_plan_follows_from_the_seed(data):
    rows = read_source(Source(set="own"), data)
    tokenizer = open_decoder(data / "PMC_LLAMA_7B").tokenizer(1)

    def plan(seed: int) -> Plan:
        groups: list[Group] = group_rows(rows, packed=True, most=3)
        return Plan([(groups, 0.5)], Encoder(tokenizer, 1), Pictures(32), batch=2, seed=seed, epochs=3)

    one, again, other = plan(1), plan(1), plan(2)
    assert len(one) == 3 * 4
    assert [one[n].segments for n in (0, 5, 11)] == [again[n].segments for n in (11, 5, 0)][::-1]
    assert [one[n].segments for n in range(12)] != [other[n].segments for n in range(12)]


def test_the_card_shows_licences_and_controls(tmp_path):
    report = {
        "schema": "medvint-evaluation/2", "benchmark": "slake", "file": "validate.json", "split": "validate", "n": 10,
        "model": {"model": "x"}, "instruction": "", "failures": {"image": 0}, "question_only": None, "calibration": {},
        "conditions": {"image": {"all": {"accuracy": {"value": 61.5, "low": 60, "high": 63}}}},
        "controls": {"blank": {"accuracy_lost": {"value": 20.5, "low": 19, "high": 22}, "in_words": "looks: 20.5"}},
    }  # fmt: skip
    log = [{"step": 550, "seconds": 60, "slake_exact": 40.0}, {"step": 1100, "seconds": 90, "slake_exact": 50.0}]
    card = make_card(load_recipe("demo-vqa"), log, [report])
    for words in ("61.5 (60.0 to 63.0)", "looks: 20.5", "CC BY 4.0", "CC0 1.0", "| 1100 | 50.0 |", "rank 8, alpha 32"):
        assert words in card
