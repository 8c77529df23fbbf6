"""A result's ratios as one SVG file: a bar for each row on a logarithmic scale, its goal as a mark.

ratios_svg(rows)        # "<svg ...", read by a browser and by a README
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import escape

if TYPE_CHECKING:
    from serving.benchmarks.measuring import Row

LABEL, BARS, RIGHT, ROW, TOP = 330, 330, 110, 24, 26
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.one{stroke:#999}.goal{stroke:#333;stroke-width:2}"
    ".met{fill:#2e7d5b}.missed{fill:#b3541e}.plain{fill:#7a8b99}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.goal{stroke:#ddd}}"
)
_WORDS = {True: "met", False: "missed", None: "plain"}


def ratios_svg(rows: Sequence["Row"]) -> str:
    """Bars begin at 1, which is equality with what each is measured against.

    Rows without a positive ratio are left out: a logarithm has no place for them.
    """
    rows = [row for row in rows if row.ratio > 0]
    goals = {row.what: float(row.goal.split()[1]) for row in rows if row.goal}
    logs = [math.log10(value) for value in [1.0, *goals.values(), *(row.ratio for row in rows)]]
    low, high = min(logs), max(logs)
    scale = BARS / ((high - low) or 1)

    def x(value: float) -> float:
        return LABEL + (math.log10(value) - low) * scale

    one, height = x(1), TOP + ROW * len(rows) + 6
    parts = [f'<path class="one" d="M{one:.1f} {TOP - 6}V{height - 4}"/><text x="{one:.1f}" y="14">equal</text>']
    for number, row in enumerate(rows):
        y, end = TOP + ROW * number, x(row.ratio)
        goal = goals.get(row.what)
        mark = "" if goal is None else f'<path class="goal" d="M{x(goal):.1f} {y}v16"/>'
        left, wide = min(one, end), abs(end - one)
        parts.append(
            f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(row.what)}</text>'
            f'<rect class="{_WORDS[row.met]}" x="{left:.1f}" y="{y + 1}" width="{wide:.1f}" height="14"/>'
            f'{mark}<text x="{LABEL + BARS + 8}" y="{y + 12}">{row.ratio:.2f}'
            f"{f' (goal {escape(row.goal)})' if row.goal else ''}</text>"
        )
    width = LABEL + BARS + RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )
