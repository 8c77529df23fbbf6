"""Readers: what becomes a figure, what is counted, what is refused."""

import json
from pathlib import Path

import pytest

from retrieval.concepts import first_modality, first_region, named_modalities
from retrieval.corpora import roco
from retrieval.corpora.licences import is_open
from retrieval.corpora.reading import CorpusReport
from retrieval.corpora.roco import download_roco, read_roco
from retrieval.corpora.sample import read_sample
from retrieval.errors import CorpusError, DownloadError
from retrieval.figures import Figure, FigureError
from tests.retrieval.conftest import CAPTIONS, SHARED, make_figure
from tests.retrieval.corpus_files import write_image

ROCO = SHARED / "roco-captions"


def test_a_roco_row_becomes_a_figure_that_links_to_its_article(roco_folder):
    figures = list(read_roco(roco_folder()))
    assert len(figures) == len(CAPTIONS)
    assert figures[0] == Figure(
        figure_id="PMC1000/g000",
        pmcid="PMC1000",
        graphic="g000",
        label="",
        caption=CAPTIONS[0],
        license="CC BY",
        article_url="https://pmc.ncbi.nlm.nih.gov/articles/PMC1000/",
        source="roco",
        modality="X-ray",
        region="chest",
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("captions.txt", "ROCO_00001\t Chest X-ray with right pleural effusion.", "ROCO_00001\t  ", "no caption"),
        ("captions.txt", "ROCO_00001\t Chest", "Chest", "caption row without id"),
        ("licences.txt", "ROCO_00001,PMC1001_g001.jpg,CC BY\n", "", "no licence row"),
        ("licences.txt", "ROCO_00001,PMC1001_g001.jpg,CC BY\n", "ROCO_00001;CC BY\n", "no licence row"),
        ("licences.txt", "PMC1001_g001.jpg,CC BY\n", "PMC1001_g001.jpg,CC BY-NC\n", "licence CC BY-NC"),
        ("licences.txt", "PMC1001_g001.jpg,CC BY\n", "PMC1001_g001.jpg,NO-CC CODE\n", "licence unknown"),
        ("licences.txt", "PMC1001_", "PMC9_", "no PMCID that both files agree on"),
        ("dlinks.txt", "ftp://host/PMC1001.tar.gz", "ftp://host/article.tar.gz", "no PMCID that both files agree on"),
        ("dlinks.txt", "ROCO_00001\t", "ROCO_9\t", "no link row"),
        ("dlinks.txt", "\tg001.jpg", "", "no link row"),
    ],
)
def test_a_malformed_row_is_counted_and_the_others_are_read(roco_folder, file, old, new, reason):
    path = roco_folder()
    target = path / "test" / "radiology" / file
    text = target.read_text()
    assert old in text
    target.write_text(text.replace(old, new, 1))
    report = CorpusReport()
    figures = list(read_roco(path, report=report))
    assert [figure.caption for figure in figures] == [CAPTIONS[0], *CAPTIONS[2:]]
    assert report.skipped[reason] == 1
    assert report.rows == len(CAPTIONS)


def test_bytes_that_are_no_text_are_read_around(roco_folder):
    path = roco_folder()
    with (path / "test" / "radiology" / "captions.txt").open("ab") as file:
        file.write(b"\xff\xfe\x00garbage\n")
    report = CorpusReport()
    assert len(list(read_roco(path, report=report))) == len(CAPTIONS)
    assert sum(report.skipped.values()) == 1


def test_roco_s_pictures_are_found_where_its_script_puts_them(roco_folder):
    path = roco_folder()
    picture = write_image(path / "test" / "radiology" / "images" / "ROCO_00003.jpg")
    figures = list(read_roco(path))
    assert [figure.image_path for figure in figures if figure.image_path] == [str(picture)]
    assert figures[3].image_path == str(picture)


def test_licences_widen_what_is_read(roco_folder):
    path = roco_folder(licence="CC BY-NC")
    assert list(read_roco(path)) == []
    assert {figure.license for figure in read_roco(path, licences=["cc-by-nc"])} == {"CC BY-NC"}


@pytest.mark.parametrize("missing", ["licences.txt", "dlinks.txt"])
def test_a_missing_file_is_named(roco_folder, missing):
    path = roco_folder()
    (path / "test" / "radiology" / missing).unlink()
    with pytest.raises(CorpusError, match=missing):
        list(read_roco(path))


def test_a_folder_without_captions_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"captions\.txt"):
        list(read_roco(tmp_path))


