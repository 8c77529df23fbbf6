"""`python -m assistant` is the command `medvint`."""

from assistant.cli import app

app(prog_name="medvint")
