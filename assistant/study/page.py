"""The study screens: Gradio's parts and their wiring. What happens is in `session`, how it looks in `html`."""

from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from assistant.chat import Assistant
from assistant.pages import STUDY_AID, header
from assistant.screen import HOUR_S
from assistant.settings import Settings
from assistant.study import gaps, texts
from assistant.study.gate import Gate
from assistant.study.items import Mode
from assistant.study.session import StudySession

# Where the learner clicked is on the page and nowhere else until it is committed.
POINT = "(learner, attempt, point, ...rest) => [learner, attempt, window.studyPoint(), ...rest]"
FORGET = "(...all) => { window.studyForget(); return all; }"
TO_REVEAL = "() => setTimeout(() => document.querySelector('.study-reveal')?.focus(), 50)"


def build_study_screen(gate: Gate, assistant: Assistant, settings: Settings) -> gr.Blocks:
    """The page. Files that were sent or made for it are deleted from its cache after a day."""
    with gr.Blocks(
        title=texts.TITLE, analytics_enabled=False, fill_width=True, delete_cache=(HOUR_S, 24 * HOUR_S)
    ) as screen:
        session = StudySession(gate, assistant, settings)
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        learner = gr.BrowserState("", storage_key="medvint-learner", secret=gate.log.secret()[:32])
        with gr.Row(elem_id="top"):
            gr.HTML(header("Study", settings), elem_id="header")
        with gr.Tabs(elem_id="study"):
            with gr.Tab(texts.TABS["practise"]):
                with gr.Column() as intro:
                    home = gr.HTML(f"<p class=stage>{texts.DRAWING}</p>", elem_id="study-home")
                    packs = gr.Dropdown(
                        [], multiselect=True, label=texts.PACKS, info=texts.PACKS_INFO, elem_id="study-packs"
                    )
                starts = [_exercise(session, "practise", learner, intro, packs, quiet)]
            for mode in ("look-alikes", "judge", "trial"):
                with gr.Tab(texts.TABS[mode], render_children=True):
                    starts.append(_exercise(session, mode, learner, None, None, quiet))
            with gr.Tab(texts.TABS["own"], render_children=True):
                _own_image(session, quiet)
            with gr.Tab(texts.TABS["progress"], render_children=True) as tab:
                _progress(session, learner, tab, settings, quiet)
            with gr.Tab(texts.TABS["teacher"], render_children=True):
                _teacher(session, quiet)
        gr.HTML(f"<p>{STUDY_AID}</p>", elem_id="study-aid")
        screen.load(session.arrive, learner, [learner, packs, home, *starts], **quiet)
    return screen


