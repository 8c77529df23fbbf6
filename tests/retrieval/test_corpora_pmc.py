"""PMC-OA, PMC-VQA and ROCOv2 in the layouts that they are published in."""

import pytest

from retrieval.corpora.pmc import named_articles
from retrieval.corpora.pmc_oa import read_pmc_oa
from retrieval.corpora.pmc_vqa import read_pmc_vqa
from retrieval.corpora.reading import CorpusReport
from retrieval.corpora.rocov2 import read_rocov2
from retrieval.errors import CorpusError
from retrieval.figures import Figure
from tests.retrieval.corpus_files import huge_png, write_csv, write_image, write_jsonl

FILE_LIST = (
    "File,Article Citation,Accession ID,Last Updated (YYYY-MM-DD HH:MM:SS),PMID,License",
    "oa_package/08/e0/PMC212319.tar.gz,BMC Cancer. 2003 Sep 2; 3:1,PMC212319,2013-03-17 13:37:40,13900,CC BY",
    "oa_package/08/e1/PMC99.tar.gz,J Test. 2010; 1:1,PMC99,2013-03-17 13:37:40,13901,CC BY-NC-ND",
)


@pytest.fixture
def pmc_oa(tmp_path):
    write_jsonl(
        tmp_path / "pmc_oa.jsonl",
        {"image": "PMC212319_Fig3_4.jpg", "caption": "Chest CT with\n a nodule.", "alignment_score": 0.9},
        {"image": "PMC99_Fig1_1.jpg", "caption": "Knee MRI."},
    )
    return tmp_path


def test_a_row_of_pmc_oa_becomes_a_figure_with_the_licence_of_its_article(pmc_oa):
    write_csv(pmc_oa / "oa_file_list.csv", *FILE_LIST)
    image = write_image(pmc_oa / "images" / "PMC212319_Fig3_4.jpg")
    report = CorpusReport()
    assert list(read_pmc_oa(pmc_oa, report=report)) == [
        Figure(
            figure_id="PMC212319/Fig3_4",
            pmcid="PMC212319",
            graphic="Fig3_4",
            label="",
            caption="Chest CT with a nodule.",
            license="CC BY",
            article_url="https://pmc.ncbi.nlm.nih.gov/articles/PMC212319/",
            source="pmc-oa",
            image_path=str(image),
            modality="CT",
            region="chest",
            year=2003,
        )
    ]
    assert report.skipped == {"licence CC BY-NC-ND": 1}


def test_without_pmc_s_list_licences_are_unknown(pmc_oa):
    report = CorpusReport()
    assert list(read_pmc_oa(pmc_oa, report=report)) == []
    assert report.skipped == {"licence unknown": 2}
    assert len(list(read_pmc_oa(pmc_oa, ["unknown"]))) == 2


def test_newer_lists_name_retracted_articles(pmc_oa):
    write_csv(
        pmc_oa / "oa_comm_xml.PMC000xxxxxx.baseline.2024-06-18.filelist.csv",
        "Article File,Article Citation,AccessionID,LastUpdated (YYYY-MM-DD HH:MM:SS),PMID,License,Retracted",
        "a.xml,BMC Cancer. 2003,PMC212319,2024-01-01 00:00:00,1,CC BY,no",
        "b.xml,J Test. 2010,PMC99,2024-01-01 00:00:00,2,CC BY,yes",
    )
    report = CorpusReport()
    assert [figure.pmcid for figure in read_pmc_oa(pmc_oa, report=report)] == ["PMC212319"]
    assert report.skipped == {"retracted article": 1}


