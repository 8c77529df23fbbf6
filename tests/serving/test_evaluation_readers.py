"""Readers: the original layouts, a user's own files, and words for what cannot be read."""

import csv
import json
import re

import pytest
from PIL import Image

from serving.evaluation.benchmarks import BenchmarkError, slake_rows, vqa_rad_rows
from serving.evaluation.controls import prompt_text
from serving.evaluation.image_sets import chest_film_rows, modality_rows
from serving.evaluation.own_rows import own_rows
from serving.evaluation.pmc_vqa import pmc_vqa_rows

CHOICES = {
    f"Choice {letter}": f" {letter}:{text} "
    for letter, text in zip("ABCD", ["PA", "Lateral", "Oblique", "Axial"], strict=True)
}
VERSION_1 = {
    "Figure_path": "PMC1_F1.jpg",
    "Question": "Which view?",
    "Answer": "Lateral",
    **CHOICES,
    "Answer_label": "B",
}
VERSION_2 = {
    "index": 0,
    "Figure_path": "PMC2_F1.jpg",
    "Caption": "A film.",
    "Question": "Which view?",
    **CHOICES,
    "Answer": "B",
    "split": "test",
}
OLDEST = {
    "Figure_path": "PMC3_F1.jpg",
    "Caption": "A film.",
    "Question": "Which view?",
    **CHOICES,
    "Anwser": " B:Lateral ",
}


def write_csv(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)


@pytest.mark.parametrize(
    ("row", "split", "folder"),
    [
        (VERSION_1, "test_clean", "images"),
        (VERSION_2, "test_2", "images_2"),
        (VERSION_2, "test_2", "figures"),
        (OLDEST, "test", "images"),
    ],
)
def test_pmc_vqa_in_each_of_its_layouts(tmp_path, row, split, folder):
    write_csv(tmp_path / f"{split}.csv", row)
    write_image(tmp_path / folder / row["Figure_path"])
    read = pmc_vqa_rows(tmp_path, split, choices_shown=True)[0]
    assert (read.answer, read.correct, read.pmcid) == ("Lateral", 1, row["Figure_path"][:4])
    assert read.image_path == tmp_path / folder / row["Figure_path"]
    assert read.question_id == f"pmc-vqa/{split}/0"
    # Byte for byte what the original asks between "Question: " and "The Answer is:".
    assert prompt_text(read, read.question) == "Which view?Choices: A:PA  B:Lateral  C:Oblique  D:Axial "
    blank = pmc_vqa_rows(tmp_path, split, choices_shown=False)[0]
    assert prompt_text(blank, blank.question) == "Which view?"
    assert not blank.closed


def test_pmc_vqa_without_a_right_choice_names_the_row(tmp_path):
    write_csv(tmp_path / "test.csv", VERSION_1, {**VERSION_1, "Answer": "Coronal", "Answer_label": ""})
    with pytest.raises(BenchmarkError, match=r"test\.csv, row 2: the answer is none"):
        pmc_vqa_rows(tmp_path, "test", choices_shown=True)


