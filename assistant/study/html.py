"""What the study screens show, as HTML. Everything that a person, a pack or the model wrote is escaped here."""

from collections.abc import Sequence
from html import escape
from typing import Any

from assistant.chat import Turn
from assistant.study import texts, trial
from assistant.study.items import Box, PublicItem, Reveal
from assistant.study.other_reader import MARK_WORDS, Sentence
from assistant.study.packs import Pack, Shelved
from assistant.study.teacher import Read

_SIGNS = {"right": "✓", "wrong": "✕", "not graded": "○"}
_PICTURE_TOOLS = (
    '<div class="tools"><label>zoom <input type="range" class="zoom" min="1" max="4" step="0.25" value="1"></label>'
    '<label>brightness <input type="range" class="brightness" min="0.3" max="2.5" step="0.05" value="1"></label>'
    '<label>contrast <input type="range" class="contrast" min="0.3" max="3" step="0.05" value="1"></label>'
    '<label><input type="checkbox" class="invert"> invert</label></div>'
)


def question(item: PublicItem) -> str:
    """An open question: picture, stem, hints."""
    how = f"<p class=small>{escape(texts.CLICK)}</p>" if item.kind == "place" else ""
    hints = "".join(f"<li>{escape(hint)}</li>" for hint in item.hints)
    return (
        f'<article class="study-question" data-kind="{item.kind}">'
        f'<p class="stem"><span class="number">{item.number}.</span> {escape(item.stem)}</p>{how}'
        f"{f'<ul class=hints>{hints}</ul>' if hints else ''}{_picture(item.attempt_id, item.alt, item.kind)}</article>"
    )


def _picture(attempt_id: str, alt: str, kind: str = "", over: str = "") -> str:
    """The address names only the attempt; it is relative, so that it holds behind a proxy's prefix."""
    focus = ' tabindex="0"' if kind == "place" else ""
    return (
        f'<figure class="study-picture" data-kind="{kind}"{focus}><div class="frame"><div class="canvas">'
        f'<img src="image/{escape(attempt_id)}.png" alt="{escape(alt)}" draggable="false">'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{over}</svg>'
        f'<span class="cross" hidden></span><span class="drawn" hidden></span></div></div>{_PICTURE_TOOLS}</figure>'
    )


def revealed(reveal: Reveal) -> str:
    """The verdict in words first, then the picture with both marks, then why."""
    verdict = reveal.verdict
    boxes = "".join(_box(box) for box in reveal.boxes)
    mark = _box(reveal.box, "own") if reveal.box else _dot(*reveal.point) if reveal.point else ""
    alt = "The image with the place of the key and your mark"
    marks = "" if verdict.outcome == "not graded" else f"C{reveal.certainty}, {verdict.marks:+d}"
    key = f'<p class="key">The answer: <b>{escape(reveal.key)}</b></p>' if reveal.key else ""
    if verdict.words == trial.NOTED:
        noted = f'<p class="verdict-line">{verdict.words}</p>'
        return f'<article class="study-reveal" tabindex="-1" role="status">{noted}</article>'
    why = escape(reveal.explanation) if reveal.explanation else texts.NO_EXPLANATION
    after = (
        texts.CONFIDENT_ERROR if reveal.comes_back_today else f"Next time: {reveal.next_due}" if reveal.next_due else ""
    )
    note = f"<p class=small>{escape(verdict.note)}</p>" if verdict.note else ""
    return (
        f'<article class="study-reveal {verdict.outcome.replace(" ", "-")}" tabindex="-1" role="status">'
        f'<p class="verdict-line"><span aria-hidden="true">{_SIGNS[verdict.outcome]}</span> {escape(verdict.words)} '
        f'<span class="marks">{marks}</span></p>{note}'
        f'<p class="stem">{escape(reveal.stem)}</p>{_picture(reveal.attempt_id, alt, over=boxes + mark)}'
        f"{key}{_ticked(reveal)}<p>{why}</p>{_example(reveal)}"
        f'<p class="small">{escape(reveal.source)} · {escape(reveal.licence)}'
        f"{' · ' + after if after else ''}</p></article>"
    )


def _example(reveal: Reveal) -> str:
    if not reveal.example:
        return ""
    words = escape(texts.EXAMPLE.format(reveal.said))
    address = f"example/{escape(reveal.attempt_id)}.png"
    return f'<figure class="study-example"><img src="{address}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def _ticked(reveal: Reveal) -> str:
    """A pair's features: which picture shows each, and whether that was seen."""
    if not reveal.checklist:
        return ""
    lines = "".join(
        f'<li class="{"agrees" if is_right else "contradicts"}"><b>{_SIGNS["right" if is_right else "wrong"]}</b> '
        f"{escape(one.feature)}: {texts.SHOWN_BY[one.picture]}"
        f"{'' if is_right else f' ({texts.TICKED[one.ticked]})'}</li>"
        for one, is_right in ((one, bool(one.picture) == one.ticked) for one in reveal.checklist)
    )
    return f'<div class="model-reading"><p class="small">{texts.TICKS}</p><ul>{lines}</ul></div>'


