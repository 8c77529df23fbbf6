"""The Compare page in Chromium, over the real engine and the real index."""

from playwright.sync_api import Page, expect

from tests.e2e.test_chat_page import EXAMPLES, STOP, ask

expect.set_options(timeout=60_000)
COLUMNS = "#answers .compare-column"


def test_answers_stand_side_by_side(browser_page: Page, web_server):
    browser_page.goto(f"{web_server.url}/compare/")
    expect(browser_page.locator("#status.ready")).to_be_visible()
    expect(browser_page.locator("#answers")).to_contain_text("MEDVINT_COMPARE_URL")
    ask(browser_page, "What modality is used to take this image?", EXAMPLES / "ct-head.png")
    expect(browser_page.locator(".compare-verdict")).to_be_visible()
    expect(browser_page.locator(f"{COLUMNS} .compare-answer")).to_have_count(2)
    expect(browser_page.locator(STOP)).to_have_count(0)
    browser_page.locator(f"{COLUMNS} summary").click()
    expect(browser_page.locator(f"{COLUMNS} li").first).to_be_visible()
    browser_page.set_viewport_size({"width": 390, "height": 844})
    assert browser_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
