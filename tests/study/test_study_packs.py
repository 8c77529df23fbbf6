"""Packs: fair by making, checked by lint and blind guessers, from a teacher's ZIP, to Anki and Moodle."""

import json
import random
import sqlite3
import zipfile
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from lxml import etree
from PIL import Image

from assistant.model import ModelClient, ModelNotReadyError
from assistant.settings import Settings
from assistant.study import blank, blind, export, lint, teacher
from assistant.study.errors import PackError
from assistant.study.items import Commitment, Gold, Item, Skill
from assistant.study.making import Question, balanced, blind_click
from assistant.study.packs import Pack, PackWriter, Shelf
from assistant.study.sources import SOURCES, import_pack, phantoms
from assistant.study.sources.phantoms import SIDE_PX
from tests.study.own_cases import case, make_zip


def item(**values) -> Item:
    fields = {
        "item_id": "p/1/option", "pack": "p", "version": "1", "kind": "option", "skill": Skill("s", "", "", "s"),
        "images": ("0" * 64,), "case": "0" * 64, "stem": "What is marked?", "gold": Gold("pneumonia"),
        "options": ("pneumonia", "effusion", "fracture"),
    }  # fmt: skip
    return Item(**{**fields, **values})


def test_a_sound_item_has_no_flaw():
    assert list(lint.check_item(item())) == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"options": ("effusion", "fracture", "nodule")}, "key among no options"),
        ({"options": ("pneumonia", "Pneumonia", "nodule")}, "same option"),
        ({"options": ("pneumonia", "left lower lobe", "lower left lobe")}, "same meaning"),
        ({"gold": Gold("pneumonia of the whole left lung"),
          "options": ("pneumonia of the whole left lung", "mass", "rib")}, "longest key"),
        ({"options": ("pneumonia", "all of the above", "mass")}, "all of the above"),
        ({"stem": "Which is NOT seen?"}, "negative stem"),
        ({"stem": "Which pneumonia sign is marked?"}, "cue word"),
        ({"gold": Gold("effusion"), "stem": "This shows an", "options": ("effusion", "mass", "nodule")}, "grammar"),
        ({"gold": Gold("pneumonia", facts=("effusion",))}, "second right option"),
        ({"options": ()}, "no options"),
        ({"stem": " "}, "no stem"),
        ({"gold": Gold("")}, "no key"),
        ({"kind": "place", "gold": Gold("")}, "no place"),
    ],
)  # fmt: skip
def test_flaws_are_found(values, kind: str):
    assert kind in [flaw.kind for flaw in lint.check_item(item(**values))]


def question(key: str, number: int) -> Question:
    return Question(f"{key}{number}", "t", "Which?", key, lambda: Image.new("L", (8, 8)), Skill(key, "", "", key))


@pytest.mark.parametrize("counts", [(40, 9, 3), (40, 30, 20, 10, 5), (7, 7), (50, 1, 1, 1, 1)])
def test_balanced_options_tell_a_guesser_nothing(counts):
    questions = [question(f"key {at}", number) for at, many in enumerate(counts) for number in range(many)]
    made = list(balanced(questions, random.Random(4)))
    assert made
    items = [item(item_id=one.case_id, gold=Gold(one.key), options=options) for one, options in made]
    checked = blind.check(items)
    assert blind.fails(checked) == []
    assert (
        checked["most frequent key of these options"]["score"]
        == checked["most frequent key of these options"]["chance"]
    )


def test_an_unfair_pack_fails_the_blind_checks():
    items = [item(item_id=f"p/{at}/x", gold=Gold("pneumonia" if at < 8 else "effusion")) for at in range(10)]
    assert "most frequent key of the question" in blind.fails(blind.check(items))


def test_a_fixed_click_is_blind_where_the_place_is_always_the_same():
    there, anywhere = (0.4, 0.4, 0.1, 0.1), np.random.default_rng(1).uniform(0.1, 0.8, (30, 2))
    assert blind_click([(there,)] * 30)[0] == 1.0
    score, chance = blind_click([((float(x), float(y), 0.1, 0.1),) for x, y in anywhere])
    assert score < chance + 0.1


def test_the_drawn_pack_has_its_certificate_and_says_what_it_is(drawn_shelf):
    shelf = Shelf(drawn_shelf)
    found = shelf.open("phantoms")
    assert lint.check(found.items) == []
    assert blind.fails(blind.check(found.items)) == []
    assert found.normal_share > 0
    assert found.pack.licence == "MIT"
    assert {one.kind for one in found.items} == {"option", "text", "place"}


