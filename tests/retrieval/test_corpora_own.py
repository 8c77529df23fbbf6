"""A teacher's own images, captioned image sets, and every corpus by its name."""

import json
from pathlib import Path

import pytest

from retrieval.corpora.image_sets import IMAGE_SETS, read_image_set
from retrieval.corpora.licences import is_open
from retrieval.corpora.own import preview, read_own
from retrieval.corpora.reading import CorpusReport, UnsafeInputError
from retrieval.corpora.registry import CORPORA, read_corpus
from retrieval.errors import CorpusError
from tests.retrieval.conftest import CAPTIONS, SHARED
from tests.retrieval.corpus_files import huge_png, image_bytes, write_csv, write_image, write_jsonl, write_zip

GOOD = "images/a.png,Chest X-ray with a pneumothorax.,CC BY 4.0"


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "lecture"
    write_image(folder / "images" / "a.png", "red")
    write_csv(folder / "figures.csv", "Image,Caption,Licence", GOOD)
    return folder


def test_a_row_of_an_own_table_becomes_a_figure(own):
    write_csv(
        own / "figures.csv",
        "File;Legend;License;Label;Alt;Modality;Region;Findings;Date;Source;Remarks",
        "images\\a.png;A lung.;https://creativecommons.org/licenses/by-sa/4.0/;Figure 3;Long text.;chest CT;thorax;"
        '"nodule; cyst";May 2021;https://example.org/a;mine',
    )
    report = CorpusReport()
    (figure,) = read_own(own, report=report)
    assert (figure.caption, figure.label, figure.description) == ("A lung.", "Figure 3", "Long text.")
    assert (figure.license, figure.year, figure.article_url) == ("CC BY-SA 4.0", 2021, "https://example.org/a")
    assert (figure.modality, figure.region, figure.findings) == ("CT", "chest", ("nodule", "cyst"))
    assert figure.image_path == str(own / "images" / "a.png")
    assert figure.figure_id == f"own/{figure.graphic}" and figure.pmcid == "" and figure.source == "own"
    assert (report.rows, report.figures) == (1, 1)


def test_an_image_is_found_by_its_name_where_a_browser_dropped_its_folder(own):
    (own / "images" / "a.png").rename(own / "a.png")
    (figure,) = read_own(own)
    assert figure.image_path == str(own / "a.png")


@pytest.mark.parametrize(
    "table",
    [
        ("a.csv", 'image,caption\n"a.png","A caption."\n'),
        ("a.csv", "\ufeffimage;caption\r\na.png;A caption.\r\n"),
        ("a.tsv", "image\tcaption\na.png\tA caption.\n"),
        ("a.jsonl", '{"image": "a.png", "caption": "A caption.", "year": 2020, "findings": ["x"]}\n'),
        ("A.CSV", "IMAGE,CAPTION\nimages/a.png,A caption.\n"),
    ],
)
def test_tables_of_all_kinds_are_read(tmp_path, table):
    name, text = table
    write_image(tmp_path / ("images/a.png" if "images/" in text else "a.png"))
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert [(figure.caption, figure.license) for figure in read_own(tmp_path)] == [("A caption.", "unknown")]


def test_own_figures_are_taken_whatever_their_licence_unless_some_are_asked_for(own):
    write_image(own / "b.png", "blue")
    write_csv(own / "figures.csv", "image,caption,licence", GOOD, "b.png,B.,for our students only")
    assert [figure.license for figure in read_own(own)] == ["CC BY 4.0", "unknown"]
    assert [figure.license for figure in read_own(own, ["CC BY"])] == ["CC BY 4.0"]


def test_a_corrected_caption_keeps_the_figure_s_id(own):
    (before,) = read_own(own)
    write_csv(own / "figures.csv", "image,caption", "images/a.png,Corrected.")
    (after,) = read_own(own)
    assert before.figure_id == after.figure_id and before.caption != after.caption