def test_own_rows_from_a_csv_and_from_a_folder(tmp_path):
    rows = [
        {"Image": "a.png", "Question": "Is it normal?", "Answer": "yes", "choices": ""},
        {"Image": "a.png", "Question": "Which plane?", "Answer": "coronal", "choices": "axial|coronal"},
        {"Image": "b.png", "Question": "Which plane?", "Answer": "A", "choices": "axial|coronal"},
        {"Image": "b.png", "Question": "Which organ?", "Answer": "liver", "choices": ""},
    ]
    path = write_csv(tmp_path / "cases.csv", *rows)
    read = own_rows(path, "test")
    assert own_rows(tmp_path, "test") == read
    assert [row.closed for row in read] == [True, True, True, False]
    assert [(row.answer, row.correct) for row in read[1:3]] == [("coronal", 1), ("axial", 0)]
    assert read[0].image_path == tmp_path / "a.png"
    assert (
        prompt_text(read[1], read[1].question, "One letter.") == "Which plane?Choices: A:axial  B:coronal \nOne letter."
    )
    write_csv(tmp_path / "test.csv", rows[0])
    assert len(own_rows(tmp_path, "test")) == 1
    with pytest.raises(BenchmarkError, match=r"cases\.csv, test\.csv"):
        own_rows(tmp_path, "validate")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image": "a.png", "question": "Which?"}, "needs rows with the columns image, question, answer"),
        ({"image": "a.png", "question": "Which?", "answer": ""}, "row 1: image, question and answer"),
        (
            {"image": "a.png", "question": "Which?", "answer": "c", "choices": "a|b"},
            "row 1: 'c' is none of the choices",
        ),
    ],
)
def test_own_rows_that_are_wrong_are_told_in_words(tmp_path, row, words):
    with pytest.raises(BenchmarkError, match=words):
        own_rows(write_csv(tmp_path / "mine.csv", row), "")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(BenchmarkError, match=r"validate\.json is missing"):
        slake_rows(tmp_path, "validate")
    (tmp_path / "validate.json").write_text("{")
    with pytest.raises(BenchmarkError, match="not JSON"):
        slake_rows(tmp_path, "validate")
    with pytest.raises(BenchmarkError, match=r"test\.json is missing"):
        vqa_rad_rows(tmp_path, "test")
    with pytest.raises(BenchmarkError, match="splits train, validate and test"):
        vqa_rad_rows(tmp_path, "nonsense")


def test_vqa_rad_as_it_was_published_in_one_file(tmp_path):
    row = {"image_name": "synpic1.jpg", "question": "Normal?", "answer": "Yes", "answer_type": "CLOSED "}
    row |= {"question_type": "PRES", "image_organ": "CHEST"}
    kinds = ["freeform", "test_freeform", "para", "test_para"]
    rows = [{**row, "qid": number, "phrase_type": kind} for number, kind in enumerate(kinds)]
    (tmp_path / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))
    (tmp_path / "VQA_RAD Image Folder").mkdir()
    test = vqa_rad_rows(tmp_path, "test")
    assert [one.question_id for one in test] == ["vqa-rad/1", "vqa-rad/3"]
    assert test[0].closed and test[0].image_path.parent.name == "VQA_RAD Image Folder"
    known = [one.question_id for split in ("train", "validate") for one in vqa_rad_rows(tmp_path, split)]
    assert known == ["vqa-rad/0"]  # the paraphrase is the same row again


def test_vqa_rad_shares_no_image_between_its_parts(shared_data):
    train, validate = (vqa_rad_rows(shared_data / "vqa-rad", split) for split in ("train", "validate"))
    assert train
    assert validate
    assert not {item.image_path for item in train} & {item.image_path for item in validate}


def image_sets(data):
    """Three sets side by side, each in its own layout: two films of each of 30 patients, SLAKE, covid-chestxray."""
    films = [
        {"file": f"images/person{patient}_{kind}_{number}.jpg", "labels": {"class": f"{kind} pneumonia"}}
        for patient, kind in ((patient, kind) for patient in range(15) for kind in ("bacteria", "virus"))
        for number in range(2)
    ]
    films += [
        {"file": f"images/IM-{patient}-{number}.jpg", "labels": {"class": "normal"}}
        for patient in range(15)
        for number in range(2)
    ]
    (data / "kermany-chest-xray").mkdir(parents=True)
    (data / "kermany-chest-xray" / "rows.jsonl").write_text("\n".join(map(json.dumps, films)))
    slake = [
        {"qid": 1, "img_name": "xmlab1/a.jpg", "question": "Is the lung abnormal?", "answer": "No"},
        {"qid": 2, "img_name": "xmlab1/a.jpg", "question": "Which organ?", "answer": "Lung"},
        {"qid": 3, "img_name": "xmlab2/a.jpg", "question": "Is this image normal?", "answer": "No"},
        {"qid": 4, "img_name": "xmlab3/a.jpg", "question": "Is this image normal?", "answer": "No", "modality": "CT"},
    ]
    common = {"q_lang": "en", "answer_type": "OPEN", "content_type": "Organ", "modality": "X-Ray"}
    (data / "slake").mkdir()
    (data / "slake" / "validate.json").write_text(json.dumps([common | row for row in slake]))
    (data / "slake" / "train.json").write_text(json.dumps([common | slake[0] | {"qid": 9, "img_name": "xmlab9/a.jpg"}]))
    finds = [("COVID-19", "X-ray"), ("No Finding", "X-ray"), ("", "X-ray"), ("COVID-19", "CT")]
    covid = [
        {"patientid": number, "finding": finding, "modality": modality, "folder": "images", "filename": f"{number}.png"}
        for number, (finding, modality) in enumerate(finds)
    ]
    write_csv(data / "covid-chestxray" / "metadata.csv", *covid)
    return data


