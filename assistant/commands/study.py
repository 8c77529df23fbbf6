"""`medvint study`: packs in and out, a round of practice in the shell, a learner's log, a pack's statistics."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant.commands.errors import CommandError, print_json, read_file

if TYPE_CHECKING:
    from assistant.settings import Settings
    from assistant.study.gate import Gate
    from assistant.study.items import PublicItem, Reveal

app = typer.Typer(no_args_is_help=True, help="Tutor mode: answer first, then learn. Packs, practice, logs, statistics.")
Learner = Annotated[str, typer.Option(help="Whose log.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON on standard output.")]


@app.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(help="phantoms, slake, vqa-rad, kermany, hannover, skin, blood, knee, tumours")
    ],
    path: Annotated[Path | None, typer.Option(help="The folder with the set; the phantoms need none.")] = None,
    json: Json = False,
) -> None:
    """Make a public set into a pack to practise on, with its licence and its certificate. Examples:

    \b
      medvint study import phantoms
      medvint study import slake --path ~/slake
    """
    from assistant.study.packs import Shelf
    from assistant.study.sources import import_pack

    shelf = Shelf(_settings().data_dir / "study" / "packs")
    pack = import_pack(shelf.folder, source, path)
    _tell_pack(shelf.open(pack.name), json)


@app.command()
def packs(json: Json = False) -> None:
    """What can be practised.

    \b
      medvint study packs
    """
    gate = _gate()
    gate.stock()
    for one in gate.shelf.all():
        _tell_pack(one, json)


@app.command()
def lint(
    archive: Annotated[Path, typer.Argument(help="A ZIP with cases.csv and images.")],
    name: Annotated[str, typer.Option(help="The pack's name: small letters, digits, hyphens.")] = "own",
    title: Annotated[str, typer.Option(help="Its title.")] = "",
    publish: Annotated[bool, typer.Option("--publish", help="Put it on the shelf where no row has an error.")] = False,
    json: Json = False,
) -> None:
    """Check a teacher's cases row by row, and whether they can be answered without looking. Examples:

    \b
      medvint study lint lecture.zip
      medvint study lint lecture.zip --name thorax-1 --publish
    """
    read_file(archive)
    from assistant.study import teacher

    read = teacher.read_zip(archive, name, title)
    version = teacher.publish(_gate().shelf, read).version if publish and not read.errors else ""
    if json:
        print_json({**read.to_dict(), "version": version})
        return
    for one in read.report:
        typer.echo(f"row {one.row} ({one.case_id}) {'error' if one.is_error else 'flaw'}: {one.words} {one.fix}")
    for guesser, result in read.blind.items():
        passes = "" if result["passes"] else "   too well: the pack gives itself away"
        typer.echo(f"without looking, {guesser}: {result['score']:.0%}, chance {result['chance']:.0%}{passes}")
    typer.echo(f"{read.rows} rows, {len(read.items)} can be used, {len(read.errors)} errors.")
    if publish:
        typer.echo(f"Published as {name}, version {version}." if version else "Not published: mend the errors first.")


@app.command()
def practise(
    pack: Annotated[list[str] | None, typer.Option(help="A pack; may be repeated. Without it: all.")] = None,
    learner: Learner = "me",
    rounds: Annotated[int, typer.Option(help="How many questions.", min=1)] = 12,
) -> None:
    """A round in the shell; the pictures are written to files that are deleted after. Example:

    \b
      medvint study practise --pack phantoms --rounds 5
    """
    import tempfile

    from assistant.study.errors import AnswerError

    gate = _gate()
    with tempfile.TemporaryDirectory(prefix="medvint-study-") as folder:
        picture = Path(folder) / "question.png"
        for _ in range(rounds):
            question = gate.next(learner, packs=pack or [])
            picture.write_bytes(gate.image(question.attempt_id))
            typer.echo(f"\n{question.number}. {question.stem}\n   picture: {picture}")
            while True:
                try:
                    reveal = _answer(gate, learner, question)
                    break
                except AnswerError as error:
                    typer.echo(f"   {error}")
            typer.echo(_reveal_text(reveal))


def _answer(gate: "Gate", learner: str, question: "PublicItem") -> "Reveal":
    from assistant.study.items import CERTAINTIES, Commitment

    for number, option in enumerate(question.options, 1):
        typer.echo(f"   {number}  {option}")
    how = "x and y in percent, such as 40 60, or a box: x y width height" if question.kind == "place" else "your answer"
    said = typer.prompt(f"   {how}, or g to give up").strip()
    if said == "g":
        return gate.commit(learner, Commitment(question.attempt_id, gave_up=True))
    sure = typer.prompt("   how sure, " + ", ".join(f"{key}: {words}" for key, words in CERTAINTIES.items()), type=int)
    point = box = None
    if question.kind == "place":
        numbers = [float(part) / 100 for part in said.replace(",", " ").split() if part.replace(".", "", 1).isdigit()]
        point = (numbers[0], numbers[1]) if len(numbers) == 2 else None
        box = (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None
        said = ""
    elif said.isdigit() and 1 <= int(said) <= len(question.options):
        said = question.options[int(said) - 1]
    return gate.commit(learner, Commitment(question.attempt_id, said, sure, point, box=box))


def _reveal_text(reveal: "Reveal") -> str:
    lines = [f"   {reveal.verdict.words} C{reveal.certainty}, {reveal.verdict.marks:+d}"]
    lines += [f"   The answer: {reveal.key}"] if reveal.key else []
    lines.append(f"   {reveal.explanation or 'no sourced explanation for this item'}")
    lines.append(f"   {reveal.source} · {reveal.licence}")
    if reveal.comes_back_today:
        lines.append("   confident error: comes back today")
    elif reveal.next_due:
        lines.append(f"   next: {reveal.next_due}")
    return "\n".join(lines)


@app.command()
def exam(
    day: Annotated[str, typer.Argument(help="The day of the exam, such as 2027-03-01; none for no exam.")],
    learner: Learner = "me",
) -> None:
    """Plan for an exam: every skill comes once more by the day before it. Examples:

    \b
      medvint study exam 2027-03-01
      medvint study exam none
    """
    from datetime import date

    try:
        wanted = None if day == "none" else date.fromisoformat(day)
    except ValueError as error:
        raise CommandError("Write the date as YYYY-MM-DD, such as 2027-03-01, or none.") from error
    _gate().set_exam(learner, wanted)
    typer.echo(f"Planned for {day}." if wanted else "No exam is planned for.")


@app.command()
def stats(
    pack: Annotated[str | None, typer.Option(help="A pack, for its teacher; without it a learner's progress.")] = None,
    learner: Learner = "me",
    names: Annotated[bool, typer.Option("--names", help="Say who answered.")] = False,
    json: Json = False,
) -> None:
    """A learner's progress, or what happened to a pack's items. Examples:

    \b
      medvint study stats
      medvint study stats --pack thorax-1 --json
    """
    from datetime import UTC, datetime

    from assistant.study import report

    gate = _gate()
    if pack:
        rows = report.of_pack(gate.log.attempts_on(pack), gate.shelf.open(pack).items, with_names=names)
        if json:
            print_json(rows)
            return
        for row in (row for row in rows if row["n"] or row["not_graded"]):
            typer.echo(
                f"{row['item_id']}: {row['right']} of {row['n']} right, {row['confident_errors']} confident errors"
            )
        return
    attempts, day = gate.log.attempts(learner), gate.log.exam(learner)
    told = report.progress(attempts, gate.shelf.items(), datetime.now(UTC), day)
    if json:
        print_json(told)
        return
    typer.echo(f"{told['answers']} answers, {told['marks']:+d} marks. Due today: {told['due']}. New: {told['new']}.")
    typer.echo(f"Certainty: {told['certainty']['words']}")
    for row in told["skills"]:
        seen = row["right_at_first_sight"] or {"n": 0, "right": 0}
        typer.echo(f"  {row['skill']}: {seen['right']} of {seen['n']} new images right; next {row['due']}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="A file that ends in .apkg, .xml or .csv")],
    pack: Annotated[str | None, typer.Option(help="A whole pack, with its keys.")] = None,
    learner: Learner = "me",
    names: Annotated[bool, typer.Option("--names", help="CSV of a pack: say who answered.")] = False,
) -> None:
    """Anki, Moodle, or a table: of a pack, else of what a learner has answered. Examples:

    \b
      medvint study export mine.apkg
      medvint study export quiz.xml --pack thorax-1
      medvint study export results.csv --pack thorax-1
    """
    from assistant.study import export as exports
    from assistant.study.api import answered_items

    gate = _gate()
    items = list(gate.shelf.open(pack).items) if pack else answered_items(gate, learner)
    if out.suffix == ".apkg":
        typer.echo(f"{exports.anki(gate.shelf, items, out)} notes in {out}")
    elif out.suffix == ".xml":
        out.write_bytes(exports.moodle(gate.shelf, items))
        typer.echo(f"{out} is written")
    elif out.suffix == ".csv":
        attempts = gate.log.attempts_on(pack) if pack else gate.log.attempts(learner)
        out.write_text(exports.table(attempts, with_names=names or not pack), encoding="utf-8")
        typer.echo(f"{len(attempts)} answers in {out}")
    else:
        raise CommandError("Name a file that ends in .apkg, .xml or .csv")


@app.command("export-log")
def export_log(out: Annotated[Path, typer.Argument(help="The file to write.")], learner: Learner = "me") -> None:
    """A learner's whole log, to keep or to bring to another machine.

    \b
      medvint study export-log me.jsonl
    """
    out.write_text(_gate().log.export(learner), encoding="utf-8")
    typer.echo(f"{out} is written")


@app.command("import-log")
def import_log(file: Annotated[Path, typer.Argument(help="An exported log.")], learner: Learner = "me") -> None:
    """Bring an exported log back; what is there already is left as it is.

    \b
      medvint study import-log me.jsonl
    """
    new = _gate().log.take_in(learner, read_file(file).decode("utf-8", errors="replace"))
    typer.echo(f"{new} answers were new")


@app.command()
def forget(learner: Learner = "me", yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete everything about a learner.

    \b
      medvint study forget --learner me
    """
    if not yes and not typer.confirm(f"Delete all answers of {learner}?"):
        raise typer.Abort
    typer.echo(f"{_gate().log.forget(learner)} answers are deleted")


