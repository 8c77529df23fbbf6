"""What tells one model from another, so that answers of two are never mixed.

weights_fingerprint(Path("data/models/demo"))      # "b0c1…", another after any training step
"""

import hashlib
from pathlib import Path

PIECES, PIECE = 64, 65_536
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "config.json", "chat_template.jinja")


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 over names, sizes and 64 evenly spaced pieces of each file of weights, configuration and chat template.

    Pieces, because 13 GB would take a minute; training changes nearly every number, so they notice it.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)}):
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            for place in sorted({size * number // PIECES for number in range(PIECES)}):
                file.seek(place)
                digest.update(file.read(PIECE))
    return digest.hexdigest()
