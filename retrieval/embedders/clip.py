"""Any CLIP-class model that transformers loads (CLIP, SigLIP, SigLIP 2, MetaCLIP 2, ...), and BiomedCLIP.

ClipEmbedder("openai/clip-vit-base-patch32").embed_texts(["chest radiograph"])     # [1, 512]
ClipEmbedder("BiomedCLIP").embed_texts(["chest radiograph"])                       # a folder in open_clip's form
"""

import hashlib
from functools import cached_property
from pathlib import Path

from retrieval.embedders.encoding import Encoders, EncodingEmbedder
from retrieval.errors import WeightsMissingError

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class ClipEmbedder(EncodingEmbedder):
    """A CLIP-class model with the tokenizer and the image settings that it comes with.

    Args:
        source: a folder, or a model of the Hub (fetched when first used; without a network, as the cache holds it).
        device: of torch.
    """

    def __init__(self, source: Path | str, device: str = "cpu") -> None:
        super().__init__()
        self.source, self.device = source, device

    @cached_property
    def _folder(self) -> Path:
        from serving import hub

        if hub.is_hub_id(self.source):
            try:
                return hub.language_model_folder(str(self.source), weights=True)
            except hub.HubError as error:
                raise WeightsMissingError(str(error)) from error
        if not Path(self.source).is_dir():
            raise WeightsMissingError(f"There is no folder {self.source} with a CLIP-class model.")
        return Path(self.source)

    @property
    def _in_open_clip_form(self) -> bool:
        return (self._folder / OPEN_CLIP_CONFIG).is_file() and not (self._folder / "config.json").is_file()

    @cached_property
    def _weights(self) -> list[Path]:
        from serving.weight_files import ConversionError, find_weights

        if self._in_open_clip_form:
            files = [self._folder / name for name in OPEN_CLIP_WEIGHTS if (self._folder / name).is_file()]
            if not files:
                raise WeightsMissingError(
                    f"{self.source} is in open_clip's form, and no {' or '.join(OPEN_CLIP_WEIGHTS)} is there: "
                    "`hf download OWNER/NAME --local-dir DIR` fetches all of it, clip:DIR opens it."
                )
            return files[:1]
        try:
            return find_weights(self._folder)
        except ConversionError as error:
            raise WeightsMissingError(str(error)) from error

    @cached_property
    def name(self) -> str:
        """Made of the weights' hash, so that a moved folder is the same space and a retrained model another.

        Raises:
            WeightsMissingError: there are no weights.
        """
        digest = hashlib.sha256()
        for file in self._weights:
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        return f"clip-{digest.hexdigest()[:12]}"

    @cached_property
    def dim(self) -> int:
        # Every architecture says it elsewhere in its configuration.
        return int(self.embed_texts([""]).shape[1])

    def _load(self) -> Encoders:
        if self._in_open_clip_form:
            from retrieval.embedders.biomed_clip import load_biomed_clip

            return load_biomed_clip(self._folder, self._weights[0], self._folder / OPEN_CLIP_CONFIG, self.device)
        from retrieval.embedders.clip_encoders import load_clip

        return load_clip(self._folder, self._weights, self.device)
