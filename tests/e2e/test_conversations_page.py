"""Kept conversations and what can be done about an answer, in Chromium over the real engine."""

import re

import httpx
from playwright.sync_api import Page, expect

from tests.e2e.test_chat_page import BOT, EXAMPLES, USER, ask, chat, wait_for_answer

__all__ = ["chat"]

LIST = "#conversation-list label"


def open_list(page: Page) -> None:
    page.locator("button[aria-label=Conversations]").click()
    expect(page.locator("#conversation-find")).to_be_visible()


def test_a_conversation_is_kept_found_named_saved_and_deleted(chat: Page, web_server):
    open_list(chat)
    ask(chat, "Which organ is shown in this picture?", EXAMPLES / "mri-brain.png")
    wait_for_answer(chat)
    entry = chat.locator(LIST).filter(has_text="Which organ is shown in this picture?")
    expect(entry).to_have_count(1)
    # A word on the answer, which stays with it.
    chat.locator("#chat button[aria-label=dislike], #chat button[aria-label=Dislike]").click()
    expect(chat.locator("#feedback")).to_be_visible()
    expect(chat.locator(f"{BOT} .judged")).to_contain_text("not right")
    chat.locator("#feedback-right textarea, #feedback-right input").fill("The brain <b>")
    chat.locator("#feedback").get_by_role("button", name="Keep").click()
    expect(chat.locator("#feedback")).to_be_hidden()
    chat.reload()
    expect(chat.locator(BOT)).to_have_count(1)
    expect(chat.locator(f"{BOT} .judged")).to_contain_text("Right would be: The brain <b>")
    expect(chat.locator("#chat button[aria-label=Disliked]")).to_be_visible()
    expect(chat.locator(f"{USER} img")).to_be_visible()
    ask(chat, "Which modality is it?")
    wait_for_answer(chat, 2)
    chat.locator("#new-chat").click()
    expect(chat.locator(BOT)).to_have_count(0)
    open_list(chat)
    chat.locator("#conversation-find textarea, #conversation-find input").fill("MODALITY picture")
    expect(chat.locator(LIST)).to_have_count(1)
    chat.locator(LIST).first.click()
    expect(chat.locator(BOT)).to_have_count(2)
    address = chat.locator("#conversation-files a", has_text="HTML").get_attribute("href")
    saved = httpx.get(f"{web_server.url}/{address.removeprefix('./')}").text
    assert "Which modality is it?" in saved and "data:image/png;base64," in saved
    box = chat.locator("#conversation-name textarea, #conversation-name input")
    box.fill("For Monday")
    box.press("Enter")
    expect(chat.locator(LIST)).to_contain_text("For Monday")
    chat.locator("#conversation-delete").click()
    expect(chat.locator(BOT)).to_have_count(0)
    expect(chat.locator(LIST)).to_have_count(0)
    assert httpx.get(f"{web_server.url}/{address.removeprefix('./')}").status_code == 404


def test_an_answer_can_be_asked_again_doubted_and_its_question_changed(chat: Page):
    ask(chat, "Which plane is this image taken in?", EXAMPLES / "ct-head.png")
    first = wait_for_answer(chat).splitlines()[0].partition(" [")[0]
    chat.locator("#chat button[aria-label=Retry]").click()
    expect(chat.locator(f"{BOT} .earlier")).to_have_text(re.compile(rf"Before: {re.escape(first)}\s*"))
    wait_for_answer(chat)
    chat.locator("#look").click()
    expect(chat.locator(f"{BOT} .looked")).to_contain_text(
        re.compile(r"Without the image it would have said .*With another")
    )
    expect(chat.locator("button.stop-button")).to_have_count(0)
    # The map is said to cost something, and can be given up; its whole run is tested without a page.
    expect(chat.locator("#look-where")).to_contain_text(re.compile(r"49 short questions, about \d+ (s|min)"))
    chat.locator("#look-where").click()
    expect(chat.locator(f"{BOT} .note")).to_contain_text(re.compile("asking with"))
    chat.locator("button.stop-button").click()
    expect(chat.locator("button.stop-button")).to_have_count(0)
    expect(chat.locator(f"{BOT} .looked")).to_have_count(1)
    chat.locator("#change").click()
    expect(chat.locator(BOT)).to_have_count(0)
    box = chat.locator("#question textarea")
    expect(box).to_have_value("Which plane is this image taken in?")
    box.fill("What modality is this?")
    box.press("Enter")
    assert wait_for_answer(chat)
    expect(chat.locator(f"{USER} img")).to_be_visible()
    expect(chat.locator(f"{BOT} .earlier")).to_have_count(0)