@pytest.mark.parametrize("pack", [False, True], ids=["folder", "zip"])
def test_a_preview_names_every_row_that_would_be_rejected_and_why(own, tmp_path, pack):
    files = {
        "bomb.png": huge_png(20_000, 10_000),
        "cut.jpg": image_bytes(kind="JPEG")[:-60],
        "note.png": b"no image",
        "scan.dcm": b"DICM",
        "lonely.png": image_bytes("green"),
        "copy.png": image_bytes("red"),
    }
    for name, content in files.items():
        (own / name).write_bytes(content)
    rejected = {
        "bomb.png,B.,CC0": "image of more than 80 megapixels",
        "cut.jpg,C.,CC0": "image that cannot be read",
        "note.png,N.,CC0": "image that cannot be read",
        "scan.dcm,D.,CC0": "DICOM image (export it as PNG)",
        "missing.png,M.,CC0": "image not found in the folder",
        "../secret.png,S.,CC0": "image not found in the folder",
        "/etc/hostname,S.,CC0": "image not found in the folder",
        ",N.,CC0": "no image named",
        "images/a.png,,CC0": "no caption",
        "images/a.png,Again.,CC0": "image that another row describes",
        "copy.png,The same picture.,CC0": "figure given twice",
        "images/a.png": "row with more or fewer cells than the header",
    }
    write_csv(own / "figures.csv", "image,caption,licence", GOOD, *rejected)
    with (own / "figures.csv").open("ab") as file:
        file.write("images/a.png,Röntgenbild,CC0\n".encode("latin-1"))
    write_image(tmp_path / "secret.png")
    path = own
    if pack:
        members = {f"lecture/{f.relative_to(own)}": f.read_bytes() for f in own.rglob("*") if f.is_file()}
        path = write_zip(tmp_path / "lecture.zip", members)
    before = sorted(tmp_path.rglob("*"))

    report = preview(path)

    assert sorted(tmp_path.rglob("*")) == before
    expected = [*rejected.values(), "image that no row of a table names"]
    expected.append("caption with letters that are not UTF-8 (save the table as CSV UTF-8)")
    assert report.figures == 1
    assert sorted(report.skipped.elements()) == sorted(expected)
    assert report.rows == report.figures + len(expected)
    assert report.examples["image that no row of a table names"] == ["lonely.png"]
    assert report.examples["no image named"] == ["figures.csv, line 10:"]


def test_links_out_of_the_folder_are_not_followed(own, tmp_path):
    (own / "link.png").symlink_to(write_image(tmp_path / "secret.png"))
    (own / "more.csv").symlink_to(write_csv(tmp_path / "secret.csv", "image,caption", "images/a.png,Secret."))
    write_csv(own / "figures.csv", "image,caption", "link.png,A link.")
    report = CorpusReport()
    assert list(read_own(own, report=report)) == []
    assert report.examples["image not found in the folder"] == ["figures.csv, line 2: link.png"]


@pytest.mark.parametrize(
    ("header", "message"),
    [("picture,caption", "no column 'image'"), ("image,notes", "no column 'caption'"), ("", "no column 'image'")],
)
def test_a_table_without_image_or_caption_is_refused(own, header, message):
    (own / "figures.csv").write_text(f"{header}\nx,y\n" if header else "")
    with pytest.raises(CorpusError, match=message):
        preview(own)


def test_a_folder_without_a_table_is_refused(tmp_path):
    write_image(tmp_path / "a.png")
    with pytest.raises(CorpusError, match="no table"):
        preview(tmp_path)


def test_a_harmful_zip_is_refused_before_anything_is_stored(tmp_path):
    file = write_zip(tmp_path / "a.zip", {"../a.csv": "image,caption\n"})
    with pytest.raises(UnsafeInputError, match="outside its folder"):
        preview(file)
    with pytest.raises(UnsafeInputError, match="outside its folder"):
        list(read_corpus("own", file, None, CorpusReport(), tmp_path / "data"))
    assert not list(tmp_path.rglob("*.csv"))


