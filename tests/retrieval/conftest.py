"""Real MiniLM and real Chroma, loaded once; small corpora made by the tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.embedders import MiniLmEmbedder
from retrieval.figures import Figure, article_url

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
