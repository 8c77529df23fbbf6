"""Training learns, and a killed run goes on as if nothing had been."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from serving.checkpoints import convert
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.training.average import WeightsError
from serving.training.beginning import begin
from serving.training.packing_cost import unpacked
from serving.training.plan import Collator
from serving.training.recipe import RecipeError, parse_recipe
from serving.training.run import read_data, train
from serving.training.trained import TrainedMedVInT, choose_trained
from serving.training.trainer import last_checkpoint
from tests.serving import training_data

RECIPE = {
    "stage": "vqa",
    "name": "tiny",
    "about": "A test.",
    "model": {
        "llm": "{data}/PMC_LLAMA_7B",
        "tower": "{data}/pmc-clip/checkpoint.pt",
        "vision_config": training_data.VISION,
        "projector_config": training_data.QUERIES | {"patch_norm": True, "output_norm": True},
    },
    "data": {"train": [{"set": "own"}], "validate_on": [{"set": "own"}]},
    # At 3e-3 the language model settles on what each question is answered most often, and stays there.
    "rates": {"tower": 5e-4, "projector": 1e-3, "llm": 2e-3},
    "steps": 140,
    "batch": 8,
    "warmup": 5,
    "precision": "fp32",
    "log_every": 1,
    "save_every": 140,
    "evaluate_every": 140,
}
LORA = {
    "lora": {"rank": 4, "dropout": 0.1},
    "text_tie": {"every": 2, "texts": 1},
    "rates": {"projector": 3e-3, "llm": 3e-3},
    "average": 0.9,
    "batch": 2,
    "rows_a_step": 4,
    "steps": 24,
    "save_every": 5,
    "evaluate_every": 12,
    "best": "own",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write(tmp_path_factory.mktemp("data"))


def recipe(**changes: object):
    return parse_recipe(yaml.safe_dump(RECIPE | changes), "test")


def curve(folder: Path, name: str = "loss") -> list[float]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record[name] for record in records if name in record]


def test_32_rows_are_learnt_by_heart_and_the_black_image_does_not_help(data, tmp_path):
    folder = train(recipe(), data, tmp_path)
    losses = curve(folder)
    assert losses[-1] < 0.1 < 1 < losses[0]
    assert curve(folder, "own_exact")[-1] == 100.0
    assert curve(folder, "own-blank_exact")[-1] < 50.0
    card = (folder / "model" / "README.md").read_text()
    assert "| own, train | 140 | 100.0 |" in card and "Not for diagnosis" in card


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(**LORA), data, tmp_path_factory.mktemp("whole"))


def test_loss_falls_with_lora_and_the_best_average_is_kept(uninterrupted):
    losses = curve(uninterrupted)
    assert len(losses) == 24
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    trained, best = (load_file(uninterrupted / name) for name in ("trained.safetensors", "best.safetensors"))
    assert all(torch.equal(trained[name], best[name]) for name in trained | best)
    assert (uninterrupted / "curves.svg").read_text().count("<g ") >= 5


def test_a_killed_run_goes_on_with_the_same_curve_and_the_same_weights(data, uninterrupted, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(RECIPE | LORA))
    folder, log = tmp_path / "tiny", tmp_path / "tiny" / "log.jsonl"
    command = [sys.executable, "-m", "serving.training.run", str(file), "--data", str(data), "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not (log.exists() and '"step": 8' in log.read_text()):
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "trained.safetensors").exists()
    with pytest.raises(RecipeError, match="--resume"):
        train(recipe(**LORA), data, tmp_path)
    with pytest.raises(RecipeError, match="another recipe"):
        train(recipe(**LORA | {"seed": 2}), data, tmp_path, resume=True)

    train(recipe(**LORA), data, tmp_path, resume=True)
    for name in ("loss", "grad_norm", "learning_rate", "own_exact", "own_loss", "own-blank_loss"):
        assert curve(folder, name) == curve(uninterrupted, name)
    again, whole = (load_file(path / "trained.safetensors") for path in (folder, uninterrupted))
    assert again.keys() == whole.keys() and all(torch.equal(again[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_under_accelerate_take_the_steps_of_one(data, tmp_path):
    same = LORA | {"lora": {"rank": 4, "dropout": 0.0}, "steps": 6, "evaluate_every": 6, "batch": 1}
    one = train(recipe(**same), data, tmp_path / "one")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(RECIPE | same))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    run = ["-m", "serving.training.run", str(file), "--data", str(data), "--out", str(tmp_path / "two")]
    subprocess.run([*launch, "--num_machines", "1", *run], check=True, stdout=subprocess.DEVNULL)
    two = tmp_path / "two" / "tiny"
    for name in ("loss", "own_loss", "own_exact"):
        assert curve(two, name) == pytest.approx(curve(one, name), rel=1e-3)
    assert (two / "model" / "model.safetensors").is_file()


def test_training_stops_when_validation_no_longer_gets_better(data, tmp_path):
    # At this rate nothing is learnt: the first evaluation stays the best.
    rates = {"rates": {"projector": 1e-9}, "steps": 12, "batch": 1, "save_every": 2, "evaluate_every": 2}
    folder = train(recipe(**rates, best="own", patience=2), data, tmp_path)
    assert len(curve(folder)) == 6


def test_packed_questions_cost_one_prefix_and_give_the_loss_of_each_by_itself(data):
    read = recipe(data={"train": [{"set": "own"}]})
    begun = begin(read, data, data)
    trained = TrainedMedVInT(begun.medvint).eval()
    choose_trained(trained, read)
    plan, _ = read_data(read, begun, data)
    config = begun.medvint.config
    collate = Collator(config.projector.num_image_tokens, config.image_token_id)
    items = [plan[0], plan[1]]
    grads = []
    for rows in (items, unpacked(items)):
        trained.zero_grad()
        trained(**collate(rows))["loss"].backward()
        grads.append(torch.cat([p.grad.flatten() for p in trained.parameters() if p.grad is not None]))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-5)
    assert len(collate(unpacked(items))["pixel_values"]) == 4 * len(collate(items)["pixel_values"])


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    for step, state in ((5, '{"global_step": 5}'), (10, '{"glob'), (15, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == (tmp_path / "checkpoint-5", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


@torch.no_grad()
def test_original_names_and_hugging_face_form_are_the_trained_model(data, uninterrupted, tmp_path):
    read = recipe(**LORA)
    begun = begin(read, data, uninterrupted.parent)
    trained = TrainedMedVInT(begun.medvint)
    choose_trained(trained, read)
    trained.load_state_dict(load_file(uninterrupted / "trained.safetensors"), strict=False)
    made = convert(uninterrupted / "original", data / "PMC_LLAMA_7B", tmp_path / "again")
    plan, _ = read_data(read, begun, data)
    tokens = torch.tensor([plan[0].segments[0].tokens])
    ids = torch.cat([torch.full((1, 4), begun.medvint.config.image_token_id), tokens], 1)
    arguments = {"input_ids": ids, "pixel_values": plan[0].pixels[None]}
    wanted = begun.medvint.eval()(**arguments).logits
    for folder in (uninterrupted / "model", made):
        assert AutoTokenizer.from_pretrained(folder).eos_token_id == 1
        served = MedVInTForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        torch.testing.assert_close(served(**arguments).logits, wanted, rtol=1e-4, atol=1e-4)


def test_a_stage_begins_where_another_ended(data, uninterrupted):
    out = uninterrupted.parent
    start = {"model": {"start": "{out}/tiny"}, "name": "next", "steps": 1, "best": None, "warmup": 0}
    with pytest.raises(RecipeError, match="other LoRA"):
        train(recipe(**LORA | start | {"lora": {"rank": 8}}), data, out)
    folder = train(recipe(**LORA | start), data, out)
    before, after = (load_file(path / "trained.safetensors") for path in (uninterrupted, folder))
    moved = [(after[name] - before[name]).abs().max().item() for name in before]
    assert 0 < max(moved) < 0.01
    assert len(curve(folder, "own_exact")) == 1, "the last step is measured, whatever `evaluate_every` says"
    save_file({"medvint.projector.other": torch.zeros(1)}, folder / "checkpoint-1" / "model.safetensors")
    with pytest.raises(WeightsError, match="other parts"):
        train(recipe(**LORA | start), data, out, resume=True)
