"""`medvint prepare`: what the first start makes, without the start."""

import typer


def prepare() -> None:
    """Assemble the demo model and build the index of sample figures where they are missing, and stop.

    For images of containers, and for machines that shall start fast the first time. Example:

    \b
      medvint prepare
    """
    from assistant.prepare import Preparation
    from assistant.settings import Settings

    settings = Settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    made = Preparation(settings).run()
    typer.echo(f"Made: {', '.join(made)}." if made else "Model and index are there.")
