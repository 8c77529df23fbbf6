"""Lines in a square as inline SVG; bars and reliability come from `serving.evaluation.plots`.

rejection([("cosine", [(0.0, 0.0), (0.05, 0.97), (1.0, 1.0)])])
"""

from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, SIDE, PAD = 480, 300, 44
_DASHES = ("none", "6 4", "2 3", "10 3 2 3")


def rejection(curves: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> Markup:
    """(share of what belongs that is rejected, share of the rest that is): the further up on the left, the better."""
    inner = SIDE - PAD - 12
    parts = [f'<path class="axis" d="M{PAD} 12V{SIDE - PAD}H{PAD + inner}"/>']
    for value in (0, 0.5, 1):
        across, up = PAD + value * inner, SIDE - PAD - value * inner
        parts.append(f'<text class="quiet" x="{across:.1f}" y="{SIDE - 24}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text class="quiet" x="{PAD - 6}" y="{up + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<text class="quiet" x="{PAD + inner / 2:.1f}" y="{SIDE - 6}" text-anchor="middle">')
    parts.append("rejected of what belongs</text>")
    parts.append(f'<text class="quiet" x="{PAD + 60}" y="{SIDE - PAD - 8}">up: rejected of the rest</text>')
    for number, (name, points) in enumerate(curves):
        style, dash = ("one", "two")[number % 2], _DASHES[number % len(_DASHES)]
        line = "L".join(f"{PAD + x * inner:.1f} {SIDE - PAD - y * inner:.1f}" for x, y in points)
        dashes = f'style="stroke-dasharray: {dash}"'
        parts.append(f'<path class="{style}" {dashes} d="M{line}"/>')
        y = 16 + 20 * number
        parts.append(f'<path class="{style}" {dashes} d="M{SIDE + 4} {y - 4}h24"/>')
        parts.append(f'<text x="{SIDE + 34}" y="{y}">{escape(name)}</text>')
    start = f'<svg viewBox="0 0 {WIDTH} {SIDE}" width="{WIDTH}" height="{SIDE}" role="img">'
    return Markup(start + "".join(parts) + "</svg>")  # noqa: S704 - names are escaped above, the rest are numbers
