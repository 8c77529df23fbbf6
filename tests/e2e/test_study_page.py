"""The study page in Chromium, over the real web process without a model."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from assistant.study.evaluation.played import crawl_browser
from assistant.study.gate import Gate, open_gate
from tests.conftest import Server, start
from tests.study.conftest import drawn_shelf  # noqa: F401

EXAMPLES = Path(__file__).resolve().parents[2] / "assistant" / "examples"
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def study_server(tmp_path_factory, drawn_shelf: Path, free_port) -> Iterator[tuple[Server, Gate]]:  # noqa: F811
    folder, port = tmp_path_factory.mktemp("study-page"), free_port()
    shutil.copytree(drawn_shelf, folder / "study" / "packs")
    settings = {"data_dir": folder, "model_port": free_port(), "port": port}
    server = start("web", f"http://127.0.0.1:{port}", "/healthz", settings, folder / "web.log")
    yield server, open_gate(folder)
    server.stop()


@pytest.fixture
def study(browser_page: Page, study_server) -> Page:
    browser_page.goto(f"{study_server[0].url}/study/")
    browser_page.click("#practise-start")
    expect(browser_page.locator(".study-question img")).to_be_visible()
    return browser_page


def served(page: Page, gate: Gate):
    """The item behind the picture that the page shows."""
    source = page.get_attribute(".study-question img", "src")
    return gate.log.served(source.removeprefix("image/").removesuffix(".png")).item


def answer(page: Page, item) -> None:
    if item.kind == "place":
        x, y, wide, high = item.gold.boxes[0]
        picture = page.locator(".study-question img")
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + (x + wide) * box["width"], box["y"] + (y + high) * box["height"], steps=4)
        page.mouse.up()
        expect(page.locator(".study-question .drawn")).to_be_visible()
    elif item.kind == "option":
        page.get_by_role("radio", name=item.gold.answer, exact=True).check()
    else:
        page.locator("#practise-answer input").fill(item.gold.answer)
        page.keyboard.press("Tab")


def test_right_answers_of_every_kind_are_marked_right(study: Page, study_server):
    gate, kinds = study_server[1], set()
    for _ in range(12):
        item = served(study, gate)
        kinds.add(item.kind)
        answer(study, item)
        study.locator("#practise-certainty input").nth(2).check()
        study.click("#practise-commit")
        expect(study.locator(".study-reveal.right .verdict-line")).to_contain_text("Right. C3, +3")
        study.click("#practise-next")
        expect(study.locator(".study-question img")).to_be_visible()
        if kinds == {"place", "option", "text"}:
            return
    assert {"option", "text"} <= kinds


def test_how_sure_has_to_be_said(study: Page, study_server):
    answer(study, served(study, study_server[1]))
    study.click("#practise-commit")
    expect(study.locator(".study-problem")).to_contain_text("how sure")
    expect(study.locator(".study-question")).to_be_visible()


def test_an_open_question_is_there_again_after_a_reload(study: Page):
    before = study.get_attribute(".study-question img", "src")
    # By a teacher's link, which chooses the pack.
    study.goto(f"{study.url.partition('?')[0]}?pack=phantoms")
    expect(study.locator("#study-packs")).to_contain_text("Drawn phantoms")
    study.click("#practise-start")
    expect(study.locator(".study-question img")).to_have_attribute("src", before)


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut_off_at_either_width(study: Page, width: int):
    study.set_viewport_size({"width": width, "height": 844})
    assert study.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    expect(study.locator("#study-aid")).to_be_visible()


def test_the_crawler_finds_nothing_on_the_page(browser_page: Page, study_server):
    found = crawl_browser(browser_page, study_server[0].url, study_server[1], 8)
    assert found["leaks"] == []


def test_the_models_reading_comes_after_the_answer_and_is_marked(browser_page: Page, web_server):
    """Over the real engine; the drawn pack is made on the first visit."""
    browser_page.goto(f"{web_server.url}/study/")
    browser_page.click("#practise-start")
    expect(browser_page.locator(".study-question img")).to_be_visible()
    expect(browser_page.locator("#practise-reading")).to_be_hidden()
    browser_page.click("#practise-give-up")
    expect(browser_page.locator(".study-reveal")).to_be_visible()
    browser_page.click("#practise-reading")
    marks = browser_page.locator("#practise-said .model-reading li")
    expect(marks.first).to_contain_text(re.compile("agrees with the key|the model is wrong here|not checked"))


def test_on_an_own_image_the_learner_speaks_first(browser_page: Page, web_server):
    browser_page.goto(f"{web_server.url}/study/")
    browser_page.get_by_role("tab", name="My own image").click()
    browser_page.click("#own-commit")
    beside = browser_page.locator("#own-beside")
    expect(beside).to_contain_text("Still missing: the image, the kind of image")
    browser_page.set_input_files("#own-image input[type=file]", str(EXAMPLES / "ct-head.png"))
    expect(browser_page.locator("#own-image img")).to_be_visible()
    for label, choice in (("Kind of image", "CT"), ("Region", "brain")):
        browser_page.get_by_label(label).click()
        browser_page.get_by_role("option", name=choice, exact=True).click()
        expect(browser_page.get_by_label(label)).to_have_value(choice)
    browser_page.locator("#own-finding textarea, #own-finding input").fill("haemorrhage")
    browser_page.get_by_role("radio", name="left", exact=True).check()
    browser_page.locator("#own-certainty input").first.check()
    browser_page.click("#own-commit")
    expect(beside).to_contain_text("The model says")
    expect(beside).to_contain_text("You said")
    assert not [*Path(web_server.log.parent / "uploads").rglob("ct-head.png")]
