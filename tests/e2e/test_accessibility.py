"""Every page against WCAG 2.2 AA by axe, in both themes: no serious finding."""

import pytest
from playwright.sync_api import Page, expect

from assistant.pages import PAGES
from tests.axe import serious_findings


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", list(PAGES))
def test_no_serious_finding(browser_page: Page, web_server, name, theme):
    browser_page.goto(f"{web_server.url}/{PAGES[name]}?__theme={theme}")
    expect(browser_page.locator("#status.ready")).to_be_visible(timeout=60_000)
    assert serious_findings(browser_page) == []
