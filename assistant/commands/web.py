"""`medvint web`: the page and the API alone."""

import typer


def web() -> None:
    """Serve the page and the API alone (`medvint up` does this too, with the model). Example:

    \b
      MEDVINT_MODEL_URL=http://gpu-server:8000 medvint web
    """
    import uvicorn

    from assistant.settings import Settings

    settings = Settings()
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
