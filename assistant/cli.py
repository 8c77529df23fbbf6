"""The command `medvint`: the root that every subcommand in `assistant/commands/` hangs on.

medvint --help
python -m assistant --help
"""

import typer

from assistant.commands import (
    ask,
    assemble,
    convert,
    doctor,
    evaluate,
    feedback,
    index,
    leaderboard,
    prepare,
    serve,
    settings,
    study,
    train,
    up,
    users,
    web,
)
from assistant.commands.errors import WordsGroup

app = typer.Typer(
    name="medvint",
    cls=WordsGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A chat assistant for medical education: MedVInT on vLLM, grounded in PubMed Central figures. "
    "A study aid, not a diagnostic device. Settings come from MEDVINT_... variables or a .env file.",
)
app.command("up")(up.up)
app.command("ask")(ask.ask)
app.add_typer(index.app, name="index")
app.add_typer(study.app, name="study")
app.command("convert")(convert.convert)
app.command("assemble", hidden=True)(assemble.assemble)
app.command("serve")(serve.serve)
app.command("web")(web.web)
app.command("train")(train.train)
app.add_typer(evaluate.app, name="evaluate")
app.command("leaderboard")(leaderboard.leaderboard)
app.command("prepare")(prepare.prepare)
app.command("doctor")(doctor.doctor)
app.command("settings")(settings.settings)
app.add_typer(feedback.app, name="feedback")
app.add_typer(users.app, name="users")
