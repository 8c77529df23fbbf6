import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from assistant.uploads import (
    LONGEST_SIDE,
    NotAnImageError,
    TooLargeError,
    TruncatedImageError,
    UnsupportedTypeError,
    UploadError,
    UploadLimits,
    clean_upload,
)

LIMITS = UploadLimits()


def picture(format_: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(buffer, format_, **options)
    return buffer.getvalue()


def dicom(name: str) -> bytes:
    with Path(get_testdata_file(name)).open("rb") as stream:
        return stream.read()


def changed(name: str, **values) -> bytes:
    dataset = dcmread(get_testdata_file(name))
    for key, value in values.items():
        setattr(dataset, key, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_picture_format_becomes_rgb_png(format_, mode):
    clean = clean_upload(picture(format_, mode=mode), f"x.{format_.lower()}", LIMITS)
    assert (clean.format, clean.width, clean.height, clean.image.mode) == (format_, 40, 30, "RGB")
    assert clean.data.startswith(b"\x89PNG")


def test_the_name_does_not_matter():
    assert clean_upload(picture("JPEG"), "scan.dcm", LIMITS).format == "JPEG"


def test_the_same_pixels_have_the_same_hash():
    pixels = Image.effect_noise((30, 30), 50)
    hashes = set()
    for format_ in ("PNG", "BMP", "TIFF"):
        buffer = io.BytesIO()
        pixels.save(buffer, format_)
        hashes.add(clean_upload(buffer.getvalue(), "", LIMITS).sha256)
    assert len(hashes) == 1


def test_orientation_is_applied_and_metadata_removed():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Jane Doe"
    clean = clean_upload(picture("JPEG", size=(40, 30), exif=exif), "", LIMITS)
    assert (clean.width, clean.height) == (30, 40)
    assert b"Jane Doe" not in clean.data
    assert not clean.image.getexif()
    assert any("upright" in note for note in clean.notes)


def test_16_bits_keep_their_contrast():
    ramp = np.tile(np.linspace(1000, 1400, 64, dtype=np.uint16), (64, 1))
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    shown = np.asarray(clean_upload(buffer.getvalue(), "", LIMITS).image)
    assert shown.min() == 0
    assert shown.max() == 255
    assert (np.diff(shown[0, :, 0].astype(int)) >= 0).all()


def test_what_transparency_hides_stays_hidden():
    hidden = np.zeros((8, 8, 4), np.uint8)
    hidden[..., 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(hidden).save(buffer, "PNG")
    assert np.asarray(clean_upload(buffer.getvalue(), "", LIMITS).image).min() == 255


@pytest.mark.parametrize("format_", ["TIFF", "GIF"])
def test_several_pages_give_the_first_and_say_so(format_):
    first, second = Image.new("L", (20, 20), 10), Image.new("L", (20, 20), 200)
    buffer = io.BytesIO()
    first.save(buffer, format_, save_all=True, append_images=[second])
    clean = clean_upload(buffer.getvalue(), "", LIMITS)
    assert clean.image.getpixel((0, 0)) == (10, 10, 10)
    assert any("first of 2" in note for note in clean.notes)


def test_a_very_large_picture_is_reduced():
    clean = clean_upload(picture("PNG", size=(LONGEST_SIDE * 2, 40), mode="L"), "", LIMITS)
    assert clean.width == LONGEST_SIDE


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "JPGExtended.dcm",
        "693_J2KI.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_rle_16bit.dcm",
        "image_dfl.dcm",
        "liver_1frame.dcm",
        "examples_overlay.dcm",
        "examples_rgb_color.dcm",
        "examples_ybr_color.dcm",
        "examples_palette.dcm",
        "rtdose_1frame.dcm",
    ],
)
def test_real_dicom_files_show_a_picture_without_tags(name):
    clean = clean_upload(dicom(name), name, LIMITS)
    shown = np.asarray(clean.image)
    assert clean.format == "DICOM"
    assert shown.max() - shown.min() > 60
    patient = str(dcmread(get_testdata_file(name)).get("PatientName") or "")
    assert not patient or patient.encode() not in clean.data


def test_compressed_and_plain_dicom_show_the_same():
    shown = [
        clean_upload(dicom(f"MR_small{kind}.dcm"), "", LIMITS).sha256
        for kind in ("", "_RLE", "_jp2klossless", "_bigendian")
    ]
    assert len(set(shown)) == 1


def test_the_window_of_the_file_is_applied():
    narrow = clean_upload(changed("MR_small.dcm", WindowCenter=600, WindowWidth=2), "", LIMITS)
    assert set(np.unique(np.asarray(narrow.image))) <= {0, 128, 255}
    assert "window applied: centre 600, width 2" in narrow.notes


def test_rescale_comes_before_the_window():
    plain = clean_upload(changed("MR_small.dcm", WindowCenter=600, WindowWidth=400), "", LIMITS)
    shifted = clean_upload(
        changed("MR_small.dcm", WindowCenter=-424, WindowWidth=400, RescaleSlope=1, RescaleIntercept=-1024), "", LIMITS
    )
    assert plain.sha256 == shifted.sha256


def test_monochrome1_is_inverted():
    plain = np.asarray(clean_upload(dicom("MR_small.dcm"), "", LIMITS).image).astype(int)
    inverted = np.asarray(
        clean_upload(changed("MR_small.dcm", PhotometricInterpretation="MONOCHROME1"), "", LIMITS).image
    )
    assert (plain + inverted == 255).all()


def test_one_frame_of_several_and_a_note():
    clean = clean_upload(dicom("examples_ybr_color.dcm"), "", LIMITS)
    assert "frame 15 of 30 is used" in clean.notes


def test_an_old_dicom_without_preamble_is_known_by_its_name():
    raw = dicom("MR_small_implicit.dcm")
    dataset = dcmread(io.BytesIO(raw))
    body = io.BytesIO()
    dataset.file_meta = FileMetaDataset()
    dataset.save_as(body, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert clean_upload(body.getvalue(), "old.dcm", LIMITS).sha256 == clean_upload(raw, "", LIMITS).sha256


@pytest.mark.parametrize("name", ["reportsi.dcm", "rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm"])
def test_dicom_without_an_image_is_no_image(name):
    with pytest.raises(NotAnImageError, match="no image"):
        clean_upload(dicom(name), name, LIMITS)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_off_picture_is_truncated(format_, share):
    whole = picture(format_, size=(200, 200))
    with pytest.raises(TruncatedImageError, match="again"):
        clean_upload(whole[: int(len(whole) * share)], "", LIMITS)


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_jp2klossless.dcm", "image_dfl.dcm"])
def test_a_cut_off_dicom_is_refused(name, share):
    whole = dicom(name)
    with pytest.raises((TruncatedImageError, NotAnImageError)):
        clean_upload(whole[: int(len(whole) * share)], name, LIMITS)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00" * 500, "ünïcode".encode() * 40, b"question,answer\n1,2\n"])
def test_what_is_no_image_is_said_to_be_none(data):
    with pytest.raises(NotAnImageError, match="Please"):
        clean_upload(data, "notes.png", LIMITS)


@pytest.mark.parametrize(
    "data, what",
    [
        (b"%PDF-1.7\n" + b"x" * 200, "PDF"),
        (b"PK\x03\x04" + b"x" * 200, "ZIP"),
        (b"\x00\x00\x00\x18ftypheic" + b"x" * 200, "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_a_known_type_that_is_not_accepted_is_named(data, what):
    with pytest.raises(UnsupportedTypeError, match=what):
        clean_upload(data, "x.png", LIMITS)


def test_too_many_bytes():
    with pytest.raises(TooLargeError, match="larger than"):
        clean_upload(picture(), "", UploadLimits(max_bytes=100))


def test_too_many_pixels():
    with pytest.raises(TooLargeError, match="40 x 30"):
        clean_upload(picture(), "", UploadLimits(max_pixels=1000))


def test_a_picture_bomb_is_refused_before_decoding():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )
    with pytest.raises(TooLargeError):
        clean_upload(bomb, "", LIMITS)


@pytest.mark.parametrize("values", [{"Rows": 60000, "Columns": 60000}, {"NumberOfFrames": 100_000}])
def test_a_dicom_bomb_is_refused_by_its_header(values):
    with pytest.raises(TooLargeError):
        clean_upload(changed("CT_small.dcm", **values), "", LIMITS)


def test_a_frame_larger_than_its_header_says_is_refused():
    raw = bytearray(dicom("MR_small_jp2klossless.dcm"))
    at = raw.index(b"\xff\x4f\xff\x51") + 8
    raw[at : at + 8] = struct.pack(">II", 60000, 60000)
    with pytest.raises(TooLargeError, match="60000"):
        clean_upload(bytes(raw), "", LIMITS)


def test_a_deflated_bomb_is_refused_before_it_is_inflated_whole():
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelData = bytes(2_000_000)
    buffer = io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(buffer)
    with pytest.raises(TooLargeError, match="unpacks"):
        clean_upload(buffer.getvalue(), "", UploadLimits(max_bytes=100_000))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_palette.dcm"])
def test_damaged_bytes_give_a_picture_or_a_refusal(name):
    whole = dicom(name)
    random = np.random.default_rng(7)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in random.integers(0, min(len(damaged), 3000), 6):
            damaged[at] = random.integers(256)
        try:
            clean_upload(bytes(damaged), name, LIMITS)
        except UploadError as error:
            assert str(error).endswith(".")
