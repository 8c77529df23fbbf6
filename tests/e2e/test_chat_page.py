"""The page in Chromium, over the real engine and the real index."""

import re
from pathlib import Path

import pytest
from PIL import ImageFont
from playwright.sync_api import Page, expect

from assistant.uploads import UploadLimits, clean_upload
from assistant.uploads_measure import with_name
from tests.axe import serious_findings

EXAMPLES = Path(__file__).resolve().parents[2] / "assistant" / "examples"
# A small machine that also runs the engine is slow; nothing here measures time.
expect.set_options(timeout=60_000)

BOT = "#chat [data-testid=bot]"
USER = "#chat [data-testid=user]"
STOP = "button.stop-button"


@pytest.fixture
def chat(browser_page: Page, web_server) -> Page:
    browser_page.goto(web_server.url)
    expect(browser_page.locator("#status.ready")).to_be_visible()
    return browser_page


def ask(page: Page, question: str, image: Path | None = None) -> None:
    if image:
        page.set_input_files("#question input[type=file]", str(image))
        # The upload is over when its thumbnail is there; sent before, a question would go without it.
        expect(page.locator("#question [aria-label='Remove file']")).to_have_count(1)
    box = page.locator("#question textarea")
    box.fill(question)
    box.press("Enter")


def wait_for_answer(page: Page, number: int = 1) -> str:
    """The text of the answer with this number, once the turn is over."""
    expect(page.locator(BOT)).to_have_count(number)
    answer = page.locator(BOT).nth(number - 1)
    expect(answer.locator(".stage")).to_have_count(0)
    expect(page.locator(STOP)).to_have_count(0)
    expect(answer).not_to_be_empty()
    return answer.inner_text()


def test_an_image_and_a_question_give_an_answer_with_licensed_figures(chat: Page):
    ask(chat, "Which organ is shown in this image?", EXAMPLES / "mri-brain.png")
    assert wait_for_answer(chat)
    expect(chat.locator(f"{USER} img")).to_be_visible()
    expect(chat.locator(USER).last).to_contain_text("Which organ")
    cards = chat.locator("#evidence .figure-card")
    expect(cards.first).to_be_visible()
    for card in cards.all():
        expect(card).to_contain_text(re.compile(r"CC(0| BY)"))
        expect(card).to_contain_text("similarity")
        assert re.match(r"https://(pmc|www)\.ncbi\.nlm\.nih\.gov/", card.locator("a[href^=http]").get_attribute("href"))
    expect(chat.locator("#evidence")).to_contain_text("not the authors' caption")
    cards.first.locator("[data-alike]").click()
    expect(cards.first.locator("[role=status]")).to_contain_text(re.compile(r"This one: .*The other: |finding"))
    expect(chat.locator("#study-aid")).to_contain_text("Not for diagnosis")


def test_a_follow_up_is_about_the_same_image_and_new_chat_forgets_it(chat: Page):
    ask(chat, "What modality is used to take this image?", EXAMPLES / "ct-head.png")
    wait_for_answer(chat)
    ask(chat, "Which organ is it?")
    assert wait_for_answer(chat, 2)
    expect(chat.locator(f"{USER} img")).to_have_count(1)
    chat.locator("#new-chat").click()
    expect(chat.locator(BOT)).to_have_count(0)
    expect(chat.locator("#evidence .figure-card")).to_have_count(0)


def test_an_answer_streams(chat: Page):
    """The answer grows on the screen: more than one length of it is seen before it is complete."""
    chat.evaluate(
        """() => { window.lengths = [];
        new MutationObserver(() => { const bot = document.querySelectorAll('#chat [data-testid=bot]');
          if (bot.length) window.lengths.push(bot[bot.length - 1].innerText.length); })
        .observe(document.querySelector('#chat'), {subtree: true, childList: true, characterData: true}); }"""
    )
    ask(chat, "Explain in three sentences what a pneumothorax is.")
    answer = wait_for_answer(chat)
    lengths = [length for length in chat.evaluate("window.lengths") if 0 < length < len(answer)]
    assert len(set(lengths)) >= 3


def test_stop_keeps_what_was_said_and_frees_the_box(chat: Page):
    # Pressed by the page itself as soon as there are words: on a busy machine the answer may be over before a click
    # from here arrives.
    chat.evaluate(
        """([bot, stop]) => { const seen = new MutationObserver(() => {
          const said = [...document.querySelectorAll(bot)].pop()?.innerText ?? "";
          const button = document.querySelector(stop);
          if (button && said.split(" ").length > 12) { seen.disconnect(); button.click(); } });
        seen.observe(document.querySelector("#chat"), {subtree: true, childList: true, characterData: true}); }""",
        [BOT, STOP],
    )
    ask(chat, "Write a long essay about the history of radiology, in as many words as you can.")
    expect(chat.locator(BOT).last).to_contain_text("stopped")
    said = chat.locator(BOT).last.inner_text()
    ask(chat, "What is a fracture?")
    wait_for_answer(chat, 2)
    assert chat.locator(BOT).first.inner_text() == said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.png", lambda: (EXAMPLES / "retina.png").read_bytes()[:3000], "cut off|damaged|incomplete|truncated"),
        ("notes.png", lambda: b"These are notes and not an image.", "not an image"),
    ],
)
def test_a_broken_file_is_refused_in_words_and_the_question_is_kept(chat: Page, tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content())
    ask(chat, "What is this?", path)
    expect(chat.locator(f"{BOT} .problem")).to_contain_text(re.compile(words))
    expect(chat.locator("#question textarea")).to_have_value("What is this?")
    ask(chat, "What is a fracture?")
    expect(chat.locator(f"{BOT} .problem")).to_have_count(0)
    wait_for_answer(chat)


def test_an_example_is_one_click(chat: Page):
    chat.locator("#chat button.example").first.click()
    assert wait_for_answer(chat)
    expect(chat.locator(f"{USER} img")).to_be_visible()
    expect(chat.locator("#evidence .figure-card").first).to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut_off_at_either_width_and_a_name_is_blacked_out_first(chat: Page, tmp_path, width: int):
    chat.set_viewport_size({"width": width, "height": 844})
    film = clean_upload((EXAMPLES / "mri-brain.png").read_bytes(), "", UploadLimits())
    named = tmp_path / "named.png"
    named.write_bytes(with_name(film, "DOE^JANE 12.03.1954", ImageFont.load_default(18), 200, False)[0].data)
    ask(chat, "What is shown?", named)
    gate = chat.locator("#privacy")
    expect(gate).to_contain_text("may name a person")
    expect(gate.locator("h2")).to_be_focused()
    expect(chat.locator("#question")).to_have_count(0)
    black = gate.locator(".place.out")
    expect(black).to_have_count(1)
    # A mark follows its box, and the box its mark.
    gate.locator("#privacy-places input").press("Space")
    expect(black).to_have_count(0)
    gate.locator(".place").click()
    expect(gate.locator("#privacy-places input")).to_be_checked()
    expect(black).to_have_count(1)
    assert serious_findings(chat) == []
    assert chat.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    gate.locator("#privacy-go").click()
    expect(gate).to_be_hidden()
    assert "one place with text blacked out" in wait_for_answer(chat)
    assert chat.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    expect(chat.locator("#study-aid")).to_be_visible()


def test_the_page_loads_nothing_from_elsewhere(browser_page: Page, web_server):
    asked: list[str] = []
    browser_page.on("request", lambda request: asked.append(request.url))
    browser_page.goto(web_server.url)
    expect(browser_page.locator("#status.ready")).to_be_visible()
    assert not [url for url in asked if not url.startswith((web_server.url, "data:", "blob:"))]
