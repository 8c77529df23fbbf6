"""Real MiniLM and real Chroma, loaded once; small corpora made by the tests."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.build import build_index
from retrieval.embedders import MiniLmEmbedder
from retrieval.figures import Figure, article_url
from retrieval.store import Store
from retrieval.store_shards import no_images
from tests.retrieval.cheap_index import CheapEmbedder, draw, write_own

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

CAPTIONS = (
    "Chest radiograph showing a large left pneumothorax.",
    "Chest X-ray with right pleural effusion.",
    "Axial CT of the abdomen showing the liver with a hypodense lesion.",
    "T2-weighted MRI of the brain with a temporal lobe glioma.",
    "Ultrasound of the gallbladder with stones.",
    "Anteroposterior radiograph of the knee with osteoarthritis.",
    "Photomicrograph of renal tissue, haematoxylin and eosin.",
    "Mammogram with a spiculated mass of the left breast.",
    "Coronal CT of the paranasal sinuses.",
    "Echocardiogram with a pericardial effusion.",
)


@pytest.fixture(scope="session")
def minilm() -> MiniLmEmbedder:
    return MiniLmEmbedder()


def make_figure(number: int, caption: str, **changes: object) -> Figure:
    pmcid = f"PMC{1000 + number}"
    values = {
        "figure_id": f"{pmcid}/g{number:03d}",
        "pmcid": pmcid,
        "graphic": f"g{number:03d}",
        "label": "Figure 1",
        "caption": caption,
        "license": "CC BY",
        "article_url": article_url(pmcid),
        "source": "roco",
    }
    return Figure(**{**values, **changes})


@pytest.fixture
def roco_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes ROCO's files for the given captions; returns the folder that holds `test/radiology`."""

    def write(captions: list[str] | tuple[str, ...] = CAPTIONS, licence: str = "CC BY", name: str = "roco") -> Path:
        folder = tmp_path / name / "test" / "radiology"
        folder.mkdir(parents=True)
        ids = [f"ROCO_{number:05d}" for number in range(len(captions))]
        files = [(f"PMC{1000 + n}", f"g{n:03d}.jpg") for n in range(len(captions))]
        rows = list(zip(ids, files, captions, strict=True))
        (folder / "captions.txt").write_text("".join(f"{i}\t {c}\n" for i, _, c in rows))
        (folder / "keywords.txt").write_text("".join(f"{i}\t\tword\n" for i, _, _ in rows))
        (folder / "licences.txt").write_text(
            "ROCO_ID,PMC_ID,CC\n" + "".join(f"{i},{p}_{g},{licence}\n" for i, (p, g), _ in rows)
        )
        (folder / "dlinks.txt").write_text(
            "".join(f"{i}\twget -r ftp://host/{p}.tar.gz -P /path/to/Dir\t{g}\n" for i, (p, g), _ in rows)
        )
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def many(tmp_path_factory) -> Path:
    """1,200 figures, some with images: enough for Chroma to write its graph into files."""
    data_dir, embedder = tmp_path_factory.mktemp("many"), CheapEmbedder()
    words = random.Random(1)
    terms = [f"term{number}" for number in range(300)]
    figures = [make_figure(n, " ".join(words.choices(terms, k=12))) for n in range(1200)]
    seen = no_images(len(figures), embedder.dim)
    seen[:150] = embedder.embed_images([draw(n, (32, 32)) for n in range(150)])
    store = Store(data_dir / "index")
    with store.writing():
        vectors = embedder.embed_texts([figure.words for figure in figures])
        store.append("roco", figures[:700], vectors[:700], embedder, seen[:700])
        store.append("roco", figures[700:], vectors[700:], embedder)
        store.rebuild_chroma()
    return data_dir


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> Path:
    """Four own images."""
    data_dir = tmp_path_factory.mktemp("few")
    own = write_own(
        data_dir / "own", {f"{name}.png": f"A drawing of {name}." for name in ("liver", "lung", "knee", "eye")}
    )
    build_index("own", data_dir, own, embedder=CheapEmbedder())
    return data_dir
