"""Names in uploads: real DICOM files, text drawn on real pictures, the real reader, and every way in."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.data import get_testdata_file

from assistant import uploads_text
from assistant.dicom_identity import TAGS
from assistant.doctor import examine
from assistant.settings import Settings
from assistant.uploads import CleanImage, UploadLimits, clean_upload
from assistant.uploads_measure import covered, with_name
from assistant.uploads_privacy import IdentityFoundError, _held, admit, black_out, inspect, names_nobody
from assistant.uploads_text import TextPlace, TextReaderMissingError, find_text

EXAMPLES = Path(__file__).parents[2] / "assistant" / "examples"
NAME = "DOE^JANE 12.03.1954"


def example(name: str) -> CleanImage:
    return clean_upload((EXAMPLES / name).read_bytes(), name, UploadLimits())


def dicom(**values) -> CleanImage:
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    for keyword in TAGS:
        if keyword in dataset:
            delattr(dataset, keyword)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return clean_upload(buffer.getvalue(), "x.dcm", UploadLimits())


@pytest.fixture
def no_reader(monkeypatch):
    """A machine on which the package that reads text is not installed."""
    monkeypatch.setattr(uploads_text, "PACKAGE", "no_such_reader")
    uploads_text._reader.cache_clear()
    yield
    uploads_text._reader.cache_clear()


@pytest.mark.parametrize(
    ("film", "height", "turned"),
    [("ct-head.png", 12, False), ("mri-abdomen.png", 20, False), ("ultrasound-heart.png", 16, True)],
)
def test_a_drawn_name_is_found_and_can_be_blacked_out(film, height, turned):
    image, ink = with_name(example(film), NAME, ImageFont.load_default(height), 200, turned)
    found = inspect(image)
    assert covered(ink, found.places) > 0.95
    black = black_out(image, found.places)
    assert black.image.convert("L").crop(found.places[0]).getextrema() == (0, 0)
    assert "blacked out" in black.notes[-1]
    assert black.sha256 != image.sha256
    assert not inspect(black).places


@pytest.mark.parametrize("film", sorted(path.name for path in EXAMPLES.glob("*.png")))
def test_nothing_is_found_on_films_without_a_name(film):
    assert not inspect(example(film))


def test_side_markers_are_read_and_name_nobody():
    picture = example("ct-head.png").image.copy()
    draw = ImageDraw.Draw(picture)
    draw.text((20, 20), "R", fill="white", font=ImageFont.load_default(40))
    draw.text((picture.width - 60, 20), "L", fill="white", font=ImageFont.load_default(40))
    draw.text((20, picture.height - 40), "AP PORTABLE", fill="white", font=ImageFont.load_default(24))
    assert {place.text for place in find_text(picture)} >= {"R", "L", "AP PORTABLE"}
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    assert not inspect(clean_upload(buffer.getvalue(), "", UploadLimits()))


def test_a_page_of_text_is_held_up_whole_without_being_read():
    page = Image.new("RGB", (600, 600), "white")
    draw = ImageDraw.Draw(page)
    for left in range(20, 560, 90):
        for top in range(20, 560, 40):
            draw.text((left, top), "Doe 1954", fill="black", font=ImageFont.load_default(16))
    (place,) = find_text(page)
    assert place.text is None
    left, top, right, bottom = place.box
    assert left <= 20 and top <= 24 and right > 530 and bottom > 540
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    assert inspect(clean_upload(buffer.getvalue(), "", UploadLimits())).places == (place.box,)


def test_an_initial_beside_a_name_is_held_up_with_it_and_a_marker_elsewhere_is_not():
    name, initial, marker = (10, 10, 90, 30), (98, 11, 110, 29), (10, 200, 30, 220)
    found = [TextPlace(name, "García", 0.9), TextPlace(initial, "M.", 0.9), TextPlace(marker, "R", 0.9)]
    assert _held(found) == [name, initial]


@pytest.mark.parametrize(
    "text", ["R", "[L]", "lat.", "AP", "SEMI-ERECT", "ST: 5.0mm", "10 μm", "-12 cm", "A", "120 kV"]
)
def test_what_films_carry_anyway_names_nobody(text):
    assert names_nobody(text)


@pytest.mark.parametrize(
    "text",
    ["DOE^JANE", "Ma", "Long", "李雷", "12-03-54", "12/3/54", "1954", "45Y", "1 2 3 4 5", "AP DOE", "R. Doe", "555 12"],
)
def test_what_may_be_a_name_a_date_or_a_number_of_a_record_is_held_up(text):
    assert not names_nobody(text)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, ()),
        ({"PatientName": "Doe^Jane"}, ("patient's name",)),
        ({"PatientID": "4711", "PatientBirthDate": "19540312"}, ("patient ID", "birth date")),
        ({"InstitutionName": "St Elsewhere", "OperatorsName": "Roe"}, ("operator's name", "institution")),
        ({"PatientName": "Anonymous", "PatientID": "000000"}, ()),
        ({"PatientName": "Anonsen^Kari"}, ("patient's name",)),
        ({"PatientName": "Case 7", "PatientID": "0815-7", "PatientIdentityRemoved": "YES"}, ()),
        ({"BurnedInAnnotation": "YES"}, ("text in the pixels, as the file itself says",)),
    ],
)
def test_identity_tags_are_named_and_their_values_never_told(values, named):
    image = dicom(**values)
    assert image.identity == named
    found = inspect(image)
    assert found.tags == named
    for value in values.values():
        assert value == "YES" or value not in f"{found} {found.words()} {found.to_dict()} {image.notes}"


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "JPGExtended.dcm", "examples_overlay.dcm"])
def test_real_files_name_their_tags(name):
    data = Path(get_testdata_file(name)).read_bytes()
    assert "patient's name" in clean_upload(data, name, UploadLimits()).identity


def test_nothing_goes_on_without_a_word():
    image, _ = with_name(example("ct-head.png"), NAME, ImageFont.load_default(20), 200, False)
    with pytest.raises(IdentityFoundError) as refused:
        admit(image)
    assert refused.value.findings.places
    assert "DOE" not in str(refused.value)
    assert inspect(admit(image, redact=True)).places == ()
    assert admit(image, confirmed=True).sha256 == image.sha256


def test_without_a_reader_it_is_said_and_nothing_goes_on(no_reader):
    image = example("ct-head.png")
    unseen = black_out(image, [(200, 200, 210, 210)])
    assert "not installed" in inspect(unseen).unread
    with pytest.raises(IdentityFoundError, match="not looked through"):
        admit(unseen)
    with pytest.raises(TextReaderMissingError, match="not installed"):
        admit(unseen, redact=True)
    assert admit(unseen, confirmed=True).data == unseen.data


def test_the_doctor_names_the_reader_and_says_when_it_is_missing(monkeypatch, tmp_path, free_port):
    settings = Settings(data_dir=tmp_path, port=free_port(), model_port=free_port())

    def told():
        return next(finding for finding in examine(settings) if finding.what == "names in images")

    assert told().level == "ok"
    assert "rapidocr" in told().found
    monkeypatch.setattr(uploads_text, "PACKAGE", "no_such_reader")
    assert told().level == "fault"
    assert "make setup" in told().fix
