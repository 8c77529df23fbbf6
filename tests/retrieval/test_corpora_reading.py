"""What all readers share: bounded lines, tables, text and images of strangers."""

import json
import tracemalloc

import pytest

from retrieval.corpora.reading import (
    MAX_CAPTION,
    MAX_LINE,
    CorpusReport,
    ImageFolder,
    admitted,
    image_fault,
    json_rows,
    lines,
    table,
    tidy,
)
from retrieval.errors import CorpusError
from tests.retrieval.conftest import make_figure
from tests.retrieval.corpus_files import huge_png, image_bytes, write_csv, write_image, write_jsonl


def test_a_line_of_50_megabytes_is_counted_and_never_held_in_memory(tmp_path):
    file, report = tmp_path / "rows.jsonl", CorpusReport()
    with file.open("wb") as out:
        out.write(b"first\n")
        for _ in range(50):
            out.write(b"x" * 1_000_000)
        out.write(b"\nlast")
    tracemalloc.start()
    read = [line.strip() for line in lines(file, report)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == ["first", "last"]
    assert report.skipped == {"line of more than 1 MiB": 1}
    assert report.examples["line of more than 1 MiB"] == ["rows.jsonl, line 2"]
    assert peak < 8 * MAX_LINE


def test_lines_with_nul_bytes_are_counted_and_other_damage_is_read_around(tmp_path):
    file, report = tmp_path / "captions.txt", CorpusReport()
    file.write_bytes(b"\xef\xbb\xbfone\nt\0wo\nthr\xffee\n")
    assert list(lines(file, report)) == ["one\n", "thr\ufffdee\n"]
    assert report.skipped == {"NUL byte in a line": 1}
    assert report.rows == 1


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (['a.png,"one" two'], "malformed row (',' expected after '\"')"),
        (['a.png,"never closed'], "malformed row (unexpected end of data)"),
        (["a.png"], "row with more or fewer cells than the header"),
        (["a.png,one,two"], "row with more or fewer cells than the header"),
        ([f'a.png,"{"x" * 200_000}"'], "malformed row (field larger than field limit (131072))"),
    ],
)
def test_a_malformed_row_of_a_table_is_counted_and_named(tmp_path, rows, reason):
    report = CorpusReport()
    file = write_csv(tmp_path / "t.csv", "Image, Caption", "x.png,good", *rows)
    assert list(table(file, report, ["image", "caption"])) == [("t.csv, line 2", {"image": "x.png", "caption": "good"})]
    assert report.skipped == {reason: 1}
    assert report.examples[reason] == ["t.csv, line 3"]


def test_a_cell_may_have_several_lines_and_quotes(tmp_path):
    file = write_csv(tmp_path / "t.csv", "image,caption", '"a.png","He said ""stone"",\nand left."', "", "b.png,B")
    assert [row["caption"] for _, row in table(file, CorpusReport())] == ['He said "stone", and left.', "B"]


@pytest.mark.parametrize("text", ["", "file,notes\na,b\n"])
def test_a_table_without_the_needed_columns_is_refused_by_name(tmp_path, text):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(CorpusError, match=r"t\.csv has no column 'caption'"):
        list(table(file, CorpusReport(), ["caption"]))


@pytest.mark.parametrize("row", ["{", "[1]", '"text"', "[" * 100_000, "1" * 10_000, ""])
def test_a_line_that_is_no_json_object_is_counted(tmp_path, row):
    report = CorpusReport()
    file = write_jsonl(tmp_path / "rows.jsonl", {"Image": "a.png", "year": 2019, "tags": ["x", 2], "box": {}}, row)
    assert [row for _, row in json_rows(file, report)] == [
        {"image": "a.png", "year": "2019", "tags": "x; 2", "box": ""}
    ]
    assert sum(report.skipped.values()) == (1 if row else 0)


@pytest.mark.parametrize(
    "text", ["a\0 b", "a \n\t b", "a\x1b b", "\ufeffa b", "a \ud800b", "\u202ea b\u202c", "a\x85b"]
)
def test_text_is_one_printable_line(text):
    assert tidy(text) == "a b"
    tidy(text).encode()


