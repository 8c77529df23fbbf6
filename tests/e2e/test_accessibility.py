"""Every page against WCAG 2.2 AA by axe, in both themes: no serious finding."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from assistant.pages import PAGES

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", list(PAGES))
def test_no_serious_finding(browser_page: Page, web_server, name, theme):
    browser_page.goto(f"{web_server.url}/{PAGES[name]}?__theme={theme}")
    expect(browser_page.locator("#status.ready")).to_be_visible(timeout=60_000)
    found = Axe().run(browser_page, options=RULES).response["violations"]
    serious = [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:5]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