def test_a_download_without_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(roco, "BASE_URL", "http://127.0.0.1:9/")
    with pytest.raises(DownloadError, match="--path"):
        download_roco(tmp_path / "roco")


def test_a_downloaded_file_must_be_the_pinned_one(tmp_path, monkeypatch):
    served = tmp_path / "served"
    (served / "test" / "radiology").mkdir(parents=True)
    (served / "test" / "radiology" / "captions.txt").write_text("altered")
    monkeypatch.setattr(roco, "PINNED", {"test/radiology/captions.txt": "0" * 64})
    with _http_server(served) as url:
        monkeypatch.setattr(roco, "BASE_URL", url)
        with pytest.raises(DownloadError, match="pinned"):
            download_roco(tmp_path / "roco")


@pytest.mark.skipif(not ROCO.is_dir(), reason="../shared/data/roco-captions is not there")
class TestRealRoco:
    def test_the_download_fetches_checks_and_keeps_the_pinned_files(self, tmp_path, monkeypatch):
        with _http_server(ROCO) as url:
            monkeypatch.setattr(roco, "BASE_URL", url)
            folder = download_roco(tmp_path / "roco")
        assert {str(f.relative_to(folder)) for f in folder.rglob("*.txt")} == set(roco.PINNED)
        assert download_roco(folder) == folder

    def test_every_row_is_a_figure_or_counted(self):
        report = CorpusReport()
        figures = list(read_roco(ROCO, report=report))
        assert report.rows == 22_477
        assert len(figures) + sum(report.skipped.values()) == report.rows
        assert {figure.license for figure in figures} == {"CC BY", "CC0", "CC BY-SA"}
        assert len({figure.figure_id for figure in figures}) == len(figures) > 9_600


def test_the_sample_is_ours_openly_licensed_and_wide():
    figures = list(read_sample())
    assert len(figures) >= 300
    assert len({figure.figure_id for figure in figures}) == len(figures)
    assert all(is_open(figure.license) and figure.caption_by == "medvint" for figure in figures)
    assert len({figure.modality for figure in figures}) >= 6
    assert len({figure.region for figure in figures}) >= 6


ROW = {
    "pmcid": "PMC1",
    "graphic": "g1.jpg",
    "label": "Figure 1",
    "license": "CC BY 4.0",
    "article_url": "https://pmc.ncbi.nlm.nih.gov/articles/PMC1/",
    "modality": "CT",
    "region": "chest",
    "findings": ["nodule"],
    "description": "A nodule.",
}


@pytest.mark.parametrize(
    "change", [{"pmcid": "1"}, {"license": "CC BY-NC"}, {"license": ""}, {"description": " "}, {"graphic": ""}]
)
def test_a_wrong_sample_row_is_named_by_its_line(tmp_path, change):
    file = tmp_path / "sample.jsonl"
    file.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, **change}) + "\n")
    with pytest.raises(CorpusError, match="line 2"):
        list(read_sample(file))


@pytest.mark.parametrize(
    ("text", "modality", "region"),
    [
        ("Axial T2-weighted MR image of the pelvis", "MRI", "pelvis"),
        ("PET/CT of the chest", "PET", "chest"),
        ("Optical coherence tomography of the macula", "OCT", "eye"),
        ("Panoramic radiograph showing the mandible", "X-ray", "teeth and jaw"),
        ("US of the liver", "ultrasound", "abdomen"),
        ("the legend tells us more", "", ""),
        ("", "", ""),
    ],
)
def test_concepts_are_read_from_words(text, modality, region):
    assert first_modality(text) == modality
    assert first_region(text) == region


def test_a_text_may_name_several_modalities():
    assert named_modalities("CT and MRI of the head") == {"CT", "MRI"}


def test_a_figure_survives_the_way_through_a_dict():
    figure = make_figure(1, "A caption.", findings=("a", "b"), modality="CT", image_url="https://example.org/a.jpg")
    assert Figure.from_dict(json.loads(json.dumps(figure.to_dict()))) == figure


@pytest.mark.parametrize("change", [{"colour": "red"}, {"caption": None}, {"figure_id": ""}])
def test_what_is_no_figure_is_refused(change):
    with pytest.raises(FigureError):
        Figure.from_dict({**make_figure(1, "A caption.").to_dict(), **change})


def _http_server(folder: Path):
    import functools
    import threading
    from contextlib import contextmanager
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args):
            return

    @contextmanager
    def serve():
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            server.server_close()

    return serve()
