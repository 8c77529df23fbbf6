"""`medvint web`: the page and the API alone."""

import typer


def web() -> None:
    """Serve the page and the API alone (`medvint up` does this too, with the model). Example:

    \b
      MEDVINT_MODEL_URL=http://gpu-server:8000 medvint web
    """
    import logging

    import uvicorn

    from assistant.guard import check_open
    from assistant.settings import Settings

    settings = Settings()
    check_open(settings)
    # Before a library sets up the root logger in its own way.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # One line of JSON for each request, without what was asked.
    requests = logging.getLogger("assistant.requests")
    requests.addHandler(logging.StreamHandler())
    requests.setLevel(logging.INFO)
    requests.propagate = False
    typer.echo(f"The web listens on {settings.host}:{settings.port}")
    # An answer that is being streamed must not hold up Ctrl-C.
    uvicorn.run(
        "assistant.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
