"""The web application: the screens and the REST interface in one FastAPI.

uvicorn --factory assistant.app:create_app --port 7860
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from assistant.about_screen import build_about_screen, build_reports_screen
from assistant.api import add_error_handlers, make_router
from assistant.api_conversations import conversations_router
from assistant.api_search import make_search_router
from assistant.compare_screen import build_compare_screen
from assistant.comparing import Comparison
from assistant.conversations import Conversations
from assistant.example_questions import read_examples
from assistant.figure_library import Library
from assistant.figure_library_screen import build_library_screen
from assistant.figure_search import FigureSearch
from assistant.guard import Guard, check_open, is_loopback
from assistant.mcp_tools import make_tools
from assistant.metrics import MeteredAssistant, TurnMetrics, metrics_router
from assistant.model import ModelClient
from assistant.openai_api import openai_router
from assistant.pages import PAGES
from assistant.screen import build_screen
from assistant.settings import Settings
from assistant.study.api import add_study
from assistant.study.gate import open_gate
from assistant.study.page import build_study_screen
from assistant.theme import make_theme

FOLDER = Path(__file__).parent
HOUR_S = 3600
PAGE_FILES = ("screen", "privacy_screen", "figure_library", "study/page")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The one factory of the web process; `settings` come from the environment if not given.

    Raises ExamplesError if `examples_dir` is not in its form, OpenToTheWorldError if it would be open to everybody
    who reaches this machine, UsersError if the file of users is not in its form.
    """
    settings = settings or Settings()
    check_open(settings)
    model = ModelClient(settings)
    figures = FigureSearch(settings)
    metrics = TurnMetrics()
    assistant = MeteredAssistant(model, figures, settings, metrics)
    comparison = Comparison(lambda client, asked: MeteredAssistant(client, figures, asked, metrics), model, settings)
    tools = make_tools(assistant, settings)
    library = Library(figures, settings)
    store = Conversations(settings.conversations_file) if _keeps(settings) else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A missing index is no reason not to start: /readyz and every turn say what is wrong with it.
        opening = asyncio.create_task(asyncio.to_thread(figures.problem))
        forgetting = None
        if store and settings.conversation_days:
            forgetting = asyncio.create_task(_forget_old(store, settings.conversation_days))
        async with tools.running():
            yield
        if forgetting:
            forgetting.cancel()
        await asyncio.to_thread(library.jobs.close)
        await opening
        await comparison.close()
        await model.close()

    app = FastAPI(title="MedVInT assistant", lifespan=lifespan)
    app.add_middleware(Guard, settings=settings)
    app.include_router(openai_router(assistant, settings))
    app.include_router(metrics_router(metrics, settings))
    if store:
        app.include_router(conversations_router(store))
    # Before the chat's routes, whose last one answers whatever else is asked of /api.
    app.include_router(make_search_router(figures, settings))
    gate = open_gate(settings.data_dir)
    add_study(app, gate, assistant, settings)
    app.include_router(make_router(assistant, settings))
    app.router.routes.extend(tools.routes)
    add_error_handlers(app)

    # Uploads are state, and state lives in the data folder; Gradio takes its folder from here only.
    os.environ["GRADIO_TEMP_DIR"] = str((settings.data_dir / "uploads").resolve())
    examples = read_examples(settings.examples_dir)
    # From where they lie: Gradio's copy of one would be the very file that a visitor uploads, and go with it.
    gr.set_static_paths([example.image for example in examples])
    chat = build_screen(assistant, settings, examples, store)
    study = build_study_screen(gate, assistant, settings)
    _add_page(app, "Study", study, settings.max_upload_bytes * 10, settings)
    _add_page(app, "Library", build_library_screen(library, settings), settings.max_corpus_bytes, settings)
    _add_page(app, "Compare", build_compare_screen(comparison, settings), settings.max_upload_bytes, settings)
    _add_page(app, "Reports", build_reports_screen(settings), settings.max_upload_bytes, settings)
    _add_page(app, "About", build_about_screen(settings), settings.max_upload_bytes, settings)
    # The page at the root comes last: it takes every address that no other has taken.
    _add_page(app, "Chat", chat, settings.max_upload_bytes, settings)
    return app


def _keeps(settings: Settings) -> bool:
    """Whether conversations are kept: never where everybody may come in, who would see each other's."""
    return settings.keep_conversations and (settings.users_file is not None or is_loopback(settings.host))


async def _forget_old(store: Conversations, days: float) -> None:
    while True:
        await asyncio.to_thread(store.forget_older, days)
        await asyncio.sleep(HOUR_S)


def _add_page(app: FastAPI, name: str, screen: gr.Blocks, max_file_size: int, settings: Settings) -> None:
    address = PAGES[name].rstrip("/")
    if address:
        # Its links are relative, so they hold only with the slash.
        app.add_api_route(f"/{address}", lambda: RedirectResponse(f"{address}/"), include_in_schema=False)
    screen.queue(max_size=settings.waiting_questions)
    gr.mount_gradio_app(
        app,
        screen,
        path=f"/{address}",
        theme=make_theme(),
        head=_page_head(),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        show_error=False,
        ssr_mode=False,
        max_file_size=max_file_size,
    )


def _page_head() -> str:
    style, script = (
        "\n".join((FOLDER / f"{name}.{kind}").read_text(encoding="utf-8") for name in PAGE_FILES)
        for kind in ("css", "js")
    )
    return f"<style>{style}</style><script>{script}</script>"