def test_the_same_phantoms_are_drawn_every_time():
    first, again = ([one.picture().tobytes() for one in islice(phantoms.questions(), 4)] for _ in range(2))
    assert first == again


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_phantoms_side_is_the_patients_by_its_letter(side: str, seed: int):
    """Where the letter hangs at the picture's left, the patient's left is there too."""
    pixels = np.asarray(phantoms.draw_side(side, seed), dtype=float)
    corner = pixels[8:50, 8:50].mean(), pixels[8:50, -50:-8].mean()
    letter_at_left = corner[0] > corner[1]
    lungs = pixels[80:260].copy()
    lungs[:, 140:180] = 0
    bright = (lungs[:, 62:258] > 150).sum(axis=0)
    spot_at_left = bright[: len(bright) // 2].sum() > bright[len(bright) // 2 :].sum()
    assert (spot_at_left == letter_at_left) == (side == "left")


def test_the_count_of_a_phantom_is_exact():
    from scipy.ndimage import label

    for key in "0135":
        pixels = np.asarray(phantoms.draw_count(key, 5), dtype=float)
        pixels[:, 140:180] = 0
        pixels[:60] = 0
        blobs, number = label(pixels > 140)
        sizes = [int((blobs == at).sum()) for at in range(1, number + 1)]
        assert sum(size > 40 for size in sizes) == int(key)


def test_a_marked_place_is_where_the_dark_spot_is():
    picture, (x, y, wide, high) = phantoms.draw_place(11)
    pixels = np.asarray(picture, dtype=float)
    at = np.s_[int(y * SIDE_PX) : int((y + high) * SIDE_PX), int(x * SIDE_PX) : int((x + wide) * SIDE_PX)]
    assert pixels[at].mean() < 110 < pixels[150:170, 150:170].mean() + 20


def write_slake(folder: Path) -> None:
    rows = []
    for number, (modality, place) in enumerate([("CT", "Abdomen"), ("MRI", "Brain"), ("X-Ray", "Lung")] * 3):
        name = f"xmlab{number}"
        (folder / "imgs" / name).mkdir(parents=True)
        noise = np.random.default_rng(number).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "imgs" / name / "source.jpg")
        label = {"Abdomen": "Liver", "Brain": "Brain Edema", "Lung": "Pneumothorax"}[place]
        (folder / "imgs" / name / "detection.json").write_text(json.dumps([{label: [40.0, 8.0, 10.0, 12.0]}]))
        asked = {"Is the lung healthy?": "No" if number % 2 else "Yes"} if place == "Lung" else {}
        asked["Does the picture contain liver?"] = "Yes" if place == "Abdomen" else "No"
        rows += [
            {"img_name": f"{name}/source.jpg", "question": text, "answer": answer, "q_lang": "en", "modality": modality,
             "location": place, "content_type": "Abnormality"}
            for text, answer in asked.items()
        ]  # fmt: skip
    (folder / "validate.json").write_text(json.dumps(rows))


def test_slake_becomes_fair_items_with_its_licence(tmp_path):
    write_slake(tmp_path / "slake")
    pack = import_pack(tmp_path / "shelf", "slake", tmp_path / "slake")
    found = Shelf(tmp_path / "shelf").open("slake")
    assert pack.licence == "CC BY 4.0"
    assert "No normal films" in pack.note
    stems = {one.stem for one in found.items}
    assert {"Which kind of image is this?", "Can you see the liver here?"} <= stems
    assert all(result["passes"] for result in found.report["blind"].values())
    assert all(one.licence and one.source for one in found.items)
    presence = [one for one in found.items if one.stem == "Can you see the liver here?"]
    assert sum(one.is_negative for one in presence) * 2 == len(presence)


