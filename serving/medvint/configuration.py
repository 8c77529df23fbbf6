"""One configuration for every MedVInT-TD: the 7B original and the demo are two values of it.

MedVInTConfig()                                         # the paper's: PMC-CLIP, 32 queries, LLaMA-7B
MedVInTConfig(projector_config={"kind": "mlp"})         # its MLP variant
MedVInTConfig.from_pretrained("data/models/demo")       # what `medvint convert` wrote
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, LlamaConfig, PreTrainedConfig


@dataclass(frozen=True)
class VisionConfig:
    """The image tower.

    `pmc_clip`: CLIP's ModifiedResNet with `layers` blocks a stage and stem width `width`.
    `clip`: a CLIP vision transformer (`hidden_size`, `num_hidden_layers`, `patch_size` ...).
    """

    kind: Literal["pmc_clip", "clip"] = "pmc_clip"
    image_size: int = 512
    layers: tuple[int, ...] = (3, 4, 6)
    width: int = 64
    patch_size: int = 32
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12

    @property
    def out_channels(self) -> int:
        """Width of a patch feature."""
        if self.kind == "clip":
            return self.hidden_size
        return self.width * 4 * 2 ** (len(self.layers) - 1)


@dataclass(frozen=True)
class ProjectorConfig:
    """From patch features to visual embeddings.

    The original's values are the defaults. `hidden_size` None means the tower's width;
    `patch_norm`, `position` and `output_norm` are additions that the demo uses: a LayerNorm on the
    patches, a fixed sine code of their place, and a norm that brings the visual embeddings to the
    scale of the word embeddings.
    """

    kind: Literal["transformer", "mlp"] = "transformer"
    num_queries: int = 32
    num_layers: int = 12
    num_heads: int = 8
    hidden_size: int | None = None
    intermediate_size: int = 1024
    patch_norm: bool = False
    position: Literal["none", "sine2d"] = "none"
    output_norm: bool = False

    @property
    def num_image_tokens(self) -> int:
        """Visual embeddings of one image."""
        return self.num_queries if self.kind == "transformer" else 1


@strict
class MedVInTConfig(PreTrainedConfig):
    """Configuration of MedVInT-TD (Zhang et al., arXiv 2305.10415).

    `image_token_id` stands for a visual embedding in `input_ids`; it is the first id past the
    decoder's vocabulary, so that no text can contain it. `stop_token_id` ends every training
    sequence: 1 in the original (LLaMA's `<s>`).
    """

    model_type = "medvint"
    sub_configs = {"text_config": LlamaConfig}  # noqa: RUF012

    vision_config: dict | None = None
    projector_config: dict | None = None
    text_config: Any = None
    image_token_id: int | None = None
    stop_token_id: int = 1
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = asdict(VisionConfig(**known_fields(VisionConfig, self.vision_config)))
        self.vision_config["layers"] = list(self.vision_config["layers"])
        self.projector_config = asdict(ProjectorConfig(**known_fields(ProjectorConfig, self.projector_config)))
        if self.text_config is None:
            self.text_config = LlamaConfig()
        elif isinstance(self.text_config, dict):
            fields = {key: value for key, value in self.text_config.items() if key != "model_type"}
            self.text_config = LlamaConfig(**fields)
        self.text_config.architectures = ["LlamaForCausalLM"]
        if self.image_token_id is None:
            self.image_token_id = self.text_config.vocab_size
        self.tie_word_embeddings = self.text_config.tie_word_embeddings
        super().__post_init__(**kwargs)

    @property
    def vision(self) -> VisionConfig:
        return VisionConfig(**known_fields(VisionConfig, self.vision_config))

    @property
    def projector(self) -> ProjectorConfig:
        return ProjectorConfig(**known_fields(ProjectorConfig, self.projector_config))


def known_fields(kind: type, values: dict | None) -> dict:
    """The values of one of the parts, read strictly.

    Raises:
        ValueError: a field that the part has not.
    """
    values = dict(values or {})
    unknown = values.keys() - kind.__dataclass_fields__.keys()  # type: ignore[attr-defined]
    if unknown:
        raise ValueError(f"{kind.__name__} has no field named {', '.join(sorted(unknown))}.")
    if "layers" in values:
        values["layers"] = tuple(values["layers"])
    return values


AutoConfig.register("medvint", MedVInTConfig, exist_ok=True)