def _exercise(session: StudySession, mode: Mode, learner: Any, intro: Any, packs: Any, quiet: dict[str, Any]) -> Any:
    """One exercise: a question, an answer with its certainty, and what that reveals. Returns its Start button."""
    name = mode.replace("-", "")
    attempt = gr.State("")
    point = gr.Textbox(visible=False)
    with gr.Column() as lead:
        gr.HTML(f"<p>{texts.LEAD[mode]}</p>")
        start = gr.Button(
            texts.START, variant="primary", elem_id=f"{name}-start", scale=0, min_width=140, interactive=False
        )
    with gr.Row(elem_classes="study-main", equal_height=False):
        with gr.Column(scale=3, min_width=320):
            question = gr.HTML("", elem_id=f"{name}-question")
            reveal = gr.HTML("", elem_id=f"{name}-reveal")
        with gr.Column(scale=2, min_width=320):
            option = gr.Radio([], label=texts.OPTIONS, visible=False, elem_id=f"{name}-options")
            text = gr.Dropdown(
                [],
                value=None,
                allow_custom_value=True,
                label=texts.ANSWER,
                info=texts.ANSWER_INFO,
                visible=False,
                elem_id=f"{name}-answer",
            )
            ticks = gr.CheckboxGroup(
                [], label=texts.TICKS, info=texts.TICKS_INFO, visible=False, elem_id=f"{name}-ticks"
            )
            certainty = gr.Radio(
                texts.CERTAINTY_CHOICES, value=None, label=texts.SURE, visible=False, elem_id=f"{name}-certainty"
            )
            with gr.Row(visible=False) as buttons:
                commit = gr.Button(texts.COMMIT, variant="primary", elem_id=f"{name}-commit", min_width=100)
                hint = gr.Button(texts.HINT, elem_id=f"{name}-hint", min_width=80)
                give_up = gr.Button(texts.GIVE_UP, elem_id=f"{name}-give-up", min_width=80)
            with gr.Column(visible=False) as after:
                on = gr.Button(texts.NEXT, variant="primary", elem_id=f"{name}-next")
                reading = gr.Button(texts.READING, elem_id=f"{name}-reading")
                with gr.Accordion(texts.ASK, open=False):
                    asked = gr.Textbox(label=texts.ASK, show_label=False, info=texts.ASK_INFO, elem_id=f"{name}-ask")
                with gr.Accordion(texts.MISTAKE, open=False):
                    wrong = gr.Textbox(label=texts.MISTAKE_LABEL, max_length=2000)
                    tell = gr.Button(texts.MISTAKE, size="sm")
            said = gr.HTML("", elem_id=f"{name}-said")
    shown = [attempt, question, option, text, certainty, buttons, reveal, after, said, ticks]
    of_mode = gr.State(mode)
    chosen = packs if packs is not None else gr.State([])
    for button in (start, on):
        button.click(session.next, [learner, of_mode, chosen], shown, js=FORGET, **quiet)
    # The picture is the largest thing on the screen: what stood above it has been read.
    for part in (lead, intro):
        if part is not None:
            start.click(lambda: gr.update(visible=False), None, part, queue=False, **quiet)
    commit.click(
        session.commit, [learner, attempt, point, option, text, certainty, ticks], shown, js=POINT, **quiet
    ).then(None, None, None, js=TO_REVEAL, **quiet)
    hint.click(session.hint, [learner, attempt], shown, **quiet)
    give_up.click(session.give_up, [learner, attempt], shown, **quiet)
    reading.click(session.read_on, [learner, attempt, gr.State("")], said, **quiet)
    asked.submit(session.read_on, [learner, attempt, asked], said, **quiet)
    tell.click(session.mistake, [learner, attempt, wrong], said, **quiet)
    return start


def _own_image(session: StudySession, quiet: dict[str, Any]) -> None:
    gr.HTML(f"<p>{texts.LEAD['own']}</p>")
    made = gr.State([])
    with gr.Row(elem_classes="study-main", equal_height=False):
        with gr.Column(scale=2, min_width=320):
            file = gr.Image(label="Image", sources=["upload"], elem_id="own-image", height=320)
            # Gradio would hand on a copy, and the file that was sent would stay on the disk. A class of its own would
            # have Gradio write a .pyi file beside this one.
            file.preprocess = _uploaded  # type: ignore[method-assign]
            with gr.Row():
                modality = gr.Dropdown(texts.OWN_MODALITIES, value=None, label="Kind of image", min_width=140)
                region = gr.Dropdown(texts.OWN_REGIONS, value=None, label="Region", min_width=140)
            finding = gr.Textbox(label="Main finding", max_length=300, elem_id="own-finding")
            side = gr.Radio(texts.OWN_SIDES, value=None, label="Side of the patient")
            certainty = gr.Radio(texts.CERTAINTY_CHOICES, value=None, label=texts.SURE, elem_id="own-certainty")
            commit = gr.Button(texts.OWN_COMMIT, variant="primary", elem_id="own-commit")
        with gr.Column(scale=3, min_width=320):
            beside = gr.HTML("", elem_id="own-beside")
            kept = gr.HTML("")
            boxes = [gr.Textbox(label=texts.GAPS, visible=False) for _ in range(gaps.MOST)]
            check = gr.Button(texts.CHECK, size="sm", elem_id="own-check", visible=False)
            filled = gr.HTML("")
    said = [file, modality, region, finding, side, certainty]
    commit.click(session.own_image, said, [beside, kept, made, check, *boxes], **quiet)
    check.click(session.check_gaps, [made, *boxes], filled, **quiet)


