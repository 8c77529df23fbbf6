"""The Library screen: Gradio's parts and their wiring. What happens is in `figure_library_session`, how it looks in
`figure_library_html`."""

from typing import Any

import gradio as gr

from assistant import figure_library_html
from assistant import figure_library_words as words
from assistant.figure_library import Library, Query
from assistant.figure_library_session import YEAR_DIGITS, LibrarySession
from assistant.pages import STUDY_AID, header
from assistant.screen import HOUR_S
from assistant.settings import Settings

CONCURRENT_SEARCHES = 8
# The page's address is the one place that says which figure is open, so that Back and a copied link work.
FIGURE_OF_ADDRESS = "() => new URLSearchParams(location.search).get('figure') || ''"
PRESSED = "(_, ...others) => [window.pressedInHtml ?? '', ...others]"
SHOW_FIGURE = "() => setTimeout(() => window.showOpenedFigure?.(), 60)"


def build_library_screen(library: Library, settings: Settings) -> gr.Blocks:
    """The page. Uploaded files are deleted from its cache after a day."""
    with gr.Blocks(
        title=words.TITLE,
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(HOUR_S, 24 * HOUR_S),
    ) as screen:
        session = LibrarySession(library, settings)
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Row(elem_id="top"):
            gr.HTML(header("Library", settings), elem_id="header")
        with gr.Tabs(elem_id="library"):
            with gr.Tab(words.SEARCH):
                facets = _search(session, screen, settings, quiet)
            with gr.Tab(words.CORPORA, render_children=True):
                _corpora(session, screen, facets, settings, quiet)
        _html(f"<p>{STUDY_AID}</p>", elem_id="study-aid")
    return screen


def _html(value: str, **values: Any) -> gr.HTML:
    """HTML that only our own style sheets style."""
    return gr.HTML(value, apply_default_css=False, **values)


def _search(session: LibrarySession, screen: gr.Blocks, settings: Settings, quiet: dict[str, Any]) -> list[Any]:
    """The tab with the search; returns the dropdowns whose choices the index decides."""
    query = gr.State(Query())
    box = gr.MultimodalTextbox(
        elem_id="find",
        label=words.FIND,
        show_label=False,
        placeholder=words.FIND_SUCH_AS,
        file_types=["image", ".dcm"],
        file_count="single",
        sources=["upload"],
        max_plain_text_length=10 * settings.max_question_chars,
    )
    forget = gr.Button(words.FORGET_IMAGE, elem_id="forget-image", size="sm", visible=False)
    with gr.Accordion(words.FILTERS, open=False, elem_id="filters"), gr.Row():
        lists = [gr.Dropdown([], multiselect=True, label=label, min_width=180) for label in words.FACETS]
        years = [gr.Textbox("", label=label, max_length=YEAR_DIGITS, min_width=100) for label in words.YEARS]
    with gr.Row(elem_id="library-main", equal_height=False):
        with gr.Column(scale=3, elem_id="results-column", min_width=320):
            results = _html(figure_library_html.invitation(), elem_id="results")
        with gr.Column(scale=2, elem_id="figure-column", min_width=320):
            figure = _html("", elem_id="figure-panel")
    # Links and buttons in HTML press these (`figure_library.js`); a person does not see them.
    address, pressed = gr.Textbox(visible=False), gr.Textbox(visible=False)
    opener = gr.Button(words.OPEN_FIGURE, elem_id="open-figure", elem_classes="pressed-by-links")
    liker = gr.Button(words.MORE_LIKE, elem_id="more-like", elem_classes="pressed-by-links")
    finder = gr.Button(words.SEARCH, elem_id="find-example", elem_classes="pressed-by-links")

    filters: list[Any] = [*lists, *years]
    limit: dict[str, Any] = {"concurrency_limit": CONCURRENT_SEARCHES, "concurrency_id": "library-search"}
    found = [results, query, box, forget]
    box.submit(session.search, [box, query, *filters], found, **limit, **quiet)
    forget.click(session.forget_image, [query, *filters], [results, query, forget], **limit, **quiet)
    liker.click(session.more_like, [pressed, *filters], found, js=PRESSED, **limit, **quiet)
    finder.click(session.search_example, [pressed, query, *filters], found, js=PRESSED, **limit, **quiet)
    gr.on(
        # A pasted year is a change, but no input.
        [*(part.input for part in filters[: len(lists)]), *(part.change for part in years)],
        session.search_again,
        [query, *filters],
        results,
        trigger_mode="always_last",
        **limit,
        **quiet,
    )
    for opened in (opener.click, screen.load):
        shown = opened(session.open_figure, address, figure, js=FIGURE_OF_ADDRESS, **limit, **quiet)
        shown.then(None, None, None, js=SHOW_FIGURE, **quiet)
    return lists


