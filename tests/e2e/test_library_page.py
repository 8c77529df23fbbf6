"""The Library page in Chromium, over the same web process and index as the chat's tests."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.own_figures import CAPTIONS, EXAMPLES, LEFT_OUT, make_zip

expect.set_options(timeout=60_000)

CARDS = "#results .figure-card"
OPENED = "#figure-panel .figure-page"


@pytest.fixture
def library(browser_page: Page, web_server) -> Page:
    browser_page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    browser_page.goto(web_server.url)
    browser_page.locator("#pages").get_by_text("Library").click()
    expect(browser_page.locator("#status.ready")).to_be_visible()
    return browser_page


def find(page: Page, words: str, image: str = "") -> None:
    if image:
        page.set_input_files("#find input[type=file]", str(EXAMPLES / image))
        expect(page.locator("#find [aria-label='Remove file']")).to_have_count(1)
    page.locator("#find textarea").fill(words)
    page.locator("#find textarea").press("Enter")


def test_search_a_figure_and_an_own_corpus(library: Page, web_server, tmp_path):
    asked: list[str] = []
    library.on("request", lambda request: asked.append(request.url))
    expect(library.locator("#pages [aria-current]")).to_have_text("Library")

    library.get_by_role("button", name="brain tumour on MRI").click()
    expect(library.locator("#results")).to_contain_text("brain tumour on MRI")
    expect(library.locator(CARDS).first).to_contain_text(re.compile(r"CC(0| BY)"))
    library.locator(f"{CARDS} h3 a").first.click()
    opened = library.locator(OPENED)
    expect(opened).to_contain_text("Licence")
    assert opened.locator("a[href^='https://']").first.get_attribute("href").startswith("https://pmc.")
    opened.locator(".copy").first.click()
    expect(opened.locator(".copy").first).to_have_text("copied")
    assert "CC" in library.evaluate("navigator.clipboard.readText()")

    # The address names the figure: a copied link opens it, Back closes it.
    address = library.url
    assert "figure=PMC" in address
    heading = opened.locator("h2").inner_text()
    opened.locator(".similar a").first.click()
    expect(opened.locator("h2")).not_to_have_text(heading)
    library.go_back()
    expect(opened.locator("h2")).to_have_text(heading)
    library.go_back()
    expect(opened).to_have_count(0)
    library.goto(address)
    expect(opened.locator("h2")).to_have_text(heading)
    opened.locator("[data-like]").click()
    expect(library.locator("#results [role=status]")).to_contain_text(f"like {heading}")

    # A filter narrows what is shown.
    library.locator("#filters button").first.click()
    library.get_by_label("Modality").first.click()
    library.get_by_role("option", name="MRI", exact=True).click()
    expect(library.locator(f"{CARDS} .facets").first).to_contain_text("MRI")
    library.get_by_label("Year from").fill("2999")
    expect(library.locator("#results")).to_contain_text("within these filters")
    library.reload()

    # Own figures: what would be left out is said first.
    library.get_by_role("tab", name="Corpora").click()
    expect(library.locator("#overview")).to_contain_text("1 corpus")
    with library.expect_file_chooser() as chooser:
        library.locator("#choose-zip").click()
    chooser.value.set_files(make_zip(tmp_path / "lecture.zip"))
    expect(library.locator("#preview")).to_contain_text(f"{LEFT_OUT} rows would be left out")
    library.locator("#add").click()
    try:
        expect(library.locator("#job")).to_contain_text("3 figures added")
        expect(library.locator("#overview")).to_contain_text("2 corpora")
        expect(library.locator("#preview")).to_be_empty()
        library.get_by_role("tab", name="Search").click()
        find(library, "our own teaching file", "mri-brain.png")
        expect(library.locator(f"{CARDS} .caption").first).to_contain_text(CAPTIONS["mri-brain.png"])
        picture = library.locator(f"{CARDS} img.thumb").first
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth > 0")
        library.locator("#forget-image").click()
        expect(library.locator("#results .query-image")).to_have_count(0)
    finally:
        library.get_by_role("tab", name="Corpora").click()
        library.locator("#delete-which input").click()
        library.get_by_role("option", name="Own images").first.click()
        library.locator("#delete").click()
        expect(library.locator("#delete-question")).to_contain_text("The originals stay")
        library.locator("#delete-yes").click()
        expect(library.locator("#job")).to_contain_text("figures deleted")
    expect(library.locator("#overview")).to_contain_text("1 corpus")
    assert not [url for url in asked if not url.startswith((web_server.url, "data:", "blob:"))]


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut_off_at_either_width(library: Page, width: int):
    library.set_viewport_size({"width": width, "height": 844})
    find(library, "pneumothorax on CT")
    library.locator(f"{CARDS} h3 a").first.click()
    expect(library.locator(OPENED)).to_be_visible()
    assert library.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    library.get_by_role("tab", name="Corpora").click()
    expect(library.locator("#overview .corpus")).to_be_visible()
    assert library.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    expect(library.locator("#study-aid")).to_be_visible()