def test_a_zip_is_read_from_where_it_was_unpacked(own, tmp_path):
    members = {str(f.relative_to(own)): f.read_bytes() for f in own.rglob("*") if f.is_file()}
    file = write_zip(tmp_path / "lecture.zip", members)
    (figure,) = read_corpus("own", file, None, CorpusReport(), tmp_path / "data")
    assert Path(figure.image_path).is_relative_to(tmp_path / "data" / "corpora" / "own")
    assert Path(figure.image_path).read_bytes() == (own / "images" / "a.png").read_bytes()


def test_an_image_set_is_read_by_its_table_of_columns(tmp_path):
    image = write_image(tmp_path / "images" / "ap_m1_0001.jpg")
    row = {"file": "images/ap_m1_0001.jpg", "title": "Blood Pressure.", "caption": "A nurse.", "alt": "A photograph of it.",
           "licence": "CC BY 4.0", "url": "https://openstax.org/a"}  # fmt: skip
    write_jsonl(
        tmp_path / "rows.jsonl",
        row,
        {**row, "file": ""},
        {**row, "file": "images/b.jpg", "caption": ""},
        {**row, "licence": ""},
    )
    report = CorpusReport()
    (figure,) = read_image_set(IMAGE_SETS["openstax"], tmp_path, report=report)
    assert (figure.figure_id, figure.caption) == ("openstax/ap_m1_0001", "Blood Pressure. A nurse.")
    assert (figure.description, figure.article_url) == ("A photograph of it.", "https://openstax.org/a")
    assert (figure.pmcid, figure.image_path, figure.modality) == ("", str(image), "photograph")
    assert report.skipped == {"row without a file": 1, "no caption": 1, "licence unknown": 1}


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_an_image_set_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(CorpusError, match=IMAGE_SETS[name].rows):
        list(read_image_set(IMAGE_SETS[name], tmp_path))


@pytest.mark.parametrize(
    ("name", "count", "rows", "described"), [("openstax", 1431, 1431, 1431), ("covid-chestxray", 9, 29, 0)]
)
def test_real_image_sets_are_read_whole(name, count, rows, described):
    if not (SHARED / name).is_dir():
        pytest.skip(f"../shared/data/{name} is not there")
    report = CorpusReport()
    figures = list(read_corpus(name, SHARED / name, None, report, Path("unused")))
    assert (len(figures), report.rows, report.figures) == (count, rows, count)
    assert all(figure.image_path and is_open(figure.license) and figure.article_url for figure in figures)
    assert len({figure.figure_id for figure in figures}) == count
    assert sum(bool(figure.description) for figure in figures) == described


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_says_what_it_needs(tmp_path, name):
    corpus = CORPORA[name]
    assert corpus.name == name and corpus.title and corpus.help
    missing = tmp_path / "missing"
    with pytest.raises(CorpusError, match="not there"):
        read_corpus(name, missing, None, CorpusReport(), tmp_path)
    if corpus.needs_path:
        with pytest.raises(CorpusError, match="needs a path"):
            read_corpus(name, None, None, CorpusReport(), tmp_path)
        with pytest.raises(CorpusError):
            list(read_corpus(name, tmp_path, None, CorpusReport(), tmp_path))


def test_a_corpus_that_does_not_exist_is_answered_with_those_that_do(tmp_path):
    with pytest.raises(CorpusError, match=r'"pubmed".*sample, roco, rocov2, pmc-oa, pmc-vqa, jats, own, openstax'):
        read_corpus("pubmed", None, None, CorpusReport(), tmp_path)


def test_the_sample_comes_along_and_can_be_filtered(tmp_path):
    report = CorpusReport()
    figures = list(read_corpus("sample", None, None, report, tmp_path))
    assert len(figures) == report.figures == report.rows >= 300
    assert list(read_corpus("sample", None, ["CC BY-NC"], report, tmp_path)) == []
    assert sum(report.skipped.values()) == len(figures)


def test_roco_is_read_through_the_registry(roco_folder, tmp_path):
    figures = list(read_corpus("roco", roco_folder(), ["CC BY"], CorpusReport(), tmp_path))
    assert [figure.caption for figure in figures] == list(CAPTIONS)


def test_figures_of_every_reader_can_be_stored(own):
    (figure,) = read_own(own)
    assert json.loads(json.dumps(figure.to_dict()))["source"] == "own"
