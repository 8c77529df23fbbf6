"""What is searched for is of one of two halves: one chooses and fits what search uses, the other measures it."""

import hashlib
from pathlib import Path


def chooses(key: str) -> bool:
    """Whether what has this key (a caption, say) is of the half that chooses."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 2 == 0


def image_key(path: Path) -> str:
    """What `chooses` needs of an image; the folder is part of it, for SLAKE calls every image source.jpg."""
    return f"{path.parent.name}/{path.name}"
