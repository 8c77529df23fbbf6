"""MedVInT-TD in transformers: the reference that the vLLM plugin is compared with, and for training.

`input_ids` hold one `image_token_id` for each visual embedding, before `<s>`:
`[image] * num_image_tokens + [<s>] + text`, as the original prepends them.

    model = MedVInTForConditionalGeneration.from_pretrained("data/models/demo")
    model.generate(input_ids=ids, pixel_values=pixels, max_new_tokens=50)
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, GenerationMixin, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from serving.medvint.configuration import MedVInTConfig
from serving.medvint.projector import MlpProjector, build_projector
from serving.medvint.vision import ClipTower, PmcClipTower, build_vision_tower


def encode_images(
    vision_tower: PmcClipTower | ClipTower, projector: nn.Module, pixel_values: torch.Tensor
) -> torch.Tensor:
    """[n, 3, image_size, image_size] -> visual embeddings [n, num_image_tokens, hidden_size]."""
    if isinstance(projector, MlpProjector):
        return projector(vision_tower.pooled(pixel_values))
    return projector(vision_tower.patches(pixel_values))


class MedVInTForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """PMC-CLIP tower -> projector -> LLaMA (arXiv 2305.10415, MedVInT-TD)."""

    config_class = MedVInTConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True
    _keys_to_ignore_on_load_missing = [r"num_batches_tracked"]  # noqa: RUF012
    _tied_weights_keys = {  # noqa: RUF012
        "language_model.lm_head.weight": "language_model.model.embed_tokens.weight"
    }

    def __init__(self, config: MedVInTConfig) -> None:
        super().__init__(config)
        self.vision_tower = build_vision_tower(config.vision)
        self.projector = build_projector(config.projector, config.vision.out_channels, config.text_config.hidden_size)
        self.language_model = LlamaForCausalLM(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Visual embeddings [n, num_image_tokens, hidden_size] of [n, 3, image_size, image_size]."""
        return encode_images(self.vision_tower, self.projector, pixel_values.to(self.dtype))

    def embed(self, input_ids: torch.Tensor, image_embeds: torch.Tensor | None) -> torch.Tensor:
        """Word embeddings with the visual ones in the places of `image_token_id`.

        Raises:
            ValueError: the number of placeholders is not the number of visual embeddings.
        """
        is_image = input_ids == self.config.image_token_id
        inputs_embeds = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        given = 0 if image_embeds is None else image_embeds.shape[0] * image_embeds.shape[1]
        if int(is_image.sum()) != given:
            raise ValueError(f"{int(is_image.sum())} image placeholders but {given} visual embeddings.")
        if image_embeds is not None:
            inputs_embeds = inputs_embeds.masked_scatter(is_image[..., None], image_embeds.to(inputs_embeds))
        return inputs_embeds

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits and, with `labels` (-100 where nothing is asked), the loss of LlamaForCausalLM."""
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("Either input_ids or inputs_embeds is needed.")
            image_embeds = None if pixel_values is None else self.get_image_features(pixel_values)
            inputs_embeds = self.embed(input_ids, image_embeds)
        return self.language_model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        *args: Any,
        pixel_values: torch.Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        inputs = super().prepare_inputs_for_generation(  # type: ignore[misc]
            input_ids,  # type: ignore[arg-type]
            *args,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs["pixel_values"] = pixel_values
        return inputs


AutoModelForImageTextToText.register(MedVInTConfig, MedVInTForConditionalGeneration, exist_ok=True)
