"""Items for other programs: Anki, Moodle, and a table. They hold the keys: for what was answered, or for a teacher.

    anki(shelf, items, Path("pack.apkg")); moodle(shelf, items); table(attempts)

Ids are stable: a second import updates notes and questions, and keeps their schedules.
"""

import base64
import csv
import io
import tempfile
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import genanki
from lxml import etree

from assistant.study.items import Attempt, Item
from assistant.study.packs import Shelf

# Anki knows a note type and a deck by these numbers: another number or another field list would be a new one.
MODEL_ID, DECK_ID = 1_763_284_911, 1_763_284_912
FIELDS = ("Image", "Question", "Options", "Answer", "Explanation", "Source", "Spare 1", "Spare 2")
_MODEL = genanki.Model(
    MODEL_ID,
    "MedVInT study",
    fields=[{"name": name} for name in FIELDS],
    templates=[
        {
            "name": "Image question",
            "qfmt": "{{Image}}<p>{{Question}}</p><p>{{Options}}</p>",
            "afmt": "{{FrontSide}}<hr id=answer><p><b>{{Answer}}</b></p><p>{{Explanation}}</p>"
            "<p><small>{{Source}}</small></p>",
        }
    ],
    css=".card { font-family: sans-serif; text-align: center; } img { max-height: 60vh; background: #000; }",
)


def anki(shelf: Shelf, items: Iterable[Item], path: Path, now: float | None = None) -> int:
    """Write an Anki package; returns the number of notes. `now` is its time (seconds since 1970): the newer wins."""
    deck = genanki.Deck(DECK_ID, "MedVInT study")
    with tempfile.TemporaryDirectory() as folder:
        media: dict[str, Path] = {}
        for item in items:
            if item.kind == "place" or len(item.images) > 1:
                continue
            # By content: two files of one name would show one picture on both cards, without a word.
            name = f"medvint-{item.images[0]}.png"
            if name not in media:
                media[name] = Path(folder) / name
                media[name].write_bytes(shelf.image(item.pack, item.images[0]))
            values = (item.stem, " · ".join(item.options), item.gold.answer, item.explanation, _source(item), "", "")
            fields = [f'<img src="{name}">', *map(escape, values)]
            guid = genanki.guid_for("medvint", item.item_id)
            deck.add_note(genanki.Note(model=_MODEL, fields=fields, guid=guid, tags=[f"medvint::{item.pack}"]))
        package = genanki.Package(deck)
        package.media_files = [str(file) for file in media.values()]
        package.write_to_file(str(path), timestamp=time.time() if now is None else now)
    return len(deck.notes)


def moodle(shelf: Shelf, items: Sequence[Item]) -> bytes:
    """Moodle XML: multiple choice where there are options, else a short answer with every name of the key."""
    quiz = etree.Element("quiz")
    for item in items:
        if item.kind == "place" or len(item.images) > 1:
            continue
        has_options = bool(item.options)
        question = etree.SubElement(quiz, "question", type="multichoice" if has_options else "shortanswer")
        _text(etree.SubElement(question, "name"), item.stem[:80])
        asked = etree.SubElement(question, "questiontext", format="html")
        name = f"{item.images[0]}.png"
        _text(asked, f'<p>{escape(item.stem)}</p><p><img src="@@PLUGINFILE@@/{name}" alt="Image"></p>', is_html=True)
        file = etree.SubElement(asked, "file", name=name, path="/", encoding="base64")
        file.text = base64.b64encode(shelf.image(item.pack, item.images[0])).decode()
        feedback = etree.SubElement(question, "generalfeedback", format="html")
        _text(feedback, f"<p>{escape(item.explanation)}</p><p>{escape(_source(item))}</p>", is_html=True)
        etree.SubElement(question, "idnumber").text = item.item_id
        if has_options:
            etree.SubElement(question, "single").text = "true"
            etree.SubElement(question, "shuffleanswers").text = "true"
            answers = [(option, 100 if option == item.gold.answer else 0) for option in item.options]
        else:
            answers = [(name, 100) for name in (item.gold.answer, *item.gold.synonyms)]
        for text, fraction in answers:
            answer = etree.SubElement(
                question, "answer", fraction=str(fraction), format="html" if has_options else "plain_text"
            )
            _text(answer, escape(text) if has_options else text)
    return bytes(etree.tostring(quiz, xml_declaration=True, encoding="UTF-8", pretty_print=True))


def _text(parent: etree._Element, words: str, *, is_html: bool = False) -> None:
    text = etree.SubElement(parent, "text")
    text.text = etree.CDATA(words) if is_html else words


def _source(item: Item) -> str:
    return " · ".join(part for part in (item.source, item.licence) if part)


COLUMNS = (
    "learner", "attempt", "at", "pack", "version", "item", "skill", "mode", "said", "key", "certainty", "outcome",
    "failed",     "marks", "hints", "gave_up", "seconds", "grader",
)  # fmt: skip


def table(attempts: Iterable[Attempt], *, with_names: bool = True) -> str:
    """Answers as CSV. Without names, learners are numbers."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    numbers: dict[str, str] = {}
    for one in attempts:
        learner = one.learner if with_names else numbers.setdefault(one.learner, f"learner {len(numbers) + 1}")
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.committed_at))
        place = one.commitment.box or one.commitment.point
        said = one.commitment.answer or (str(place) if place else "")
        row = (
            learner, one.attempt_id, at, one.pack, one.version, one.item_id, one.skill_id, one.mode, said, one.key,
            one.commitment.certainty, one.verdict.outcome, " ".join(one.verdict.failed), one.verdict.marks,
            one.hints_used,             int(one.commitment.gave_up), round(one.elapsed_ms / 1000, 1), one.grader,
        )  # fmt: skip
        writer.writerow([_plain(value) for value in row])
    return text.getvalue()


def _plain(value: object) -> object:
    """A cell that no spreadsheet runs as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
