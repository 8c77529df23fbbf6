"""PMC-CLIP, converted by `retrieval.pmc_clip_conversion`, as an embedder."""

from functools import cached_property
from pathlib import Path

from retrieval.embedders.encoding import Encoders, EncodingEmbedder
from retrieval.pmc_clip_config import PmcClipConfig


class PmcClipEmbedder(EncodingEmbedder):
    """PMC-CLIP's image and text encoders.

    Args:
        folder: what `convert_pmc_clip` made.
        device: of torch.
    """

    def __init__(self, folder: Path | str, device: str = "cpu") -> None:
        super().__init__()
        self.folder, self.device = Path(folder), device

    @cached_property
    def _config(self) -> PmcClipConfig:
        return PmcClipConfig.read(self.folder)

    @property
    def name(self) -> str:
        """
        Raises:
            WeightsMissingError: the folder is not a converted PMC-CLIP.
        """
        return f"pmc-clip-{self._config.weights}"

    @property
    def dim(self) -> int:
        return self._config.dim

    def _load(self) -> Encoders:
        # Imported when first needed: transformers takes seconds, and listing an index needs none of it.
        from retrieval.pmc_clip import load_pmc_clip

        return load_pmc_clip(self.folder, self._config, self.device)
