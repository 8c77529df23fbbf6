"""An index that takes no time: words counted by their hash, images shrunk to eight by eight."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from retrieval.store import Store


class CheapEmbedder:
    """The same vectors in every process; 64 dimensions."""

    name = "cheap"
    dim = 64
    image_space = "cheap-images"

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        vectors = np.full((len(texts), self.dim), 0.05)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % self.dim] += 1
        return self._unit(vectors)

    def embed_images(self, images: list[Image.Image]) -> np.ndarray:
        rows = [np.asarray(image.convert("L").resize((8, 8)), np.float64).ravel() + 1 for image in images]
        return self._unit(np.array(rows).reshape(-1, self.dim))

    @staticmethod
    def _unit(vectors: np.ndarray) -> np.ndarray:
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def draw(number: int, size: tuple[int, int] = (200, 160)) -> Image.Image:
    """A picture of ellipses, another one for every number."""
    random = np.random.default_rng(number)
    image = Image.new("RGB", (100, 100), tuple(random.integers(0, 90, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for x, y, width, height, grey in random.integers(5, 95, (12, 5)).tolist():
        pen.ellipse((x, y, x + width // 2 + 3, y + height // 2 + 3), fill=(60 + grey, 2 * grey, 255 - grey))
    return image.resize(size, Image.Resampling.BICUBIC)


def write_own(folder: Path, captions: dict[str, str], licence: str = "CC BY 4.0") -> Path:
    """A folder of own images: file name to caption; the picture is drawn by its place in the list."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,caption,licence,description,year"]
    for number, (name, caption) in enumerate(captions.items()):
        draw(number).save(folder / name)
        lines.append(f"{name},{caption},{licence},Drawn ellipses.,{2000 + number}")
    (folder / "figures.csv").write_text("\n".join(lines))
    return folder


def contents(data_dir: Path) -> tuple[dict, dict]:
    """Everything that Chroma holds of the words and of the images."""
    store = Store(data_dir / "index")
    current = store.current()
    with store.generations.opened(current) as collections:
        found = []
        for collection in collections:
            answer = collection.get(include=["documents", "metadatas", "embeddings"]) if collection else {"ids": []}
            found.append(
                {
                    figure_id: (answer["documents"][n], answer["metadatas"][n], answer["embeddings"][n].tolist())
                    for n, figure_id in enumerate(answer["ids"])
                }
            )
    return found[0], found[1]