def _box(box: Box, whose: str = "gold") -> str:
    x, y, wide, high = (100 * value for value in box)
    return f'<rect class="{whose}" x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{high:.2f}"/>'


def _dot(x: float, y: float) -> str:
    return f'<ellipse class="own" cx="{100 * x:.2f}" cy="{100 * y:.2f}" rx="1.2" ry="1.2"/>'


def home(told: dict[str, Any], packs: Sequence[Shelved]) -> str:
    """Three numbers, and what there is to practise."""
    rows = "".join(
        f"<li><b>{escape(one.pack.title)}</b> <span class=small>{len(one.items)} questions, "
        f"{one.normal_share:.0%} show nothing wrong, {escape(one.pack.licence)}. {escape(one.pack.note)}</span></li>"
        for one in packs
    )
    return (
        f'<div class="numbers"><p><b>{told["due"]}</b> due today</p><p><b>{told["new"]}</b> new</p>'
        f"<p>certainty: {escape(told['bias'])}</p></div>"
        f'<details class="packs"><summary>Packs</summary><ul>{rows}</ul></details>'
    )


def reading(turn: Turn, sentences: Sequence[Sentence], waited_s: float = 0) -> str:
    """The model's answer so far, each sentence marked once it is complete."""
    if turn.stage:
        time = f" · {waited_s:.0f} s" if waited_s >= 3 else ""
        said = f'<p>{escape(turn.answer)}</p><p class="stage">{escape(turn.stage)}{time}</p>'
        return f'<div class="model-reading">{said}</div>'
    lines = "".join(
        f'<li class="{one.mark.replace(" ", "-")}">{escape(one.words)} <b>{escape(MARK_WORDS[one.mark])}</b></li>'
        for one in sentences
    )
    sure = f"<p class=small>{escape(turn.confidence.words())}</p>" if turn.confidence else ""
    return f'<div class="model-reading"><p class="small">{texts.MODEL_WARNING}</p><ul>{lines}</ul>{sure}</div>'


def progress(told: dict[str, Any]) -> str:
    """The screen "Progress"."""
    head = (
        f'<div class="numbers"><p><b>{told["answers"]}</b> answers</p><p><b>{told["marks"]:+d}</b> marks</p>'
        f"<p><b>{told['due']}</b> due today</p></div>"
    )
    points = "".join(
        f"<tr><td>{escape(point['certainty'])}</td><td>{point['n']}</td>"
        f"<td>{_percent(point['right'], point['n'])}</td></tr>"
        for point in told["certainty"]["points"]
    )
    exam = f"<th>{escape(texts.AT_EXAM.format(told['exam']))}</th>" if told["exam"] else ""
    found = told["detection"]
    promise = told["promise"]
    judged = told["judge"]
    skills = "".join(
        f"<tr><td>{escape(row['skill'])}</td><td>{row['seen']}</td><td>{_first(row['right_at_first_sight'])}</td>"
        f"<td>{row['interval_days']} d</td><td>{row['due']}</td>{_at_exam(row['recall_at_exam'])}</tr>"
        for row in told["skills"]
    )
    return (
        f"{head}<h2>Certainty</h2>{_curve(told['certainty']['points'])}<p>{escape(told['certainty']['words'])}</p>"
        f"<table><tr><th>you said</th><th>answers</th><th>right</th></tr>{points}</table>"
        f"<h2>Finding and over-calling</h2><p>found where there was something: {_share(found['sensitivity'])}; "
        f"false alarms where there was nothing: {_share(found['false_alarms'])}</p>"
        f"<h2>The scheduler's own promise</h2><p>recall it predicted: {_share(promise['predicted'])}; "
        f"recall that came: {_share(promise['observed'])} (of {promise['n']} reviews)</p>"
        f"<h2>Judging the model</h2><p>wrong answers rejected: {_share(judged['hits'])}; right answers rejected: "
        f"{_share(judged['false_alarms'])}</p>"
        f"<h2>Telling look-alikes apart</h2><p>{_reasons(told['reasons'])}</p>"
        f"<h2>Skills</h2><table><tr><th>skill</th><th>seen</th><th>right at first sight</th>"
        f"<th>interval</th><th>due</th>{exam}</tr>"
        f"{skills}</table>"
    )