@app.command()
def readings(
    pack: Annotated[str, typer.Argument(help="The pack whose questions the model is asked.")],
    answers: Annotated[Path, typer.Option(help="answers.jsonl of `medvint evaluate slake`, instead of asking again.")],
    data: Annotated[Path, typer.Option(help="The folder of the set.")],
) -> None:
    """Add the model's answers to a pack, for "Judge the model". Example:

    \b
      medvint study readings slake --answers data/reports/slake/answers.jsonl --data ~/slake
    """
    from assistant.study.sources.readings import add_readings

    added = add_readings(_gate().shelf, pack, answers, data)
    typer.echo(f"{added} questions to judge the model by, half of them wrong")


@app.command()
def blank(
    pack: Annotated[str, typer.Argument(help="A pack on the shelf.")],
    json: Json = False,
) -> None:
    """Ask the model (while it runs) a pack's questions with a black picture, and keep what it scored. Example:

    \b
      medvint study blank thorax-1
    """
    import asyncio

    from assistant.model import ModelClient
    from assistant.study import blank as blanks

    settings, shelf = _settings(), _gate().shelf

    async def ask() -> dict[str, dict[str, Any]]:
        model = ModelClient(settings)
        try:
            return await blanks.check(model, shelf.open(pack).items, settings)
        finally:
            await model.close()

    checked = asyncio.run(ask())
    shelf.add_blind(pack, checked)
    if json:
        print_json(checked)
        return
    for name, one in checked.items():
        passes = "" if one["passes"] else "   too well: the words give the answer away"
        typer.echo(f"{name}: {one['score']:.0%}, chance {one['chance']:.0%}, of {one['n']} items{passes}")
    if not checked:
        typer.echo("No item of this pack has options to guess from.")


