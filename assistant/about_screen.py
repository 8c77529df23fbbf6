"""The pages Reports and About: how the model did beside its controls, and what it is, was trained on, and cannot do."""

import tempfile
from pathlib import Path

import gradio as gr

from assistant.pages import STUDY_AID, header
from assistant.settings import Settings
from serving.evaluation.leaderboard import write_leaderboard
from serving.evaluation.report import ReportError, read_report

ROOT = Path(__file__).resolve().parent.parent
DEMO_DIR = ROOT / "serving" / "models" / "demo"
READ_IT_SO = (
    "Accuracy alone says little. A model that does as well with a **blank image** did not look; one that does no "
    "better than **question only** gives the most frequent answer to the question. Every row stands beside its "
    "controls; rows quoted from the paper have none, and say so. `medvint evaluate` makes a "
    "report, and it appears here."
)
NO_CARD = (
    "This model came without a card: its makers' page says what it was trained on. Nothing is known here about how "
    "well it does; `medvint evaluate` measures it."
)


def build_about_screen(settings: Settings) -> gr.Blocks:
    """The page. The model's card is read from its folder where that is on this machine."""
    with gr.Blocks(title="About - MedVInT assistant", analytics_enabled=False, fill_width=True) as screen:
        with gr.Row(elem_id="top"):
            gr.HTML(header("About", settings), elem_id="header")
        with gr.Column(elem_classes="reading"):
            gr.Markdown((ROOT / "assistant" / "about.md").read_text(encoding="utf-8"))
            gr.Markdown(model_card(settings), elem_id="model-card")
        gr.HTML(f"<p>{STUDY_AID}</p>", elem_id="study-aid")
    return screen


def build_reports_screen(settings: Settings) -> gr.Blocks:
    """The page. Reports are read when it is opened, so that a new one needs no restart."""
    with gr.Blocks(title="Reports - MedVInT assistant", analytics_enabled=False, fill_width=True) as screen:
        with gr.Row(elem_id="top"):
            gr.HTML(header("Reports", settings), elem_id="header")
        with gr.Column(elem_classes="reading wide"):
            gr.Markdown(f"## How the models did\n\n{READ_IT_SO}")
            table = gr.Markdown(elem_id="leaderboard")
        gr.HTML(f"<p>{STUDY_AID}</p>", elem_id="study-aid")
        screen.load(lambda: leaderboard(settings), None, [table], api_visibility="private", show_progress="hidden")
    return screen


def model_card(settings: Settings) -> str:
    """The card of the model that answers, in Markdown."""
    folder = DEMO_DIR if settings.is_demo else Path(settings.model).expanduser()
    card = folder / "README.md"
    if settings.model_url is not None or not card.is_file():
        return f"## The model\n\n{NO_CARD}"
    text = card.read_text(encoding="utf-8")
    # A hub's card begins with front matter that is for programs.
    return text.partition("\n---\n")[2] if text.startswith("---\n") else text


def leaderboard(settings: Settings) -> str:
    """All reports that are here, the demo's own first, as a Markdown table; what cannot be read is named."""
    found = [
        *sorted((DEMO_DIR / "reports").glob("*-validate.json")),
        *sorted(settings.reports_dir.glob("*/report.json")),
    ]
    readable, faults = [], []
    for path in found:
        try:
            read_report(path)
            readable.append(path)
        except ReportError as error:
            faults.append(f"- {error}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "leaderboard.md"
        write_leaderboard(readable, out)
        return "\n".join([out.read_text(encoding="utf-8"), "", *faults])
