"""Uploaded bytes to clean RGB pixels: JPEG, PNG, WebP, BMP, TIFF, GIF and DICOM.

Sizes are checked before anything is decoded, and nothing but the pixels survives: no EXIF, no DICOM tags, no file name.

    image = clean_upload(Path("ct.dcm").read_bytes(), "ct.dcm", UploadLimits())
    image.width, image.height, image.notes
"""

import hashlib
import io
import warnings
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from assistant import dicom
from assistant.upload_limits import (
    NotAnImageError,
    TooLargeError,
    TruncatedImageError,
    UnsupportedTypeError,
    UploadError,
    UploadLimits,
    check_pixels,
    check_size,
)

__all__ = [
    "CleanImage",
    "NotAnImageError",
    "TooLargeError",
    "TruncatedImageError",
    "UnsupportedTypeError",
    "UploadError",
    "UploadLimits",
    "clean_upload",
    "rewritten",
]

PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
ACCEPTED = "JPEG, PNG, WebP, BMP, TIFF, GIF and DICOM"
# No model sees more than 512 px, and a figure on screen rarely more than this; larger only slows every later step.
LONGEST_SIDE = 2048

_OTHER_TYPES = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x5c\x01\x00\x00", "a NIfTI volume"),
    (b"8BPS", "a Photoshop file"),
    (b"<svg", "an SVG drawing"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_ISO_MEDIA = {b"heic": "a HEIC photo", b"heix": "a HEIC photo", b"mif1": "a HEIC photo", b"avif": "an AVIF image"}


@dataclass(frozen=True)
class CleanImage:
    """RGB pixels as PNG without metadata; `notes` say in plain words what was converted or dropped, `identity` which
    tags of the file could name a person (their names, never their values). Text in the pixels: `uploads_privacy`."""

    sha256: str
    width: int
    height: int
    format: str
    notes: tuple[str, ...]
    data: bytes
    identity: tuple[str, ...] = ()

    @property
    def image(self) -> Image.Image:
        """The pixels as a PIL image in mode RGB, decoded when they are first looked at."""
        picture = Image.open(io.BytesIO(self.data))
        return picture if picture.mode == "RGB" else picture.convert("RGB")


def clean_upload(data: bytes, filename: str, limits: UploadLimits) -> CleanImage:
    """Decode an upload of any accepted type.

    Raises NotAnImageError, UnsupportedTypeError, TruncatedImageError or TooLargeError; each message says what was
    wrong and what to do.
    """
    check_size(len(data), limits)
    if not data:
        raise NotAnImageError("The file is empty. Please choose it again, or export it again.")
    named_dicom = filename.lower().endswith((".dcm", ".dicom")) and not _is_known_picture(data[:16])
    if named_dicom or dicom.has_preamble(data):
        decoded = dicom.decode(data, limits.max_bytes, limits.max_pixels)
        return replace(_finish(decoded.picture, "DICOM", decoded.notes), identity=decoded.identity)
    return _decode_picture(data, limits)


def _decode_picture(data: bytes, limits: UploadLimits) -> CleanImage:
    with warnings.catch_warnings():
        # Our own limit, in words, takes the place of Pillow's warning.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            picture = Image.open(io.BytesIO(data), formats=PILLOW_FORMATS)
        except Image.DecompressionBombError as error:
            raise TooLargeError(
                f"The image has more than {limits.max_pixels / 1e6:.0f} million pixels. Please export it smaller."
            ) from error
        except (OSError, SyntaxError, ValueError, EOFError, TypeError, OverflowError) as error:
            raise _not_opened(data) from error
        check_pixels(*picture.size, 1, limits.max_pixels)
        try:
            frames = getattr(picture, "n_frames", 1)
            picture.seek(0)
            picture.load()
        except Image.DecompressionBombError as error:
            raise TooLargeError("The image unpacks to far too many pixels. Please export it smaller.") from error
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError, OverflowError) as error:
            raise _truncated() from error

    notes = []
    if frames > 1:
        notes.append(f"the first of {frames} frames is used")
    upright = ImageOps.exif_transpose(picture)
    if upright.size != picture.size or picture.getexif().get(0x0112, 1) != 1:
        notes.append("turned upright as the camera's orientation says")
    if upright.mode.startswith(("I", "F")):
        notes.append("more than 8 bits a pixel, scaled to 8 bits")
    return _finish(_to_rgb(upright), picture.format or "", notes)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return Image.fromarray(dicom.scale_to_8_bits(np.asarray(picture, dtype=np.float32))).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        # Dropping alpha would show whatever colour lies hidden under it.
        layer = picture.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return picture.convert("RGB")


def _finish(image: Image.Image, source_format: str, notes: list[str]) -> CleanImage:
    if max(image.size) > LONGEST_SIDE:
        notes = [*notes, f"reduced from {image.width} x {image.height} pixels"]
        image = ImageOps.contain(image, (LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    data = _bare_png(image)
    return CleanImage(hashlib.sha256(data).hexdigest(), image.width, image.height, source_format, tuple(notes), data)


def rewritten(clean: CleanImage, image: Image.Image, *notes: str) -> CleanImage:
    """`clean` with other pixels in mode RGB and some notes more."""
    data = _bare_png(image)
    sha256 = hashlib.sha256(data).hexdigest()
    return replace(
        clean, sha256=sha256, width=image.width, height=image.height, notes=(*clean.notes, *notes), data=data
    )


def _bare_png(image: Image.Image) -> bytes:
    # A new image: `save` would write the info dictionary (ICC profile, text, EXIF) of the old one.
    bare = Image.new("RGB", image.size)
    bare.paste(image)
    buffer = io.BytesIO()
    bare.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _not_opened(data: bytes) -> NotAnImageError | UnsupportedTypeError | TruncatedImageError:
    head = data[:512]
    if _is_known_picture(head):
        return _truncated()
    found = next((name for magic, name in _OTHER_TYPES if head.lstrip()[: len(magic)] == magic), None)
    if found is None and head[4:8] == b"ftyp":
        found = _ISO_MEDIA.get(head[8:12], "a video")
    if found:
        return UnsupportedTypeError(f"This file is {found}. Please send {ACCEPTED}; a screenshot as PNG works too.")
    return NotAnImageError(f"This file is not an image. Please send {ACCEPTED}.")


def _is_known_picture(head: bytes) -> bool:
    """Whether the first bytes are those of an accepted type (other than DICOM)."""
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"BM", b"GIF8")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _truncated() -> TruncatedImageError:
    return TruncatedImageError(
        "The image is damaged or cut off: it starts well but does not decode. Please copy or export it again."
    )
