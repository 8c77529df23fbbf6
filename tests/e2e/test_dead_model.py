"""The model dies while people use the page. Last, because it takes the engine of all other tests down for a while."""

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_chat_page import BOT, ask, wait_for_answer

pytestmark = pytest.mark.last(1)
RESTART_MS = 300_000


def test_a_dead_model_is_told_the_conversation_stays_and_it_works_again(browser_page: Page, web_server, model_server):
    page = browser_page
    page.goto(web_server.url)
    expect(page.locator("#status.ready")).to_be_visible()
    ask(page, "What is a pneumothorax?")
    first = wait_for_answer(page)

    before = model_server.members()
    model_server.crash()
    expect(page.locator("#status.problem")).to_contain_text("the conversation is kept", timeout=15_000)
    assert httpx.get(f"{web_server.url}/readyz").status_code == 503
    assert httpx.get(f"{web_server.url}/healthz").status_code == 200
    refused = httpx.post(f"{web_server.url}/api/ask", data={"question": "Are you there?"}, timeout=60)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "model_not_ready"
    ask(page, "How is it treated?")
    expect(page.locator(f"{BOT} .problem")).to_be_visible()
    expect(page.locator("#question textarea")).to_have_value("How is it treated?")
    assert page.locator(BOT).first.inner_text() == first

    model_server.wait_until_healthy()
    assert not [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    expect(page.locator("#status.ready")).to_be_visible(timeout=RESTART_MS)
    page.locator("#question textarea").press("Enter")
    assert wait_for_answer(page, 2)
    assert page.locator(BOT).first.inner_text() == first
    expect(page.locator(f"{BOT} .problem")).to_have_count(0)
