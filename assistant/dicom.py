"""One DICOM file to one RGB picture: rescale, window, photometric interpretation, one frame of several.

Windowing: DICOM PS3.3 C.11.2.1.2 (LINEAR, LINEAR_EXACT, SIGMOID).
"""

import io
import logging
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom import config as pydicom_config
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from assistant.dicom_identity import PARSER_ERRORS, identity_tags
from assistant.upload_limits import NotAnImageError, TooLargeError, TruncatedImageError, check_pixels

# Its warnings quote tag values, and those may name a patient.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def has_preamble(data: bytes) -> bool:
    """Whether the bytes are DICOM for certain; old files may lack the preamble."""
    return data[128:132] == b"DICM"


@dataclass(frozen=True)
class Decoded:
    """The picture in mode RGB or L, notes in plain words on what was chosen, and names of the tags that were filled in
    and could name a person."""

    picture: Image.Image
    notes: list[str]
    identity: tuple[str, ...]


def decode(data: bytes, max_bytes: int, max_pixels: int) -> Decoded:
    """One frame of the file, with nothing of its tags but their names.

    Raises NotAnImageError (no DICOM, or one without an image), TruncatedImageError, TooLargeError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = _read(data, max_bytes)
            frames = _check_header(dataset, max_pixels)
            index = (frames - 1) // 2
            _check_codestream(dataset, index, frames, max_pixels)
            picture, notes = _render(pixel_array(dataset, index=index), dataset)
            identity = identity_tags(dataset)
        except PARSER_ERRORS as error:
            raise TruncatedImageError(
                "This DICOM file is damaged, cut off, or compressed in a way that is not supported. "
                "Please export it again, uncompressed or as PNG."
            ) from error
    notes.append("identity and all other DICOM tags removed")
    if frames > 1:
        notes.insert(0, f"frame {index + 1} of {frames} is used")
    return Decoded(picture, notes, identity)


def _read(data: bytes, max_bytes: int) -> Dataset:
    _check_inflated_size(data, 10 * max_bytes)
    dataset = dcmread(io.BytesIO(data), force=True)
    has_pixels = "PixelData" in dataset or "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
    kind = str(dataset.get("Modality") or "")
    if not has_pixels and not has_preamble(data) and len(dataset) == 0:
        raise NotAnImageError("This file is not a DICOM file, whatever its name. Please choose another.")
    if not has_pixels:
        what = f" (it is of kind {kind})" if kind.isalpha() else ""
        raise NotAnImageError(f"This DICOM file holds no image{what}. Please choose an image of the series.")
    return dataset


def _check_inflated_size(data: bytes, limit: int) -> None:
    # pydicom inflates such a file whole before anything in it can be looked at.
    if DeflatedExplicitVRLittleEndian.encode() not in data[:1024] or data[132:138] != b"\x02\x00\x00\x00UL":
        return
    start = 144 + int.from_bytes(data[140:144], "little")
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], limit + 1)
    if len(inflated) > limit:
        raise TooLargeError("This DICOM file unpacks to far more than is accepted. Please export the image as PNG.")


def _check_header(dataset: Dataset, max_pixels: int) -> int:
    """The number of frames, once rows x columns x frames is found to be within the limit."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = max(1, int(dataset.get("NumberOfFrames") or 1))
    if rows < 1 or columns < 1:
        raise NotAnImageError("The image in this DICOM file has no pixels. Please choose another.")
    check_pixels(columns, rows, frames, max_pixels)
    if not getattr(dataset.file_meta, "TransferSyntaxUID", None):
        dataset.file_meta.TransferSyntaxUID = _guess_transfer_syntax(dataset)
    return frames


def _guess_transfer_syntax(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_codestream(dataset: Dataset, index: int, frames: int, max_pixels: int) -> None:
    """A compressed frame says its own size, which the header may understate."""
    if not dataset.file_meta.TransferSyntaxUID.is_compressed or "PixelData" not in dataset:
        return
    width, height = _codestream_size(get_frame(dataset.PixelData, index, number_of_frames=frames))
    check_pixels(width, height, 1, max_pixels)


def _codestream_size(frame: bytes) -> tuple[int, int]:
    """Width and height that a JPEG, JPEG-LS or JPEG 2000 frame states; (0, 0) for other encodings."""
    start_of_j2k = frame.find(b"\xff\x4f\xff\x51")
    if start_of_j2k >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start_of_j2k + 8)
        return right - left, bottom - top
    position = 2 if frame[:2] == b"\xff\xd8" else len(frame)
    while position + 9 <= len(frame):
        marker = frame[position + 1]
        is_start_of_frame = (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7
        if frame[position] != 0xFF or is_start_of_frame:
            height, width = struct.unpack_from(">HH", frame, position + 5)
            return (width, height) if is_start_of_frame else (0, 0)
        position += 1 if marker == 0xFF else 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return 0, 0


def _render(stored: np.ndarray, dataset: Dataset) -> tuple[Image.Image, list[str]]:
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:
        # pixel_array has turned YBR into RGB already.
        return Image.fromarray(_colour_to_8_bits(stored[..., :3])), ["colour DICOM converted to RGB"]
    grey, note = _window(stored, dataset)
    if photometric == "MONOCHROME1":
        return Image.fromarray(255 - grey), [note, "inverted (MONOCHROME1)"]
    return Image.fromarray(grey), [note]


def _colour_to_8_bits(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else float(pixels.max() or 1)
    return (pixels.astype(np.float64) / top * 255).clip(0, 255).round().astype(np.uint8)


def _window(stored: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, str]:
    values = np.asarray(apply_modality_lut(stored, dataset))
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        table = np.asarray(apply_voi_lut(values, dataset, prefer_lut=True), np.float64)
        return (table / (2**bits - 1) * 255).clip(0, 255).round().astype(np.uint8), "the file's own grey table applied"
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is not None and width is not None and width >= 1:
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        note = f"window applied: centre {centre:g}, width {width:g}"
        return _apply_window(values.astype(np.float64), centre, width, function), note
    padding = dataset.get("PixelPaddingValue")
    background = None if padding is None else stored == padding
    return scale_to_8_bits(values.astype(np.float32), background), "no window in the file: grey values stretched"


def scale_to_8_bits(values: np.ndarray, background: np.ndarray | None = None) -> np.ndarray:
    """Stretch the 0.5th to 99.5th percentile of `values` over 0..255, leaving out `background` (bool) in the count."""
    counted = values[~background] if background is not None and not background.all() else values
    counted = counted[np.isfinite(counted)]
    if counted.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(counted, (0.5, 99.5))
    if high <= low:
        low, high = counted.min(), max(counted.max(), counted.min() + 1)
    scaled = np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1)
    return (scaled * 255).round().astype(np.uint8)


def _apply_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))
    elif function == "LINEAR_EXACT" or width == 1:
        shown = (values - centre) / width + 0.5
    else:
        shown = (values - (centre - 0.5)) / (width - 1) + 0.5
    return (np.clip(shown, 0, 1) * 255).round().astype(np.uint8)


def _first(value: object) -> float | None:
    """The first of one or several values, or None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, tuple)) or hasattr(value, "__getitem__"):
        return float(value[0]) if len(value) else None  # type: ignore[arg-type]
    return float(value)  # type: ignore[arg-type]
