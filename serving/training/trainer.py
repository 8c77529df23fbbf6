"""transformers' Trainer, with rates by part, checkpoints of what is trained, a moving average, and the best weights.

A checkpoint holds what is trained and not the language model at rest; its last file to be written is the Trainer's own
state, so that a kill in the middle leaves one that is known to be broken, and the one before.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from serving.training.average import Average, set_weights
from serving.training.checkpoint import Log, save_whole
from serving.training.curves import write_curves
from serving.training.plan import Collate, Item, Plan
from serving.training.recipe import RunRecipe
from serving.training.trained import ABSENT, Trained, trained_parameters

WEIGHTS, AVERAGED = "model.safetensors", "average.safetensors"
BEST = "best.safetensors"
_STATE = "trainer_state.json"
_NOT_LOGGED = ("_runtime", "_per_second", "_time", "total_flos", "epoch")


class MedVInTTrainer(Trainer):
    """Trains a `Trained`."""

    def __init__(self, recipe: RunRecipe, average: Average | None, **kwargs: Any) -> None:
        self.recipe, self.average = recipe, average
        super().__init__(**kwargs)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return trained_parameters(self.model)  # type: ignore[arg-type]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            trained: Trained = model or self.model  # type: ignore[assignment]
            named = trained_parameters(trained)
            groups = [
                {
                    "params": [parameter for name, parameter in named.items() if trained.part_of(name) == part],
                    "lr": rate,
                    "weight_decay": getattr(self.recipe.weight_decay, part),
                }
                for part, rate in self.recipe.rates
                if rate is not None
            ]
            self.optimizer = torch.optim.AdamW(groups)
        return self.optimizer

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        # The Trainer calls this once for all sets, and from there once for each.
        average, self.average = self.average, None
        try:
            if average is None:
                return super().evaluate(*args, **kwargs)
            with average.in_place():
                return super().evaluate(*args, **kwargs)
        finally:
            self.average = average

    def kept(self) -> dict[str, torch.Tensor]:
        """The weights that count: the average where there is one."""
        return self.average.values if self.average else {name: p.detach() for name, p in self.parameters.items()}

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        better = super()._determine_best_metric(metrics, trial)
        if better and self.args.should_save:
            kept = {name: tensor.cpu().contiguous() for name, tensor in self.kept().items()}
            save_whole(Path(str(self.args.output_dir)) / BEST, lambda path: save_file(kept, path))
        return better

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, torch.Tensor] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        state = state_dict or self.model.state_dict()  # type: ignore[union-attr]
        save_file({name: state[name].contiguous() for name in self.parameters}, folder / WEIGHTS)
        if self.average:
            save_file({name: tensor.contiguous() for name, tensor in self.average.values.items()}, folder / AVERAGED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        set_weights(self.parameters, load_file(folder / WEIGHTS))
        if self.average:
            self.average.values = load_file(folder / AVERAGED)


class Progress(TrainerCallback):
    """Each record to `log.jsonl` and to the screen, with the time left; the curves after every evaluation."""

    def __init__(self, log: Log, folder: Path) -> None:
        self.log, self.folder = log, folder

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        said = {name: value for name, value in (logs or {}).items() if not name.endswith(_NOT_LOGGED)}
        # The Trainer's last word is a mean over this process' steps: it says nothing of the run.
        if state.is_world_process_zero and "train_loss" not in said:
            self.log.write(state.global_step, **{name.removeprefix("eval_"): value for name, value in said.items()})

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if state.is_world_process_zero:
            write_curves(self.folder)


def exact_match(prediction: EvalPrediction) -> dict[str, float]:
    """Of `Trained`'s hits, in percent: all, open and closed."""
    hits = np.asarray(prediction.predictions)
    hits = hits[hits != ABSENT]
    by_kind = {"exact": hits, "open": hits[hits < 2], "closed": hits[hits >= 2]}
    return {name: round(100 * float((values % 2).mean()), 1) for name, values in by_kind.items() if len(values)}


def make_trainer(
    recipe: RunRecipe,
    trained: Trained,
    plan: Plan,
    validation: dict[str, Dataset[Item]],
    collator: Collate,
    folder: Path,
    processes: int = 1,
) -> MedVInTTrainer:
    """A Trainer that goes through `plan` once."""
    on_gpu = torch.cuda.is_available()
    an_epoch = max(1, plan.an_epoch // (recipe.batch * recipe.accumulation(processes) * processes))
    # Captions are not told word for word: there the loss decides.
    measure = "loss" if recipe.stage == "caption" else "exact"
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=recipe.seed,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulation(processes),
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        bf16=recipe.precision == "bf16",
        tf32=True if on_gpu else None,
        use_cpu=not on_gpu,
        max_grad_norm=recipe.clip,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": recipe.lowest_rate},
        warmup_steps=recipe.warmup,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        save_steps=recipe.save_every,
        save_total_limit=2,
        eval_strategy="steps" if validation else "no",
        eval_steps=recipe.evaluate_every or an_epoch,
        metric_for_best_model=f"eval_{recipe.best}_{measure}" if recipe.best else None,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
        log_level="error",
    )
    average = Average(trained_parameters(trained), recipe.average) if recipe.average else None
    trainer = MedVInTTrainer(
        recipe,
        average,
        model=trained,
        args=arguments,
        train_dataset=plan,
        eval_dataset=validation or None,
        data_collator=collator,
        compute_metrics=exact_match,
        callbacks=[average] if average else [],
    )
    trainer.remove_callback(PrinterCallback)
    if recipe.patience:
        trainer.add_callback(EarlyStoppingCallback(recipe.patience))
    return trainer


def last_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """The newest checkpoint that is whole, and its step; broken ones are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    while found:
        checkpoint = found.pop()
        try:
            state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
            return checkpoint, int(state["global_step"])
        except (FileNotFoundError, ValueError, KeyError):
            typer.echo(f"{checkpoint.name} was left half written; going on from the one before.")
            shutil.rmtree(checkpoint)
    return None