def test_a_set_of_classes_becomes_items(tmp_path):
    folder = tmp_path / "kermany"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(6):
        Image.fromarray(np.full((32, 32), 20 * number, np.uint8)).save(folder / "images" / f"{number}.jpg")
        label = "normal" if number % 2 else "viral pneumonia"
        lines.append(json.dumps({"file": f"images/{number}.jpg", "labels": {"class": label}}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    import_pack(tmp_path / "shelf", "kermany", folder)
    found = Shelf(tmp_path / "shelf").open("kermany")
    assert found.normal_share == 0.5
    assert {one.gold.answer for one in found.items} == {"Yes", "No"}


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [("nothing", None, "There is no reader"), ("slake", None, "--path"), ("slake", "empty", "could not be read")],
)
def test_what_cannot_be_imported_is_said_and_leaves_nothing(tmp_path, name, path, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackError, match=words):
        import_pack(tmp_path / "shelf", name, tmp_path / path if path else None)
    assert not list((tmp_path / "shelf").glob("*")) if (tmp_path / "shelf").exists() else True


def test_every_source_has_a_licence_and_a_source():
    assert all(source.pack.licence and source.pack.source for source in SOURCES.values())


def test_a_pictures_file_tells_nothing(tmp_path):
    writer = PackWriter(tmp_path, Pack("p", "P", "MIT", "me"))
    picture = Image.new("RGB", (40, 30), (10, 20, 30))
    picture.info["Comment"] = "pneumothorax"
    digest = writer.image(picture)
    (file,) = tmp_path.rglob("*.png")
    assert file.stem == digest
    assert b"pneumothorax" not in file.read_bytes()
    writer.drop()


def test_a_teachers_zip_is_published_and_an_edited_row_keeps_its_id(tmp_path, own_shelf):
    rows = [
        case(0),
        case(1, answer="effusion"),
        case(2, answer="", options="", question="Click on it.", boxes="5,5,10,10"),
    ]
    read = teacher.read_zip(make_zip(tmp_path, rows), "lecture-1")
    assert read.errors == []
    first = teacher.publish(own_shelf, read)
    ids = [one.item_id for one in own_shelf.open("lecture-1").items]
    rows[0]["explanation"] = "Because of the bronchogram."
    again = teacher.publish(own_shelf, teacher.read_zip(make_zip(tmp_path, rows), "lecture-1"))
    assert [one.item_id for one in own_shelf.open("lecture-1").items] == ids
    assert again.version != first.version
    assert own_shelf.open("lecture-1").items[0].explanation == "Because of the bronchogram."
    assert "No normal images" in again.note


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"image": "missing.png"}, "missing image"),
        ({"answer": "mass"}, "key among no options"),
        ({"licence": ""}, "no licence"),
        ({"case_id": "../x"}, "case_id"),
        ({"boxes": "1,2,3"}, "boxes"),
        ({"boxes": "30,30,20,20"}, "boxes"),
        ({"case_id": "c1"}, "same id"),
    ],
)
def test_a_faulty_row_is_named_and_left_out(tmp_path, values, kind: str):
    read = teacher.read_zip(make_zip(tmp_path, [case(1), case(0, **values)]), "lecture")
    assert [(one.row, one.kind) for one in read.errors] == [(3, kind)]
    assert len(read.items) == (0 if kind == "same id" else 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"no archive"), "not a ZIP"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "needs a cases.csv"),
    ],
)
def test_what_is_no_archive_of_cases_is_refused(tmp_path, make, words: str):
    path = tmp_path / "x.zip"
    make(path)
    with pytest.raises(PackError, match=words):
        teacher.read_zip(path, "x")


