"""The pages of the assistant, their addresses, and the header that each of them carries."""

from html import escape

from assistant.settings import Settings

DEMO = (
    "Small demonstration model: it names modality, region and common findings in radiology images, and is often wrong."
)
STUDY_AID = "Study aid. Not for diagnosis. Answers can be wrong; check them against the sources."
PAGES = {
    "Chat": "",
    "Study": "study/",
    "Library": "library/",
    "Compare": "compare/",
    "Reports": "reports/",
    "About": "about/",
}
"""A page's name, as the header shows it, to its address below the root."""


def root_of(page: str) -> str:
    """The root as a relative address from a page, so that links hold behind a proxy's prefix: "./" or "../"."""
    return "../" * PAGES[page].count("/") or "./"


def header(page: str, settings: Settings) -> str:
    """Title, pages, the model's status line and the switch of themes; `screen.js` fills the status."""
    root = root_of(page)
    links = "".join(
        f'<a href="{root}{address}"{" aria-current=page" if name == page else ""}>{escape(name)}</a>'
        for name, address in PAGES.items()
    )
    is_demo = "true" if settings.is_demo else "false"
    return (
        '<div class="title"><h1>MedVInT assistant</h1>'
        f'<p id="model-line" data-root="{root}" data-demo="{is_demo}" data-demo-text="{DEMO}">'
        '<span id="status" role="status" class="waiting">asking for the model</span>'
        f'<span id="demo-note">{DEMO if settings.is_demo else ""}</span></p></div>'
        f'<nav id="pages" aria-label="Pages">{links}</nav>'
        '<button type="button" id="theme-toggle" aria-label="Switch between light and dark">light / dark</button>'
    )