@pytest.mark.parametrize("place", ["images", "caption_T060_filtered_top4_sep_v0_subfigures"])
def test_pictures_of_pmc_oa_are_found_where_they_were_unpacked(pmc_oa, place):
    image = write_image(pmc_oa / place / "PMC99_Fig1_1.jpg")
    assert [figure.image_path for figure in read_pmc_oa(pmc_oa, ["unknown"])] == [None, str(image)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "line that is no JSON object"),
        ({"image": "PMC1_F1.jpg"}, "no caption"),
        ({"image": "PMC1_F1.jpg", "caption": " "}, "no caption"),
        ({"caption": "A caption."}, "no PMCID in the image's name"),
        ({"image": "figure1.jpg", "caption": "A caption."}, "no PMCID in the image's name"),
        ({"image": {"path": "PMC1_F1.jpg"}, "caption": "A caption."}, "no PMCID in the image's name"),
        ({"image": "PMC99_Fig1_1.jpg", "caption": "Again."}, "figure given twice"),
        ({"image": "PMC7_bomb.png", "caption": "A bomb."}, "image of more than 80 megapixels"),
    ],
)
def test_a_malformed_row_of_pmc_oa_is_counted(pmc_oa, row, reason):
    (pmc_oa / "PMC7_bomb.png").write_bytes(huge_png(20_000, 10_000))
    write_jsonl(pmc_oa / "more.jsonl", *(pmc_oa / "pmc_oa.jsonl").read_text().splitlines(), row)
    report = CorpusReport()
    assert len(list(read_pmc_oa(pmc_oa / "more.jsonl", ["unknown"], report))) == 2
    assert report.skipped == {reason: 1}
    assert report.rows == 3


def test_a_name_that_leads_out_of_the_folder_finds_no_picture(pmc_oa):
    write_image(pmc_oa.parent / "PMC5_secret.jpg")
    write_jsonl(pmc_oa / "pmc_oa.jsonl", {"image": "../PMC5_secret.jpg", "caption": "A caption."})
    figure = next(read_pmc_oa(pmc_oa, ["unknown"]))
    assert (figure.figure_id, figure.image_path) == ("PMC5/secret", None)


def test_an_id_across_two_pieces_of_a_long_file_is_found(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"x" * ((1 << 20) - 5) + b"PMC1234567 " + b"y" * 100 + b"PMC8")
    assert {"PMC1234567", "PMC8"} <= named_articles([file])


QUESTION = ',"What is shown?",A:CT,B:MRI,C:US,D:X-ray,B'
COLUMNS = "Question,Choice A,Choice B,Choice C,Choice D,Answer"


def test_captioned_figures_of_pmc_vqa_are_read_once(tmp_path):
    write_csv(tmp_path / "oa_comm_use_file_list.csv", *FILE_LIST)
    image = write_image(tmp_path / "images_2" / "PMC212319_Fig1_7.jpg")
    write_csv(
        tmp_path / "train_2.csv",
        f",Figure_path,Caption,{COLUMNS}",
        f'0,PMC212319_Fig1_7.jpg,"Brain MRI, axial."{QUESTION}',
        f'1,PMC212319_Fig1_7.jpg,"Brain MRI, axial."{QUESTION}',
        f"2,figure.jpg,No id.{QUESTION}",
        f"3,PMC212319_Fig2.jpg,{QUESTION}",
    )
    report = CorpusReport()
    (figure,) = read_pmc_vqa(tmp_path, report=report)
    assert (figure.figure_id, figure.caption, figure.year) == ("PMC212319/Fig1_7", "Brain MRI, axial.", 2003)
    assert (figure.source, figure.license, figure.image_path) == ("pmc-vqa", "CC BY", str(image))
    assert report.skipped == {
        "another question about the same figure": 1,
        "no PMCID in the figure's name": 1,
        "no caption": 1,
    }
    assert report.rows == 4


def test_questions_without_captions_give_no_figures(tmp_path):
    write_csv(tmp_path / "test.csv", f"Figure_path,{COLUMNS.replace('Answer', 'Anwser')}", f"PMC1_F1.jpg{QUESTION}")
    report = CorpusReport()
    assert list(read_pmc_vqa(tmp_path, ["unknown"], report)) == []
    assert report.skipped == {"test.csv has questions only, no column Caption": 1}


