import asyncio

import pytest

from assistant.upload_limits import NotAnImageError, TooLargeError, UploadLimits
from assistant.upload_reader import UploadGoneError, UploadReader
from tests.assistant.test_uploads import picture


async def test_a_file_is_read_once_and_all_who_sent_it_get_its_picture(tmp_path):
    reader, file = UploadReader(UploadLimits()), tmp_path / "film.png"
    file.write_bytes(picture())
    of_class = await asyncio.gather(*(reader.read(file) for _ in range(2)))
    assert not file.exists()
    later = await reader.read(file)
    assert {image.sha256 for image in [*of_class, later]} == {later.sha256}
    with pytest.raises(UploadGoneError, match="choose it again"):
        await UploadReader(UploadLimits()).read(file)


@pytest.mark.parametrize(("data", "error"), [(b"hello", NotAnImageError), (b"\x89PNG" * 100, TooLargeError)])
async def test_what_is_refused_is_deleted_too(tmp_path, data, error):
    file = tmp_path / "film.png"
    file.write_bytes(data)
    with pytest.raises(error):
        await UploadReader(UploadLimits(max_bytes=200)).read(file)
    assert not file.exists()
