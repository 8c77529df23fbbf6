"""What the screen shows of a turn, and the examples. The page itself is driven in tests/e2e."""

import io

import pytest
from PIL import Image

from assistant import render
from assistant.chat import Turn
from assistant.confidence import Confidence
from assistant.evidence import support
from assistant.example_questions import ExamplesError, read_examples
from assistant.uploads import UploadLimits, clean_upload
from retrieval.figures import Figure, Hit

SCRIPT = "<script>alert(1)</script>"


def hit(caption: str, rank: int = 1, **values) -> Hit:
    figure = Figure(
        f"PMC1/{rank}", "PMC1", "g1", "Figure 2", caption, "CC BY", "https://example.org/PMC1", "test", **values
    )
    return Hit(figure, 0.91, rank, ("image", "text"))


def finished(question: str, answer: str, *hits: Hit, **values) -> Turn:
    return Turn(question, answer=answer, hits=hits, support=tuple(support(question, answer, hits)), **values)


def said(turn: Turn, **values) -> str:
    return render.messages([turn], lambda image: "x.png", **values)[-1]["content"]


def test_a_supported_answer_has_a_marker_that_leads_to_the_figure():
    turn = finished("What is it?", "Pneumothorax", hit("Left pneumothorax."), confidence=Confidence(0.82, True))
    shown = said(turn)
    assert 'href="#figure-1-1">[1]</a>' in shown
    assert "likely (82 %)" in shown
    assert 'id="figure-1-1"' in render.panel([turn])


def test_doubt_is_in_words_and_points_to_the_figures():
    turn = finished("What is it?", "Effusion", hit("Left pneumothorax."), confidence=Confidence(0.41, True))
    assert "unsure (41 %): see what looks similar" in said(turn)
    assert "not found in the index" in said(turn)


def test_a_card_shows_licence_link_score_and_whose_words_it_has():
    card = render.panel([finished("What is it?", "Mass", hit("Mass.", caption_by="medvint", modality="CT"))])
    for part in (
        "CC BY",
        'href="https://example.org/PMC1"',
        "0.91",
        "Description by this project",
        "the image and the words",
    ):
        assert part in card
    assert "<mark>Mass</mark>" in card
    assert 'data-copy="Figure 2, PMC1, CC BY, https://example.org/PMC1"' in card


def test_similar_is_not_shown_as_supporting():
    card = render.panel([finished("What is it?", "Mass", hit("Left pneumothorax."))])
    assert "supports “" not in card
    assert 'class="figure-card"' in card


def test_nothing_similar_is_said():
    turn = Turn("What is it?", answer="Mass", notes=("Nothing similar was found in the index.",))
    assert "Nothing similar" in render.panel([turn])


@pytest.mark.parametrize("place", ["question", "answer", "caption", "problem", "note"])
def test_what_others_wrote_cannot_become_markup(place):
    turn = finished(
        SCRIPT if place == "question" else "What?",
        SCRIPT if place == "answer" else "Mass",
        hit(SCRIPT if place == "caption" else "Mass"),
        notes=(SCRIPT,) if place == "note" else (),
    )
    messages = render.messages([turn], lambda image: "x.png", problem=SCRIPT if place == "problem" else "")
    everything = "".join(str(message["content"]) for message in messages) + render.panel([turn])
    assert "<script>" not in everything
    assert "&lt;script&gt;" in everything


def test_a_text_cannot_make_the_browser_fetch_a_picture():
    assert "![" not in said(finished("What?", "![x](https://example.org/x.png)"))


def test_a_link_that_is_not_https_is_no_link():
    figure = Figure("a/b", "a", "b", "", "Mass", "CC BY", "javascript:alert(1)", "test")
    assert "href" not in render.panel([finished("What?", "Mass", Hit(figure, 0.5, 1, ("text",)))]).split("article")[1]


def test_waiting_says_what_is_done_and_for_how_long():
    turn = Turn("What?", stage="searching 434 figures")
    assert "searching 434 figures<" in said(turn, waited_s=1)
    assert "searching 434 figures · 5 s" in said(turn, waited_s=5)


def test_a_problem_keeps_what_was_said():
    shown = said(Turn("What?", answer="The heart is", stage="answering"), problem="The model does not answer.")
    assert shown.startswith("The heart is")
    assert "The model does not answer." in shown


def test_an_image_is_in_the_conversation_with_a_description():
    buffer = io.BytesIO()
    Image.new("L", (9, 9), 90).save(buffer, "PNG")
    image = clean_upload(buffer.getvalue(), "", UploadLimits())
    first = render.messages([Turn("What?", (image,), answer="Mass")], lambda clean: f"{clean.sha256}.png")[0]
    assert first["content"] == {"path": f"{image.sha256}.png", "alt_text": "Image sent with the question: What?"}


def test_own_examples_can_be_sent():
    examples = read_examples(None)
    assert len(examples) >= 4
    for example in examples:
        clean = clean_upload(example.image.read_bytes(), example.image.name, UploadLimits())
        assert max(clean.width, clean.height) <= 512
        assert example.question.endswith("?")


def test_examples_of_a_folder(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("image,question\na.png,What is it?\n")
    assert [example.question for example in read_examples(tmp_path)] == ["What is it?"]


@pytest.mark.parametrize(
    "csv, what",
    [
        (None, "CSV"),
        ("picture,text\n", "columns"),
        ("image,question\nb.png,What?\n", "b.png"),
        ("image,question\n../a.png,What?\n", "a.png"),
    ],
)
def test_a_folder_that_is_not_in_its_form_says_what_is_missing(tmp_path, csv, what):
    folder = tmp_path / "examples"
    folder.mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    if csv is not None:
        (folder / "list.csv").write_text(csv)
    with pytest.raises(ExamplesError, match=what):
        read_examples(folder)