def _reasons(reasons: dict[str, int]) -> str:
    if not reasons["pairs"]:
        return texts.TOO_FEW
    return texts.REASONS.format(**reasons)


def _at_exam(recall: float | None) -> str:
    return "" if recall is None else f"<td>{100 * recall:.0f} %</td>"


def _first(counts: dict[str, int] | None) -> str:
    return f"{counts['right']} of {counts['n']}" if counts else "-"


def _percent(right: int, number: int) -> str:
    return f"{100 * right / number:.0f} %" if number else "-"


def _share(value: float | None) -> str:
    return texts.TOO_FEW if value is None else f"{100 * value:.0f} %"


def _curve(points: Sequence[dict[str, Any]]) -> str:
    """Three points against the diagonal."""
    dots = "".join(
        f'<circle cx="{100 * one["meant"]:.0f}" cy="{100 - 100 * one["right"] / one["n"]:.0f}" r="3"/>'
        for one in points
        if one["n"]
    )
    return (
        '<svg class="curve" viewBox="-4 -4 108 108" role="img" aria-label="Certainty against what came true">'
        f'<path d="M0 100 L100 0"/><path class="axis" d="M0 0 V100 H100"/>{dots}</svg>'
    )


def problem(words: str) -> str:
    return f'<p class="study-problem" role="alert">{escape(words)}</p>'


def told(words: str) -> str:
    return f'<p class="stage" role="status">{escape(words)}</p>'


def rows(read: Read) -> str:
    """A teacher's report by row, and the blind checks."""
    lines = "".join(
        f"<tr class='{'error' if one.is_error else 'flaw'}'><td>{one.row}</td><td>{escape(one.case_id)}</td>"
        f"<td>{'error' if one.is_error else 'flaw'}</td><td>{escape(one.words)}</td><td>{escape(one.fix)}</td></tr>"
        for one in read.report
    )
    head = "<tr><th>row</th><th>case</th><th></th><th>what</th><th>mend</th></tr>"
    blind = "".join(
        f"<tr><td>{escape(name)}</td><td>{one['score']:.0%}</td><td>{one['chance']:.0%}</td>"
        f"<td>{'passes' if one['passes'] else 'too well: the pack gives itself away'}</td></tr>"
        for name, one in read.blind.items()
    )
    return (
        f"<p>{read.rows} rows, {len(read.items)} can be used, {len(read.errors)} errors.</p>"
        f"{f'<table>{head}{lines}</table>' if lines else ''}"
        f"<h2>Without looking</h2><table><tr><th>guess</th><th>right</th><th>chance</th><th></th></tr>{blind}</table>"
    )


def published(pack: Pack) -> str:
    """A pack's version, and the link that a teacher gives to learners; a pack's name is plain."""
    link = f'<a href="?pack={pack.name}">{texts.PACK_LINK}</a>'
    return f'<p class="stage" role="status">{escape(texts.PUBLISHED.format(pack.title, pack.version))} {link}</p>'


def results(found: Sequence[dict[str, Any]]) -> str:
    """Item statistics for a teacher."""
    lines = "".join(
        f"<tr><td>{escape(row['item_id'])}</td><td>{row['right']} of {row['n']}</td>"
        f"<td>{texts.TOO_FEW if row['discrimination'] is None else row['discrimination']}</td>"
        f"<td>{escape(', '.join(f'{option}: {times}' for option, times in row['options'].items()))}</td>"
        f"<td>{row['confident_errors']}</td><td>{escape(', '.join(row['not_graded']))}</td></tr>"
        for row in found
        if row["n"] or row["not_graded"]
    )
    if not lines:
        return told(texts.NOBODY)
    return (
        "<table><tr><th>item</th><th>right</th><th>discrimination</th><th>options</th><th>confident errors</th>"
        f"<th>not graded</th></tr>{lines}</table>"
    )


def differences(own: dict[str, str], turn: Turn, slots: Sequence[tuple[str, str, str]]) -> str:
    """The learner's commitment beside the model's reading, slot by slot."""
    said = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in own.items() if value)
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(mine) or '-'}</td><td>{escape(its) or '-'}</td></tr>"
        for name, mine, its in slots
    )
    sure = escape(turn.confidence.words()) if turn.confidence else ""
    return (
        f"<div class='beside'><div><h2>You said</h2><ul>{said}</ul></div><div><h2>The model says</h2>"
        f"<p>{escape(turn.answer)}</p><p class=small>{sure}. {texts.MODEL_WARNING}</p></div></div>"
        f"<table><tr><th></th><th>you</th><th>the model</th></tr>{lines}</table>"
    )
