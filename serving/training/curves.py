"""The curves of a run as one SVG file: a small panel for everything that `log.jsonl` measures.

write_curves(Path("data/training/vqa"))        # curves.svg beside log.jsonl
"""

from pathlib import Path

from markupsafe import escape

from serving.training.checkpoint import read_log, save_whole

ACROSS = 3
WIDTH, HEIGHT, PAD = 260, 150, 34
_NOT_DRAWN = {"step", "seconds"}
_STYLE = (
    "text{font:11px sans-serif;fill:#333}.axis{stroke:#999;fill:none}.line{stroke:#0b6e99;fill:none;stroke-width:1.5}"
)


def write_curves(folder: Path) -> None:
    """Draw what has been logged so far; nothing where nothing has been."""
    series: dict[str, list[tuple[float, float]]] = {}
    for record in read_log(folder / "log.jsonl"):
        for name, value in record.items():
            if name not in _NOT_DRAWN and isinstance(value, int | float):
                series.setdefault(name, []).append((record["step"], value))
    if not series:
        return
    panels = [
        f'<g transform="translate({number % ACROSS * WIDTH},{number // ACROSS * HEIGHT})">{_panel(name, points)}</g>'
        for number, (name, points) in enumerate(series.items())
    ]
    width, height = min(len(panels), ACROSS) * WIDTH, -(-len(panels) // ACROSS) * HEIGHT
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{_STYLE}</style>{''.join(panels)}</svg>\n"
    )
    save_whole(folder / "curves.svg", lambda path: path.write_text(drawing, encoding="utf-8"))


def _panel(name: str, points: list[tuple[float, float]]) -> str:
    low, high = min(value for _, value in points), max(value for _, value in points)
    last = max(step for step, _ in points)
    left, right, top, bottom = PAD + 14, WIDTH - 12, 24, HEIGHT - 24

    def place(step: float, value: float) -> str:
        x = left + (right - left) * step / max(last, 1)
        y = bottom - (bottom - top) * (value - low) / ((high - low) or 1)
        return f"{x:.1f},{y:.1f}"

    places = [place(step, value) for step, value in points]
    line = f'<polyline class="line" points="{" ".join(places)}"/>' if len(places) > 1 else ""
    x, y = places[-1].split(",")
    return (
        f'<text x="{left}" y="14">{escape(name)}</text><path class="axis" d="M{left} {top}V{bottom}H{right}"/>{line}'
        f'<circle cx="{x}" cy="{y}" r="2.5" fill="#0b6e99"/>'
        f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{left - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end">step {last:g}</text>'
    )