def _uploaded(payload: ImageData | None) -> str | None:
    return payload.path if payload else None


def _progress(session: StudySession, learner: Any, tab: Any, settings: Settings, quiet: dict[str, Any]) -> None:
    with gr.Row(elem_classes="plan"):
        day = gr.Textbox(label=texts.EXAM, info=texts.EXAM_INFO, max_length=10, elem_id="study-exam", scale=2)
        plan = gr.Button(texts.EXAM_SAVE, size="sm", elem_id="study-exam-save", min_width=120, scale=0)
    shown = gr.HTML("", elem_id="study-progress")
    gr.HTML(f"<p class=small>{texts.LOG_OF_PERSON if settings.users_file else texts.LOG_OF_BROWSER}</p>")
    with gr.Row():
        log = gr.DownloadButton(texts.LOG_DOWNLOAD, size="sm")
        back = gr.UploadButton(texts.LOG_UPLOAD, file_types=[".jsonl"], size="sm")
        anki = gr.DownloadButton(texts.ANKI, size="sm")
        delete = gr.Button(texts.LOG_DELETE, variant="stop", size="sm")
    told = gr.HTML("", elem_id="study-told")
    plan.click(session.set_exam, [learner, day], [told, shown], **quiet)
    day.submit(session.set_exam, [learner, day], [told, shown], **quiet)
    tab.select(session.exam, learner, day, **quiet)
    tab.select(session.progress, learner, shown, **quiet)
    tab.select(session.log_file, learner, log, **quiet)
    tab.select(session.anki_file, learner, anki, **quiet)
    back.upload(session.take_in, [learner, back], told, **quiet)
    delete.click(
        session.forget, learner, [told, shown], js="(id) => confirm('Delete all your answers?') ? id : ''", **quiet
    )


def _teacher(session: StudySession, quiet: dict[str, Any]) -> None:
    gr.HTML(f"<p>{texts.LEAD['teacher']}</p>")
    found = gr.State(None)
    with gr.Row():
        key = gr.Textbox(label=texts.TEACHER_KEY, info=texts.TEACHER_KEY_INFO, type="password", elem_id="teacher-key")
        name = gr.Textbox("own", label=texts.PACK_NAME, elem_id="teacher-name")
    with gr.Row():
        archive = gr.UploadButton(texts.ZIP, file_types=[".zip"], size="sm", elem_id="teacher-zip")
        publish = gr.Button(texts.PUBLISH, variant="primary", size="sm", visible=False, elem_id="teacher-publish")
        blank = gr.Button(texts.BLANK, size="sm", visible=False, elem_id="teacher-blank")
        results = gr.Button(texts.RESULTS, size="sm", elem_id="teacher-results")
        export = gr.Button(texts.EXPORT, size="sm", elem_id="teacher-export")
    rows = gr.HTML("", elem_id="teacher-rows")
    with gr.Row(visible=False) as unmarked:
        answer = gr.Dropdown([], label=texts.UNMARKED, info=texts.UNMARKED_INFO, elem_id="teacher-unmarked", scale=3)
        accept = gr.Button(texts.ACCEPT, size="sm", elem_id="teacher-accept", min_width=140, scale=1)
    files = gr.File(label=texts.EXPORT, interactive=False, visible=False)
    archive.upload(session.look_at, [key, archive, name], [rows, found, publish, blank], **quiet)
    blank.click(session.ask_blank, [key, found], [rows, found], **quiet)
    publish.click(session.publish, [key, found], rows, **quiet)
    results.click(session.results, [key, name], [rows, unmarked, answer], **quiet)
    accept.click(session.accept, [key, name, answer], [rows, unmarked, answer], **quiet)
    export.click(session.files, [key, name], [rows, files], **quiet)
