"""Reads an uploaded file once and deletes it: it may name a patient.

Gradio names an upload by its content, so the same figure sent by a whole class is one file. Whoever asks second finds
it deleted by the first; what was read is therefore kept in memory for a while.

image = await UploadReader(limits).read(Path(upload))
"""

import asyncio
from pathlib import Path
from weakref import WeakValueDictionary

from cachetools import TTLCache

from assistant.upload_limits import UploadError, UploadLimits, check_size
from assistant.uploads import CleanImage, clean_upload

KEPT, KEPT_S = 32, 3600


class UploadGoneError(UploadError):
    """The file was deleted after it was read, and too long ago."""

    code = "upload_gone"


class UploadReader:
    """One for all visitors of a page."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._read: TTLCache[Path, CleanImage] = TTLCache(KEPT, KEPT_S)
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    async def read(self, file: Path) -> CleanImage:
        """The picture without its metadata. The file is gone afterwards, also where it was no picture.

        Raises:
            UploadError: it is no image, too large, or was deleted.
        """
        async with self._locks.setdefault(file, asyncio.Lock()):
            try:
                self._read[file] = await asyncio.to_thread(self._take, file)
            except FileNotFoundError:
                if file not in self._read:
                    raise UploadGoneError("The image is deleted after each answer. Please choose it again.") from None
            return self._read[file]

    def _take(self, file: Path) -> CleanImage:
        try:
            check_size(file.stat().st_size, self._limits)
            return clean_upload(file.read_bytes(), file.name, self._limits)
        finally:
            file.unlink(missing_ok=True)
