"""Three small plots as inline SVG: bars with intervals, reliability, risk against coverage.

bars([("image", {"value": 56.6, "low": 53.7, "high": 59.5})])
"""

from collections.abc import Sequence

from markupsafe import Markup, escape

from serving.evaluation.intervals import Interval

WIDTH, SIDE, PAD = 460, 300, 44
Curve = Sequence[tuple[float, float]]


def bars(values: Sequence[tuple[str, Interval]]) -> Markup:
    """Percentages as horizontal bars, each with its 95 % interval."""
    left, row, scale = 150, 30, (WIDTH - 150 - 60) / 100
    parts = []
    for number, (name, value) in enumerate(values):
        y = number * row + 6
        middle, end = y + 9, left + scale * value["value"]
        low, high = left + scale * value["low"], left + scale * value["high"]
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="bar" x="{left}" y="{y}" width="{max(end - left, 0):.1f}" height="18"/>'
            f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {y + 5}v8M{high:.1f} {y + 5}v8"/>'
            f'<text x="{max(high, end) + 8:.1f}" y="{y + 14}">{value["value"]:.1f}</text>'
        )
    return _svg(WIDTH, len(values) * row + 12, parts)


def reliability(curves: Sequence[tuple[str, Curve]]) -> Markup:
    """(probability, share that was right) of each bin, beside the diagonal on which both are the same."""
    diagonal = f'<path class="axis" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>'
    return _square(curves, "probability", "right", [diagonal], dots=True)


def risk_coverage(curves: Sequence[tuple[str, Curve]]) -> Markup:
    """(coverage, risk): how often it errs if only the surest answers are given."""
    return _square(curves, "share answered", "wrong", [])


def _x(value: float) -> float:
    return PAD + value * (SIDE - PAD - 12)


def _y(value: float) -> float:
    return SIDE - PAD - value * (SIDE - PAD - 12)


def _square(curves: Sequence[tuple[str, Curve]], across: str, up: str, under: list[str], dots: bool = False) -> Markup:
    parts = [f'<path class="axis" d="M{_x(0):.1f} {_y(1):.1f}V{_y(0):.1f}H{_x(1):.1f}"/>', *under]
    for value in (0, 0.5, 1):
        parts.append(f'<text class="quiet" x="{_x(value):.1f}" y="{SIDE - 24}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text class="quiet" x="{PAD - 6}" y="{_y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<text class="quiet" x="{_x(0.5):.1f}" y="{SIDE - 6}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text class="quiet" x="{PAD + 6}" y="16">{escape(up)}</text>')
    for style, place, (name, points) in zip(("one", "two"), (0, 1), curves, strict=False):
        path = "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)
        parts.append(f'<path class="{style}" d="M{path}"/>')
        if dots:
            parts += [f'<circle class="{style}" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="3"/>' for x, y in points]
        y = 16 + 20 * place
        parts.append(
            f'<path class="{style}" d="M{SIDE + 4} {y - 4}h24"/><text x="{SIDE + 34}" y="{y}">{escape(name)}</text>'
        )
    return _svg(WIDTH, SIDE, parts)


def _svg(width: int, height: int, parts: Sequence[str]) -> Markup:
    start = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    return Markup(start + "".join(parts) + "</svg>")  # noqa: S704 - names are escaped above, the rest are numbers