@pytest.fixture
def rocov2(tmp_path):
    write_csv(
        tmp_path / "train_captions.csv",
        "ID,Caption",
        'ROCOv2_2023_train_000001,"Head CT, axial, with a haemorrhage."',
        "ROCOv2_2023_train_000002,Abdominal ultrasound.",
    )
    write_csv(
        tmp_path / "license_information.csv",
        "ID, PMCID, Attribution, Link",
        'ROCOv2_2023_train_000001,PMC111,"CC BY [Muacevic et al. (2022)]",https://www.ncbi.nlm.nih.gov/pmc/articles/PMC111/',
        'ROCOv2_2023_train_000002,,"CC BY-NC-SA [Nasa et al. (2013)]",https://www.ncbi.nlm.nih.gov/pmc/articles/PMC222/',
    )
    write_csv(
        tmp_path / "cui_mapping.csv", "CUI,Canonical name", "C0040405,X-Ray Computed Tomography", "C0019080,Hemorrhage"
    )
    write_csv(tmp_path / "train_concepts_manual.csv", "ID,CUIs", "ROCOv2_2023_train_000001,C0040405")
    write_csv(tmp_path / "train_concepts.csv", "ID,CUIs", "ROCOv2_2023_train_000001,C0040405;C0019080;C9999999")
    return tmp_path


def test_a_row_of_rocov2_becomes_a_figure_with_its_concepts(rocov2):
    image = write_image(rocov2 / "train_images" / "train" / "ROCOv2_2023_train_000001.jpg")
    report = CorpusReport()
    assert list(read_rocov2(rocov2, report=report)) == [
        Figure(
            figure_id="PMC111/ROCOv2_2023_train_000001",
            pmcid="PMC111",
            graphic="ROCOv2_2023_train_000001",
            label="",
            caption="Head CT, axial, with a haemorrhage.",
            license="CC BY",
            article_url="https://pmc.ncbi.nlm.nih.gov/articles/PMC111/",
            source="rocov2",
            image_path=str(image),
            modality="CT",
            region="head",
            findings=("Hemorrhage",),
            year=2022,
        )
    ]
    assert report.skipped == {"licence CC BY-NC-SA": 1}


def test_the_article_of_rocov2_may_be_named_by_its_link_only(rocov2):
    (figure,) = read_rocov2(rocov2, ["CC BY-NC-SA"])
    assert (figure.pmcid, figure.year, figure.image_path) == ("PMC222", 2013, None)


def test_rocov2_is_read_without_concepts_but_not_without_licences(rocov2):
    for name in ("cui_mapping.csv", "train_concepts.csv", "train_concepts_manual.csv"):
        (rocov2 / name).unlink()
    assert [figure.modality for figure in read_rocov2(rocov2)] == ["CT"]
    (rocov2 / "license_information.csv").unlink()
    with pytest.raises(CorpusError, match=r"license_information\.csv"):
        list(read_rocov2(rocov2))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("ROCOv2_2023_train_000009,A caption.", "no licence row"),
        ("ROCOv2_2023_train_000003,A caption.", "no PMCID"),
        ("ROCOv2_2023_train_000001,Again.", "figure given twice"),
        ("ROCOv2_2023_train_000004,", "no caption"),
        ("ROCOv2_2023_train_000001", "row with more or fewer cells than the header"),
    ],
)
def test_a_malformed_row_of_rocov2_is_counted(rocov2, row, reason):
    with (rocov2 / "license_information.csv").open("a") as file:
        file.write("ROCOv2_2023_train_000003,,CC BY,\nROCOv2_2023_train_000004,PMC4,CC BY,\n")
    with (rocov2 / "train_captions.csv").open("a") as file:
        file.write(row + "\n")
    report = CorpusReport()
    assert len(list(read_rocov2(rocov2, ["CC BY", "CC BY-NC-SA"], report))) == 2
    assert report.skipped == {reason: 1}
    assert report.rows == 3


@pytest.mark.parametrize("read", [read_pmc_oa, read_pmc_vqa, read_rocov2])
def test_a_folder_of_something_else_is_refused(read, tmp_path):
    with pytest.raises(CorpusError, match="holds no"):
        list(read(tmp_path))
