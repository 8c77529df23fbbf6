"""MedVInT-TE: all words of an answer from one pass, at masked positions behind the question.

    model = MedVInTTEForMaskedLM.from_pretrained("data/models/te")
    seen = model.get_image_features(pixels)                 # once an image
    model(input_ids=ids, attention_mask=mask, image_features=seen).logits

Text encoder and image tower are the libraries' and TD's own; what is here is how the two are put together.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModelForMaskedLM, BertModel, LlamaModel, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from serving.medvint.processing import MedVInTImageProcessor
from serving.medvint.projector import QueryTransformer
from serving.medvint.vision import build_vision_tower
from serving.medvint_te.configuration import MedVInTTEConfig

IGNORE = -100
"""The label of a position that is not learned."""


def build_text_encoder(config: Any) -> LlamaModel | BertModel:
    """LLaMA without its head reads from left to right, as in the original; a BERT both ways."""
    return BertModel(config, add_pooling_layer=False) if config.model_type == "bert" else LlamaModel(config)


class MedVInTTEForMaskedLM(PreTrainedModel):
    """Text encoder, image tower with queries, fusion transformer, words (arXiv 2305.10415, MedVInT-TE)."""

    config_class = MedVInTTEConfig
    config: MedVInTTEConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True
    _keys_to_ignore_on_load_missing = [r"num_batches_tracked"]  # noqa: RUF012

    def __init__(self, config: MedVInTTEConfig) -> None:
        super().__init__(config)
        width = config.embed_dim
        self.vision_tower = build_vision_tower(config.vision)
        self.projector = QueryTransformer(config.projector, config.vision.out_channels)
        self.text_encoder: Any = build_text_encoder(config.text_config)
        self.text_embed = nn.Linear(config.text_config.hidden_size, width)
        self.image_token = nn.Parameter(torch.zeros(1, 1, width))
        self.fusion = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.fusion_heads, 4 * width, 0.0, functional.gelu, batch_first=True, norm_first=True
            )
            for _ in range(config.fusion_layers)
        )
        self.mlm_projection = nn.Parameter(torch.empty(width, config.text_config.vocab_size))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MedVInTTEForMaskedLM):
            nn.init.normal_(module.mlm_projection, std=module.config.embed_dim**-0.5)
            nn.init.zeros_(module.image_token)

    def get_input_embeddings(self) -> nn.Module:
        return self.text_encoder.get_input_embeddings()

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """[n, num_queries, embed_dim] of [n, 3, image_size, image_size]."""
        return self.projector(self.vision_tower.patches(pixel_values.to(self.dtype)))

    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, image_features: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states of the text's positions, which have seen the image: [n, length, embed_dim].

        Args:
            input_ids, attention_mask: [n, length]; answers are masked.
            image_features: [n, num_queries, embed_dim], each question's own image.
        """
        read = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        text = self.text_embed(read)
        images, length = image_features.to(text.dtype), text.shape[1]
        hidden = torch.cat([text, self.image_token.expand(len(text), -1, -1), images], 1)
        padding = None
        if self.config.text_length is None:
            padding = functional.pad(attention_mask == 0, (0, hidden.shape[1] - length))
        for layer in self.fusion:
            hidden = layer(hidden, src_key_padding_mask=padding)
        return hidden[:, :length]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> MaskedLMOutput:
        """Logits [n, length, vocabulary], or [asked, vocabulary] where `positions` (bool [n, length]) asks for some.

        `labels` [n, length] hold the answers' tokens, -100 elsewhere; with them logits are those of the learned
        positions and `loss` is their mean cross-entropy.

        Raises:
            ValueError: neither pixels nor image features.
        """
        if image_features is None:
            if pixel_values is None:
                raise ValueError("MedVInT-TE answers questions about an image: pixel_values or image_features.")
            image_features = self.get_image_features(pixel_values)
        hidden = self.encode(input_ids, attention_mask, image_features)
        if labels is not None:
            positions = labels != IGNORE
        logits = (hidden if positions is None else hidden[positions]) @ self.mlm_projection
        loss = None if labels is None else functional.cross_entropy(logits.float(), labels[positions])
        return MaskedLMOutput(loss=loss, logits=logits)  # type: ignore[arg-type]


AutoModelForMaskedLM.register(MedVInTTEConfig, MedVInTTEForMaskedLM, exist_ok=True)
AutoImageProcessor.register(MedVInTTEConfig, slow_image_processor_class=MedVInTImageProcessor, exist_ok=True)
