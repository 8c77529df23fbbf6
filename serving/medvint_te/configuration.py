"""One configuration for every MedVInT-TE: the original with LLaMA or a BERT, and the small one trained here.

MedVInTTEConfig()                                       # the paper's: PMC-CLIP with layer4, LLaMA-7B
MedVInTTEConfig(text_config={"model_type": "bert"})     # with PubMedBERT
MedVInTTEConfig.from_pretrained("data/models/te")       # what `medvint convert` wrote
"""

from dataclasses import asdict
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, BertConfig, LlamaConfig, PreTrainedConfig

from serving.medvint.configuration import ProjectorConfig, VisionConfig, known_fields

TEXT_LENGTH = 256
TEXT_CONFIGS: dict[str, type[LlamaConfig] | type[BertConfig]] = {"llama": LlamaConfig, "bert": BertConfig}
ORIGINAL_PROJECTOR = {"num_layers": 12, "num_heads": 4, "intermediate_size": 768}


@strict
class MedVInTTEConfig(PreTrainedConfig):
    """Configuration of MedVInT-TE (Zhang et al., arXiv 2305.10415); the defaults are the original's.

    Args:
        embed_dim: width in which text and image meet.
        fusion_layers, fusion_heads: of the fusion transformer. The paper says four layers, the released code one.
        text_length: every question is padded to so many tokens, and the fusion transformer reads the padding too, as
            the original's does. None: as long as the longest question of a batch, padding masked.
        answer_slots: masked positions of every answer, of which those behind the end count for nothing. None, as the
            original: one for each token of the answer, so that its length has to be tried where it is not known.
        mask_token_id, end_token_id: the original writes LLaMA's `</s>` for both.
        choice_by: whether questions with choices are answered by their letter, as the original was trained to, or by
            the words of the choices.
    """

    model_type = "medvint_te"
    sub_configs = {"text_config": AutoConfig}  # type: ignore[dict-item]  # noqa: RUF012

    vision_config: dict | None = None
    projector_config: dict | None = None
    text_config: Any = None
    embed_dim: int = 768
    fusion_layers: int = 1
    fusion_heads: int = 8
    text_length: int | None = TEXT_LENGTH
    answer_slots: int | None = None
    mask_token_id: int = 2
    end_token_id: int = 2
    choice_by: Literal["letter", "text"] = "letter"
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        vision = known_fields(VisionConfig, {"layers": (3, 4, 6, 3)} | (self.vision_config or {}))
        self.vision_config = asdict(VisionConfig(**vision))
        self.vision_config["layers"] = list(self.vision_config["layers"])
        projector = known_fields(ProjectorConfig, ORIGINAL_PROJECTOR | (self.projector_config or {}))
        # One width for all that is fused; the original's `image_embed` is what brings patches to it.
        self.projector_config = asdict(ProjectorConfig(**projector | {"hidden_size": self.embed_dim}))
        if self.text_config is None:
            self.text_config = LlamaConfig()
        elif isinstance(self.text_config, dict):
            fields = dict(self.text_config)
            kind = fields.pop("model_type", "llama")
            if kind not in TEXT_CONFIGS:
                raise ValueError(f"MedVInT-TE reads its questions with LLaMA or BERT, not with {kind!r}.")
            self.text_config = TEXT_CONFIGS[kind](**fields)
        super().__post_init__(**kwargs)

    @property
    def vision(self) -> VisionConfig:
        return VisionConfig(**known_fields(VisionConfig, self.vision_config))

    @property
    def projector(self) -> ProjectorConfig:
        return ProjectorConfig(**known_fields(ProjectorConfig, self.projector_config))


AutoConfig.register("medvint_te", MedVInTTEConfig, exist_ok=True)