def notes(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        data = archive.read("collection.anki2")
        media = json.loads(archive.read("media"))
    (path.parent / "c.anki2").write_bytes(data)
    with sqlite3.connect(path.parent / "c.anki2") as db:
        found = dict(db.execute("SELECT guid, flds FROM notes").fetchall())
    assert len(set(media.values())) == len(media)
    return found


def test_anki_notes_keep_their_id_when_a_text_is_corrected(tmp_path, drawn_shelf):
    shelf = Shelf(drawn_shelf)
    items = [one for one in shelf.items() if one.kind != "place"][:6]
    assert export.anki(shelf, items, tmp_path / "a.apkg") == 6
    before = notes(tmp_path / "a.apkg")
    export.anki(shelf, [replace(one, explanation="<b>new</b>") for one in items], tmp_path / "b.apkg")
    after = notes(tmp_path / "b.apkg")
    assert before.keys() == after.keys()
    assert all("&lt;b&gt;new" in fields for fields in after.values())
    assert len({fields.split("\x1f")[0] for fields in after.values()}) == len({one.images for one in items})


def test_ankis_own_importer_updates_every_note_and_keeps_its_schedule(tmp_path, drawn_shelf):
    from anki.collection import Collection, ImportAnkiPackageOptions, ImportAnkiPackageRequest

    shelf = Shelf(drawn_shelf)
    items = [one for one in shelf.items() if one.kind != "place"][:8]
    export.anki(shelf, items, tmp_path / "a.apkg", now=1_800_000_000)
    export.anki(shelf, [replace(one, explanation="corrected") for one in items], tmp_path / "b.apkg", now=1_800_000_100)
    collection = Collection(str(tmp_path / "c.anki2"))

    def take_in(name: str):
        options = ImportAnkiPackageOptions(with_scheduling=False)
        request = ImportAnkiPackageRequest(package_path=str(tmp_path / name), options=options)
        return collection.import_anki_package(request).log

    try:
        assert len(take_in("a.apkg").new) == 8
        for number in collection.find_cards(""):
            card = collection.get_card(number)
            card.ivl, card.type, card.queue, card.due = 17, 2, 2, 99
            collection.update_card(card)
        again = take_in("b.apkg")
        assert (len(again.new), len(again.updated), len(again.conflicting)) == (0, 8, 0)
        assert {collection.get_card(number).ivl for number in collection.find_cards("")} == {17}
        found = [collection.get_note(number) for number in collection.find_notes("")]
        assert {note["Explanation"] for note in found} == {"corrected"}
        assert len({note["Image"] for note in found}) == len({one.images for one in items})
    finally:
        collection.close()


def test_moodle_xml_has_the_pictures_and_one_right_answer(drawn_shelf):
    shelf = Shelf(drawn_shelf)
    items = shelf.items()
    quiz = etree.fromstring(export.moodle(shelf, items))
    asked = quiz.findall("question")
    assert len(asked) == len([one for one in items if one.kind != "place"])
    for one in asked:
        file = one.find("questiontext/file")
        assert file.get("name") in one.findtext("questiontext/text")
        assert len(file.text) > 100
        fractions = [answer.get("fraction") for answer in one.findall("answer")]
        assert one.get("type") == "shortanswer" or fractions.count("100") == 1
    assert len({one.findtext("idnumber") for one in asked}) == len(asked)


def test_a_table_has_no_names_unless_asked_for_and_no_formulas(gate, item_of):
    served = gate.log.serve("anna", "practise", item_of("What is the shape"))
    gate.commit("anna", Commitment(served.attempt_id, "=cmd()", 1))
    text = export.table(gate.log.attempts("anna"), with_names=False)
    assert "anna" not in text
    assert "learner 1" in text
    assert "'=cmd()" in text


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ("Pneumonia.", ("pneumonia",)),
        ("It is likely a pleural effusion", ("effusion",)),
        ("effusion or fracture", ("effusion", "fracture")),
        ("I cannot see anything", ("pneumonia", "effusion", "fracture")),
        ("", ("pneumonia", "effusion", "fracture")),
    ],
)
def test_what_a_model_says_is_one_option_or_a_guess_among_all(answer: str, options: tuple[str, ...]):
    assert blank.named(("pneumonia", "effusion", "fracture"), answer) == options


async def test_the_blind_check_says_that_no_model_is_there(own_shelf, free_port, tmp_path):
    settings = Settings(data_dir=tmp_path, model_port=free_port())
    model = ModelClient(settings)
    with pytest.raises(ModelNotReadyError):
        await blank.check(model, own_shelf.items(), settings)
    assert await blank.check(model, [item(options=())], settings) == {}
    await model.close()


async def test_the_model_is_asked_without_the_pictures(model_server, drawn_shelf, tmp_path):
    """Words alone are balanced in the drawn pack: whatever the model says, it is right as often as chance."""
    settings = Settings(data_dir=tmp_path, model_url=model_server.url)
    items = [item for item in Shelf(drawn_shelf).items() if len(item.options) == 3][:12]
    model = ModelClient(settings)
    (found,) = (await blank.check(model, items, settings)).values()
    await model.close()
    assert (found["n"], found["chance"]) == (12, 0.3333)
    assert 0 <= found["score"] <= 1
    assert found["questions"] == len({(item.stem, item.options) for item in items})


def test_every_key_is_asked_about():
    """Of four keys and three options at a time, too."""
    questions = [q for q in phantoms.questions() if q.stem.startswith("What is the shape")]
    asked = [(question.key, options) for question, options in balanced(questions, random.Random(1))]
    assert {key for key, _ in asked} == {question.key for question in questions}
    for chosen in {options for _, options in asked}:
        keys = [key for key, options in asked if options == chosen]
        assert len({keys.count(option) for option in chosen}) == 1


def test_a_certificate_takes_another_check(own_shelf):
    before = own_shelf.open("phantoms")
    own_shelf.add_blind("phantoms", {"a guesser": {"score": 0.5}})
    after = own_shelf.open("phantoms")
    assert after.report["blind"] == {**before.report.get("blind", {}), "a guesser": {"score": 0.5}}
    assert after.items == before.items
