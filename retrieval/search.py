"""Search by image, by words, or both.

    search = open_search(Path("data"))
    search.search("pneumothorax", None)              # list[Hit], [] where nothing is similar
    search.search("What is this?", image, k=8)
"""

from pathlib import Path

from PIL import Image

from retrieval.figures import Hit


class Search:
    """Search over one index; safe to call from several threads; notices when the index was rebuilt."""

    def search(self, text: str | None, image: Image.Image | None, k: int = 8) -> list[Hit]:
        """At most `k` figures, best first; [] where nothing reaches the floor."""
        raise NotImplementedError


def open_search(data_dir: Path, chroma_url: str | None = None) -> Search:
    """Open the index at `data_dir/index`, with Chroma embedded or as the server at `chroma_url`.

    Raises:
        IndexMissingError: nothing was built yet; the message names the command.
        EmbedderMismatchError: another embedder made the index; the message names the command.
    """
    raise NotImplementedError
