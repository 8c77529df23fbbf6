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

from assistant.api import add_error_handlers, make_router
from assistant.chat import Assistant
from assistant.example_questions import read_examples
from assistant.figure_search import FigureSearch
from assistant.model import ModelClient
from assistant.pages import PAGES
from assistant.screen import build_screen
from assistant.settings import Settings
from assistant.study.api import add_study
from assistant.study.gate import open_gate
from assistant.study.page import build_study_screen
from assistant.theme import make_theme

FOLDER = Path(__file__).parent


def create_app(settings: Settings | None = None) -> FastAPI:
    """The one factory of the web process; `settings` come from the environment if not given.

    Raises ExamplesError if `examples_dir` is not in its form.
    """
    settings = settings or Settings()
    model = ModelClient(settings)
    figures = FigureSearch(settings)
    assistant = Assistant(model, figures, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A missing index is no reason not to start: /readyz and every turn say what is wrong with it.
        opening = asyncio.create_task(asyncio.to_thread(figures.problem))
        yield
        await opening
        await model.close()

    app = FastAPI(title="MedVInT assistant", lifespan=lifespan)
    gate = open_gate(settings.data_dir)
    # Before the chat's routes, whose last one answers whatever else is asked of /api.
    add_study(app, gate, assistant, settings)
    app.include_router(make_router(assistant, settings))
    add_error_handlers(app)

    # Uploads are state, and state lives in the data folder; Gradio takes its folder from here only.
    os.environ["GRADIO_TEMP_DIR"] = str((settings.data_dir / "uploads").resolve())
    chat = build_screen(assistant, settings, read_examples(settings.examples_dir))
    _add_page(app, "Study", build_study_screen(gate, assistant, settings), settings.max_upload_bytes * 10)
    # The page at the root comes last: it takes every address that no other has taken.
    _add_page(app, "Chat", chat, settings.max_upload_bytes)
    return app


def _add_page(app: FastAPI, name: str, screen: gr.Blocks, max_file_size: int) -> None:
    address = PAGES[name].rstrip("/")
    if address:
        # Its links are relative, so they hold only with the slash.
        app.add_api_route(f"/{address}", lambda: RedirectResponse(f"{address}/"), include_in_schema=False)
    screen.queue(max_size=64)
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
        "\n".join((FOLDER / f"{name}.{kind}").read_text(encoding="utf-8") for name in ("screen", "study/page"))
        for kind in ("css", "js")
    )
    return f"<style>{style}</style><script>{script}</script>"