@app.command()
def accept(
    item: Annotated[str, typer.Argument(help="The item's id, as `medvint study stats --pack` tells it.")],
    answer: Annotated[str, typer.Argument(help="An answer that could not be marked.")],
) -> None:
    """Take an answer as right from now on. Example:

    \b
      medvint study accept thorax-1/c7/text "air in the chest"
    """
    _gate().log.accept(item, answer)
    typer.echo(f"{answer!r} is right from now on")


@app.command()
def trial(out: Annotated[Path, typer.Argument(help="A CSV file to write.")]) -> None:
    """The built-in trial as a table: one line a learner, without names.

    \b
      medvint study trial trial.csv
    """
    from assistant.study.trial import table

    gate = _gate()
    out.write_text(table(gate.log.everyones(), gate.log.secret()), encoding="utf-8")
    typer.echo(f"{out} is written")


@app.command("teacher-key")
def teacher_key() -> None:
    """The key that the page and the API ask a teacher for.

    \b
      medvint study teacher-key
    """
    typer.echo(_gate().log.secret())


def _settings() -> "Settings":
    from assistant.settings import Settings

    return Settings()


def _gate() -> "Gate":
    from assistant.study.gate import open_gate

    return open_gate(_settings().data_dir)


def _tell_pack(one: object, json: bool) -> None:
    from dataclasses import asdict

    from assistant.study.packs import Shelved

    assert isinstance(one, Shelved)
    if json:
        print_json({**asdict(one.pack), "items": len(one.items), "report": one.report})
        return
    blind = one.report.get("blind", {})
    passes = all(result["passes"] for result in blind.values())
    typer.echo(
        f"{one.pack.name:<12}{len(one.items):>5} questions, {one.normal_share:.0%} show nothing wrong, "
        f"{one.pack.licence}"
        f"   lint: {len(one.report.get('flaws', []))} flaws; blind checks {'pass' if passes else 'FAIL'}"
    )
    if one.pack.note:
        typer.echo(f"{'':<12}{one.pack.note}")