def _corpora(
    session: LibrarySession, screen: gr.Blocks, facets: list[Any], settings: Settings, quiet: dict[str, Any]
) -> None:
    """The tab with what is in the index, and what changes it."""
    job = _html("", elem_id="job")
    stop = gr.Button(words.STOP, elem_id="stop-job", size="sm", visible=False)
    with gr.Row(elem_id="corpora-main", equal_height=False):
        with gr.Column(scale=3, min_width=320):
            overview = _html(figure_library_html.waiting(words.COUNTING), elem_id="overview")
        with gr.Column(scale=2, min_width=320, elem_id="changes"):
            _html(f"<h2>{words.ADD_OWN}</h2>{figure_library_html.form_of_own()}")
            with gr.Row():
                archive = gr.UploadButton(
                    words.CHOOSE_ZIP.format(limit=words.megabytes(settings.max_corpus_bytes)),
                    file_types=[".zip"],
                    elem_id="choose-zip",
                    size="sm",
                )
                folder = gr.UploadButton(
                    words.CHOOSE_FOLDER, file_count="directory", elem_id="choose-folder", size="sm"
                )
            pending = gr.State(None, delete_callback=session.forget)
            preview = _html("", elem_id="preview")
            with gr.Row():
                add = gr.Button(words.ADD, variant="primary", elem_id="add", size="sm", visible=False)
                discard = gr.Button(words.DISCARD, elem_id="discard", size="sm", visible=False)
            with gr.Column(visible=False) as sample_part:
                _html(f"<h2>{words.SAMPLE}</h2><p>{words.SAMPLE_WHAT}</p>")
                sample = gr.Button(words.ADD_SAMPLE, elem_id="add-sample", size="sm")
            _html(f"<h2>{words.DELETE_A_CORPUS}</h2>")
            chosen = gr.Dropdown([], value=None, label=words.WHICH_CORPUS, elem_id="delete-which")
            ask = gr.Button(words.DELETE, elem_id="delete", size="sm")
            question = _html("", elem_id="delete-question")
            with gr.Row(visible=False, elem_id="confirm") as confirm:
                yes = gr.Button(words.DELETE_YES, variant="stop", elem_id="delete-yes", size="sm")
                no = gr.Button(words.DELETE_NO, elem_id="delete-no", size="sm")
            _html(f"<h2>{words.REBUILD}</h2><p>{words.REBUILD_WHAT}</p>")
            rebuild = gr.Button(words.REBUILD, elem_id="rebuild", size="sm")

    written = [job, stop, add, sample, ask, rebuild, sample_part, overview, *facets, chosen]
    free: dict[str, Any] = {"concurrency_limit": None, **quiet}
    previewed = [preview, pending, add, discard]
    for button in (archive, folder):
        button.upload(session.look_at, [button, pending], previewed, **free)
    discard.click(session.discard, pending, previewed, **quiet)
    added = add.click(session.add, pending, written, **free)
    added.success(session.clear_added, pending, previewed, **quiet)
    sample.click(session.add_sample, None, written, **free)
    ask.click(session.ask_before_deleting, chosen, [question, confirm], **quiet)
    no.click(session.question_answered, None, [question, confirm], **quiet)
    yes.click(session.question_answered, None, [question, confirm], **quiet).then(
        session.delete, chosen, written, **free
    )
    rebuild.click(session.rebuild, None, written, **free)
    stop.click(session.stop, None, stop, queue=False, **quiet)
    screen.load(session.arrive, None, written, **free)
