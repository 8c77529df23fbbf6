"""Conversations on disk: what was saved comes back, whoever dies, and nobody sees another's."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from assistant.api_conversations import conversations_router
from assistant.chat import Turn
from assistant.confidence import Confidence
from assistant.conversation_files import as_html, as_json, as_markdown, read_json
from assistant.conversations import ChangedElsewhereError, ConversationError, Conversations
from assistant.evidence import support
from assistant.uploads import CleanImage, UploadLimits, clean_upload
from retrieval.figures import Figure, Hit, article_url

LIMITS = UploadLimits()


def image(tmp_path: Path, shade: int) -> CleanImage:
    path = tmp_path / f"{shade}.png"
    Image.new("RGB", (20, 10), (shade, 0, 0)).save(path)
    return clean_upload(path.read_bytes(), "", LIMITS)


def turn(question: str, answer: str = "Yes, a left pneumothorax.", *images: CleanImage) -> Turn:
    caption = "Chest X-ray with a left pneumothorax <b>."
    figure = Figure("PMC1/a", "PMC1", "a", "", caption, "CC BY", article_url("PMC1"), "roco")
    hits = (Hit(figure, 0.61, 1, ("image", "text")),)
    return Turn(
        question,
        images,
        answer=answer,
        hits=hits,
        support=tuple(support(question, answer, hits)),
        confidence=Confidence(0.7, True, 0.8),
        timings={"total": 1.5},
        model="demo",
        notes=("a note",),
    )


@pytest.fixture
def store(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path / "conversations.db")


@pytest.fixture
def turns(tmp_path: Path) -> list[Turn]:
    first = image(tmp_path, 10)
    return [
        turn("Is there a pneumothorax?", "Yes, a left pneumothorax.", first),
        turn("On which side?", "Left"),
        turn("And here?", "No", image(tmp_path, 200)),
    ]


def images_in(tmp_path: Path) -> int:
    with sqlite3.connect(tmp_path / "conversations.db") as db:
        return db.execute("SELECT count(*) FROM images").fetchone()[0]


def test_what_was_saved_comes_back(store, turns, tmp_path):
    identity = store.save(None, "", turns[:1])
    identity = store.save(identity, "", turns)
    assert Conversations(tmp_path / "conversations.db").load("", identity.id) == (turns, identity)
    assert [(one.id, one.title, one.turns) for one in store.find("")] == [(identity.id, "Is there a pneumothorax?", 3)]


def test_an_edited_conversation_loses_what_came_after(store, turns):
    identity = store.save(None, "", turns)
    edited = [turns[0], turn("Is it a CT?", "No")]
    store.save(identity, "", edited)
    assert store.load("", identity.id)[0] == edited


def test_another_windows_turns_are_not_lost(store, turns):
    known = store.save(None, "", turns[:1])
    store.save(known, "", turns[:2])
    with pytest.raises(ChangedElsewhereError):
        store.save(known, "", [turns[0], turn("Is it a CT?", "No")])
    assert store.load("", known.id)[0] == turns[:2]


def test_nobody_sees_anothers(store, turns):
    identity = store.save(None, "anna", turns)
    assert store.find("bert") == []
    attempts = [
        lambda: store.load("bert", identity.id),
        lambda: store.delete("bert", identity.id),
        lambda: store.rename("bert", identity.id, "x"),
        lambda: store.pin("bert", identity.id, True),
        lambda: store.save(identity, "bert", turns),
    ]
    for attempt in attempts:
        with pytest.raises(ConversationError, match="no such"):
            attempt()
    assert store.purge("bert") == 0
    assert store.load("anna", identity.id) == (turns, identity)


@pytest.mark.parametrize(
    ("words", "found"), [("pneumothorax", 2), ("PNEUMO left", 2), ("spleen", 1), ("100%", 0), ("zebra", 0), ("", 3)]
)
def test_search_reads_questions_answers_and_names(store, words, found):
    store.save(None, "", [turn("Is there a pneumothorax?")])
    store.save(None, "", [turn("What is this?", "Spleen"), turn("And a left pneumothorax?", "No")])
    store.save(None, "", [turn("Which plane?", "Axial")])
    assert len(store.find("", words)) == found


def test_pinned_ones_come_first_and_stay(store, turns):
    old, new = store.save(None, "", turns[:1]).id, store.save(None, "", turns[1:2]).id
    store.rename("", old, "  For   Monday ")
    store.pin("", old, True)
    assert [(one.id, one.title, one.pinned) for one in store.find("")] == [
        (old, "For Monday", True),
        (new, "On which side?", False),
    ]
    assert store.forget_older(-1) == 1
    assert [one.id for one in store.find("")] == [old]
    with pytest.raises(ConversationError, match="name"):
        store.rename("", old, " ")


def test_images_go_with_the_last_conversation_that_shows_them(store, turns, tmp_path):
    first, second = store.save(None, "", turns).id, store.save(None, "", turns[:1]).id
    assert images_in(tmp_path) == 2
    store.delete("", first)
    assert images_in(tmp_path) == 1
    assert store.load("", second)[0] == turns[:1]
    assert store.purge("") == 1
    assert images_in(tmp_path) == 0
    everything = b"".join(path.read_bytes() for path in tmp_path.glob("conversations.db*"))
    assert b"pneumothorax" not in everything and turns[0].images[0].data not in everything


def test_a_kill_loses_nothing_that_was_saved(store, turns, tmp_path):
    code = f"""
        from pathlib import Path
        from assistant.chat import Turn
        from assistant.conversations import Conversations
        store = Conversations(Path({str(tmp_path / "conversations.db")!r}))
        identity, turns = None, []
        while True:
            turns.append(Turn(f"question {{len(turns)}}", answer="yes" * 1000))
            identity = store.save(identity, "", turns)
            print(len(turns), flush=True)
    """
    # The working directory is the repository, so that the child runs the code under test.
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    said = [int(child.stdout.readline()) for _ in range(5)][-1]
    os.kill(child.pid, signal.SIGKILL)
    said = [*map(int, child.stdout.read().split()), said][0]
    child.wait()
    [kept] = Conversations(tmp_path / "conversations.db").find("")
    assert kept.turns >= said
    assert [one.question for one in store.load("", kept.id)[0]] == [f"question {i}" for i in range(kept.turns)]


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, None])
def test_a_file_that_cannot_be_used_is_told(tmp_path, damage):
    path = tmp_path / "conversations.db"
    if damage:
        path.write_bytes(damage)
    else:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConversationError, match=r"Move it away|later version"):
        Conversations(path)


def test_json_comes_back_whole(turns):
    assert read_json(as_json(turns), LIMITS) == turns


def _without_images(content: dict) -> dict:
    return content | {"images": {}}


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [],
        lambda content: content | {"format": "other"},
        lambda content: content | {"turns": [{"question": 1}]},
        lambda content: content | {"turns": "x"},
        _without_images,
        lambda content: content | {"images": dict.fromkeys(content["images"], "aGVsbG8=")},
        lambda content: content | {"turns": content["turns"] * 1000},
    ],
)
def test_a_forged_file_is_refused_in_a_sentence(turns, change):
    forged = json.dumps(change(json.loads(as_json(turns)))).encode()
    with pytest.raises(ConversationError):
        read_json(forged, LIMITS)
    with pytest.raises(ConversationError, match="not JSON"):
        read_json(b"{" * 100_000, LIMITS)


def test_an_imported_figure_names_no_file_of_this_machine(turns):
    hits = (replace(turns[0].hits[0], figure=replace(turns[0].hits[0].figure, image_path="/etc/passwd")),)
    [read] = read_json(as_json([replace(turns[0], hits=hits)]), LIMITS)
    assert read.hits[0].figure.image_path is None


def test_pages_show_images_sources_and_the_notice(turns):
    hostile = replace(turns[0], question="<script>alert(1)</script>?")
    page, text = as_html([hostile]), as_markdown(turns)
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "data:image/png;base64," in page
    for shown in (page, text):
        assert "CC BY" in shown and "PMC1" in shown and "not a diagnostic device" in shown
        assert "likely" in shown or "possible" in shown


@pytest.mark.parametrize("kind", ["md", "html", "json"])
async def test_files_are_for_their_owner_only(store, turns, kind):
    app = FastAPI()
    app.include_router(conversations_router(store))
    mine, anothers = store.save(None, "", turns), store.save(None, "anna", turns)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        answer = await http.get(f"/api/conversations/{mine.id}.{kind}")
        assert answer.status_code == 200
        assert "Is there a pneumothorax?" in answer.text
        assert "attachment" in answer.headers["content-disposition"]
        assert (await http.get(f"/api/conversations/{anothers.id}.{kind}")).status_code == 404
        assert (await http.get(f"/api/conversations/{mine.id}.exe")).status_code == 422