def test_what_is_admitted_and_why_the_rest_is_not(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    figures = [
        make_figure(1, "Fine."),
        make_figure(2, ""),
        make_figure(3, "x" * (MAX_CAPTION + 1)),
        make_figure(4, "Closed.", license="CC BY-NC 4.0"),
        make_figure(1, "Again."),
        make_figure(5, "Broken.", image_path=str(broken)),
        make_figure(6, "Any version.", license="CC BY-SA 4.0"),
    ]
    report = CorpusReport()
    assert [figure.caption for figure in admitted(figures, None, report)] == ["Fine.", "Any version."]
    assert report.figures == 2
    assert report.skipped == {
        "no caption": 1,
        "caption of more than 20,000 characters": 1,
        "licence CC BY-NC 4.0": 1,
        "figure given twice": 1,
        "image that cannot be read": 1,
    }
    assert report.examples["no caption"] == ["PMC1002/g002"]


@pytest.mark.parametrize(
    ("licences", "default", "taken"),
    [
        (None, {"CC BY"}, ["CC BY"]),
        (None, None, ["CC BY", "CC BY-NC 4.0", "unknown"]),
        (["cc-by-nc"], {"CC BY"}, ["CC BY-NC 4.0"]),
        (["unknown"], {"CC BY"}, ["unknown"]),
    ],
)
def test_licences_choose_what_is_admitted(licences, default, taken):
    names = ["CC BY", "CC BY-NC 4.0", "unknown"]
    figures = [make_figure(number, "A caption.", license=name) for number, name in enumerate(names)]
    assert [figure.license for figure in admitted(figures, licences, CorpusReport(), default)] == taken


def test_a_report_keeps_a_few_examples_of_each_reason():
    report = CorpusReport(kept=2)
    for number in range(4):
        report.skip("reason", f"row {number} \x1b[31m" + "x" * 500)
    assert report.skipped["reason"] == 4
    assert [example[:6] for example in report.examples["reason"]] == ["row 0 ", "row 1 "]
    assert all(len(example) <= 80 and example.isprintable() for example in report.examples["reason"])


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.png", image_bytes(), ""),
        ("a.jpg", image_bytes(kind="JPEG"), ""),
        ("a.webp", image_bytes(kind="WEBP"), ""),
        ("bomb.png", huge_png(20_000, 10_000), "image of more than 80 megapixels"),
        ("large.png", huge_png(10_000, 9_000), "image of more than 80 megapixels"),
        ("text.png", b"no image", "image that cannot be read"),
        ("empty.png", b"", "image that cannot be read"),
        ("scan.dcm", b"\0" * 128 + b"DICM", "DICOM image (export it as PNG)"),
        ("page.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image that cannot be read"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_images_that_must_not_be_opened_have_a_reason(tmp_path, name, content, fault):
    (tmp_path / name).write_bytes(content)
    assert image_fault(tmp_path / name) == fault


def test_a_truncated_image_is_noticed_where_its_pixels_are_read(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(image_bytes(kind="JPEG")[:-100])
    assert image_fault(file, decode=True) == "image that cannot be read"


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/hostname", "images/../../secret.png", "link.png", "x" * 5000, "a\0.png", "", "images"],
)
def test_images_outside_the_folder_are_not_found(tmp_path, name):
    secret = write_image(tmp_path / "secret.png")
    folder = tmp_path / "corpus"
    write_image(folder / "images" / "a.png")
    (folder / "link.png").symlink_to(secret)
    assert ImageFolder(folder, ("", "images")).find(name) is None


def test_images_are_found_by_path_in_either_spelling(tmp_path):
    image = write_image(tmp_path / "images" / "a.png")
    folder = ImageFolder(tmp_path, ("", "images", "missing"))
    assert folder.find("a.png") == folder.find("images\\a.png") == folder.find("no.png", "a.png") == str(image)


def test_rows_survive_as_json(tmp_path):
    row = {"image": "a.png", "caption": "Zürich – β"}
    assert (
        next(json_rows(write_jsonl(tmp_path / "r.jsonl", json.dumps(row, ensure_ascii=False)), CorpusReport()))[1]
        == row
    )
