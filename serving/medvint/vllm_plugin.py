"""MedVInT-TD in vLLM, out of tree: loaded through the entry point group `vllm.general_plugins`.

The tower and the projector are the very classes of the transformers model; the decoder is vLLM's own
LLaMA, so PagedAttention, continuous batching, prefix caching and LoRA work as for any LLaMA.

    python -m vllm.entrypoints.openai.api_server --model data/models/demo
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import torch
from PIL import Image
from torch import nn
from transformers import BatchFeature, LlamaConfig
from vllm.config import VllmConfig
from vllm.config.multimodal import MultiModalDummyOptions
from vllm.inputs import MultiModalDataDict
from vllm.model_executor.models.interfaces import (
    MultiModalEmbeddings,
    SupportsLoRA,
    SupportsMultiModal,
    SupportsPP,
)
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptIndexTargets,
    PromptInsertion,
    PromptUpdate,
)
from vllm.platforms import current_platform
from vllm.sequence import IntermediateTensors
from vllm.utils.tensor_schema import TensorSchema, TensorShape

from serving.medvint import cpu_layers
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import encode_images
from serving.medvint.processing import MedVInTImageProcessor
from serving.medvint.projector import build_projector
from serving.medvint.vision import build_vision_tower

# vLLM refuses ids past the vocabulary, so the configuration's image_token_id cannot stand here. It finds
# the image by position, never by id: any id will do, and text that contains this one stays text.
PLACEHOLDER_ID = 0


class MedVInTImageInputs(TensorSchema):
    """Dimensions:
    - n: number of images
    - s: the model's image size in pixels
    """

    type: Literal["pixel_values"] = "pixel_values"
    pixel_values: Annotated[torch.Tensor, TensorShape("n", 3, "s", "s")]


class MedVInTProcessingInfo(BaseProcessingInfo):
    def get_hf_config(self) -> MedVInTConfig:
        return self.ctx.get_hf_config(MedVInTConfig)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": 1}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {"image": self.get_hf_config().projector.num_image_tokens}

    def get_image_processor(self) -> MedVInTImageProcessor:
        return MedVInTImageProcessor(self.get_hf_config().vision.image_size)


class MedVInTDummyInputsBuilder(BaseDummyInputsBuilder[MedVInTProcessingInfo]):
    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return ""

    def get_dummy_mm_data(
        self,
        seq_len: int,
        mm_counts: Mapping[str, int],
        mm_options: MultiModalDummyOptions,
    ) -> MultiModalDataDict:
        size = self.info.get_hf_config().vision.image_size
        images = self._get_dummy_images(width=size, height=size, num_images=mm_counts.get("image", 0))
        return {"image": images}


class MedVInTMultiModalProcessor(BaseMultiModalProcessor[MedVInTProcessingInfo]):
    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        return self.info.get_image_processor().preprocess(cast(Sequence[Image.Image], hf_data["images"]))

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {"pixel_values": MultiModalFieldConfig.batched("image")}

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        tokens = self.info.get_hf_config().projector.num_image_tokens
        return [
            PromptInsertion(
                modality="image",
                target=PromptIndexTargets.start(),
                insertion=[PLACEHOLDER_ID] * tokens,
            )
        ]


@MULTIMODAL_REGISTRY.register_processor(
    MedVInTMultiModalProcessor, info=MedVInTProcessingInfo, dummy_inputs=MedVInTDummyInputsBuilder
)
class MedVInTForConditionalGeneration(nn.Module, SupportsLoRA, SupportsMultiModal, SupportsPP):
    packed_modules_mapping = {  # noqa: RUF012
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }

    # Adapters are named after the bare decoder; weights already carry this model's own names.
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.layers.": "language_model.model.layers.",
            "lm_head.": "language_model.lm_head.",
        }
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        # No text stands for the image: it goes before the first token whatever the prompt says.
        return None

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = cast(MedVInTConfig, vllm_config.model_config.hf_config)
        text_config = cast(LlamaConfig, config.text_config)
        self.config = config
        if current_platform.is_cpu():
            cpu_layers.register()
        self.configure_mm_token_handling(vocab_size=text_config.vocab_size, mm_token_ids=[PLACEHOLDER_ID])
        with self._mark_tower_model(vllm_config, "image"):
            self.vision_tower = build_vision_tower(config.vision)
            self.projector = build_projector(config.projector, config.vision.out_channels, text_config.hidden_size)
        with self._mark_language_model(vllm_config):
            language_model: Any = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=text_config,
                prefix=maybe_prefix(prefix, "language_model"),
            )
            self.language_model = language_model
        self.make_empty_intermediate_tensors = language_model.make_empty_intermediate_tensors

    def _parse_and_validate_image_input(self, **kwargs: object) -> MedVInTImageInputs | None:
        pixel_values = kwargs.pop("pixel_values", None)
        if pixel_values is None:
            return None
        return MedVInTImageInputs(
            type="pixel_values",
            pixel_values=pixel_values,
            resolve_bindings={"s": self.config.vision.image_size},
        )

    def embed_multimodal(self, **kwargs: object) -> MultiModalEmbeddings:
        image_input = self._parse_and_validate_image_input(**kwargs)
        if image_input is None:
            return []
        # On a CPU one by one is faster: the activations of a batch leave the cache.
        pixel_values = image_input["pixel_values"]
        batches = pixel_values.split(1 if pixel_values.device.type == "cpu" else len(pixel_values))
        embeds = [
            encode_images(self.vision_tower, self.projector, batch.to(self.projector.fc_l1.weight)) for batch in batches
        ]
        return torch.cat(embeds)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: object,
    ) -> torch.Tensor | IntermediateTensors:
        """Hidden states of `[visual embeddings][<s>][text]`; positions count from the first embedding."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        loaded = AutoWeightsLoader(self).load_weights(weights)
        # vLLM builds modules in training mode: batch statistics would leak between images.
        self.vision_tower.eval()
        self.projector.eval()
        return loaded

    def get_mm_mapping(self) -> MultiModelKeys:
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="projector", tower_model="vision_tower"
        )


def register() -> None:
    """Tell vLLM in each of its processes which architecture this is (called through the entry point)."""
    from vllm import ModelRegistry

    ModelRegistry.register_model(
        "MedVInTForConditionalGeneration", "serving.medvint.vllm_plugin:MedVInTForConditionalGeneration"
    )