def test_image_sets_are_asked_about_what_is_held_out_and_no_patient_is_on_both_sides(tmp_path):
    data = image_sets(tmp_path)
    for rows_of in (modality_rows, chest_film_rows):
        held_out, train = (rows_of(data, split) for split in ("held-out", "train"))
        assert len({row.question_id for row in [*held_out, *train]}) == len(held_out) + len(train)
        patients = [
            {re.split(r"[_-]\d$", row.image_path.stem)[0] for row in rows if row.dataset == "kermany-chest-xray"}
            for rows in (held_out, train)
        ]
        assert patients[0] and patients[1] and not patients[0] & patients[1]
        assert {row.dataset for row in held_out} - {row.dataset for row in train} == {"covid-chestxray"}
        assert len({row.question for row in held_out}) == 1


def test_modality_and_health_are_read_from_each_set_as_it_says_them(tmp_path):
    data = image_sets(tmp_path)
    told = {row.question_id: row.answer for row in modality_rows(data, "held-out") if "kermany" not in row.dataset}
    assert told == {
        "slake/xmlab1": "X-Ray", "slake/xmlab2": "X-Ray", "slake/xmlab3": "CT",
        "covid-chestxray/0": "X-Ray", "covid-chestxray/1": "X-Ray", "covid-chestxray/2": "X-Ray",
    }  # fmt: skip
    films = chest_film_rows(data, "held-out")
    assert {row.answer for row in films if "person" in row.question_id} == {"No"}
    assert {row.answer for row in films if "/IM-" in row.question_id} == {"Yes"}
    assert {row.question_id: row.answer for row in films if "kermany" not in row.dataset} == {
        "slake/xmlab1": "Yes", "slake/xmlab2": "No", "covid-chestxray/0": "No", "covid-chestxray/1": "Yes",
    }  # fmt: skip


def test_a_folder_without_image_sets_is_named(tmp_path):
    with pytest.raises(BenchmarkError, match="holds none of the image sets"):
        modality_rows(tmp_path, "held-out")
    with pytest.raises(BenchmarkError, match="held-out and train, not 'test'"):
        chest_film_rows(tmp_path, "test")
    (tmp_path / "bccd").mkdir()
    (tmp_path / "bccd" / "rows.jsonl").write_text('{"labels": {}}')
    with pytest.raises(BenchmarkError, match=r"rows\.jsonl is not the list"):
        modality_rows(tmp_path, "held-out")
    (tmp_path / "bccd").rename(tmp_path / "covid-chestxray")
    with pytest.raises(BenchmarkError, match=r"metadata\.csv is missing"):
        chest_film_rows(tmp_path, "held-out")


@pytest.mark.parametrize("rows_of", [modality_rows, chest_film_rows])
def test_the_image_sets_at_hand_are_whole(shared_data, rows_of):
    rows = rows_of(shared_data, "held-out")
    assert len({row.dataset for row in rows}) >= 3
    assert all(row.image_path.is_file() for row in rows)
