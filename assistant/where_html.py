"""The map of where the model looked, over its image, with a legend. Numbers stand beside the colours."""

from html import escape

from assistant.occlusion import MATTERS, Where, region


def where_map(where: Where, image_address: str) -> str:
    """A figure with the image and a part for each covered place.

    Args:
        image_address: where the browser finds the image.
    """
    grid = len(where.covered)
    strongest = where.strongest()
    parts = "".join(
        _part(change, region(row, column, grid), (row, column) == strongest)
        for row, line in enumerate(where.changes)
        for column, change in enumerate(line)
    )
    word = "the answer's words, on average," if where.per_word else "the answer"
    return (
        f'<figure class="where" id="where"><h2>Where it looked</h2><p>{escape(where.words())}</p>'
        f'<div class="where-image" role="img" aria-label="{escape(where.words())}">'
        f'<img src="{escape(image_address)}" alt=""><div class="where-parts" aria-hidden="true" '
        f'style="grid-template-columns: repeat({grid}, 1fr)">{parts}</div></div>'
        '<figcaption class="small"><span class="where-key less"></span> with this part covered, '
        f"{word} became less probable (−, in percentage points) · "
        f'<span class="where-key more"></span> more probable (+) · no number: less than {MATTERS * 100:.0f} points'
        "</figcaption></figure>"
    )


def _part(change: float, place: str, is_strongest: bool) -> str:
    points = round(change * 100)
    if abs(change) < MATTERS:
        return "<i></i>"
    kind = "less" if change < 0 else "more"
    depth = min(0.75, 0.25 + abs(change))
    chosen = " strongest" if is_strongest else ""
    return f'<i class="{kind}{chosen}" style="--depth: {depth:.2f}" title="{place}"><b>{_signed(points)}</b></i>'


def _signed(points: int) -> str:
    return f"{'−' if points < 0 else '+'}{abs(points)}"
