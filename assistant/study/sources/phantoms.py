"""Drawn pictures with an exact key, so that anybody can practise at once: side, place, shape, count, window, artefact.

They teach how to look (find the marker, compare the sides, know the window), not what disease looks like.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assistant.study.items import Box, Kind, Skill
from assistant.study.making import Question
from assistant.study.packs import Pack

SIDE_PX = 320
EACH = 8
"""Pictures a key."""
PACK = Pack(
    "phantoms",
    "Drawn phantoms: how to look",
    licence="MIT",
    source="drawn by this project",
    note="Drawings with an exact key. They train looking, not diagnosis.",
)
Pixels = np.ndarray
_LUNG_X, _LUNG_Y, _LUNG_W, _LUNG_H = 0.29, 0.5, 0.15, 0.3
# Hounsfield units: centre and width.
WINDOWS = {"lung window": (-600, 1500), "soft-tissue window": (40, 400), "bone window": (500, 2000)}
_WHY = {
    "left": "The letter L stands at the patient's left, wherever that is on the film.",
    "right": "The letter L stands at the patient's left; the spot is on the other side.",
    "both": "There is a spot on each side of the spine.",
    "round": "As wide as long, with a smooth edge.",
    "oval": "Longer than wide, with a smooth edge.",
    "lobulated": "The edge has a few wide bulges.",
    "spiculated": "Many thin spikes run out from the edge.",
    "Yes": "One place in a lung is a little brighter than the ribs.",
    "No": "What is bright in the lungs are ribs alone, which run across both lungs.",
    **dict.fromkeys("012345", "A nodule is a bright disc; the bright lines that run across both lungs are ribs."),
    "lung window": "Centre -600, width 1500: vessels in the lung can be told apart, soft tissue is one white.",
    "soft-tissue window": "Centre 40, width 400: organs and fat can be told apart, lung is black, bone is white.",
    "bone window": "Centre 500, width 2000: the inside of bone can be seen, soft tissue is one grey.",
    "motion": "Ghosts of the edges repeat along one direction.",
    "streaks": "Bright and dark streaks start from a very dense object.",
    "rings": "Circles around the centre of rotation: one detector element reads wrong.",
    "wrap-around": "What lies outside the field of view comes in at the opposite edge.",
    "no artefact": "Edges are single, there are no streaks, circles or parts in a wrong place.",
}


@cache
def _grid() -> tuple[Pixels, Pixels]:
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    return x, y


def _ellipse(x: float, y: float, wide: float, high: float) -> Pixels:
    at_x, at_y = _grid()
    return ((at_x - x) / wide) ** 2 + ((at_y - y) / high) ** 2 <= 1


def _thorax(rng: np.random.Generator) -> Pixels:
    """A frontal film in grey values: body, two lungs, spine, heart, ribs."""
    shift = rng.uniform(-0.015, 0.015, 2)
    film = np.full((SIDE_PX, SIDE_PX), 12.0)
    film[_ellipse(0.5, 0.52, 0.44, 0.47)] = 105
    for middle in (_LUNG_X, 1 - _LUNG_X):
        film[_ellipse(middle + shift[0], _LUNG_Y + shift[1], _LUNG_W, _LUNG_H)] = 48
    x, y = _grid()
    lungs = film == 48
    for rib in range(7):
        arc = np.abs(y - (0.24 + 0.085 * rib + 0.25 * (x - 0.5) ** 2)) < 0.007
        film[arc & lungs] += 22
    film[(np.abs(x - 0.5) < 0.035) & (film > 50)] = 160
    return film


def _finished(film: Pixels, rng: np.random.Generator, noise: float = 6) -> Image.Image:
    film = film + rng.normal(0, noise, film.shape)
    return Image.fromarray(np.clip(film, 0, 255).astype(np.uint8))


def _marker(picture: Image.Image, at_left: bool) -> Image.Image:
    place = (14, 12) if at_left else (SIDE_PX - 40, 12)
    ImageDraw.Draw(picture).text(place, "L", fill=235, font=ImageFont.load_default(30))
    return picture


def _spot(film: Pixels, x: float, y: float, radius: float, value: float = 175) -> Box:
    film[_ellipse(x, y, radius, radius)] = value
    return (x - radius, y - radius, 2 * radius, 2 * radius)


def _in_lung(rng: np.random.Generator, right_half: bool, level: int | None = None) -> tuple[float, float]:
    """A place in one lung of the picture, in a third of its height (0 upper, 2 lower) where one is named."""
    third = int(rng.integers(3)) if level is None else level
    y = _LUNG_Y + _LUNG_H * (-0.62 + 0.62 * third + rng.uniform(-0.1, 0.1))
    room = _LUNG_W * np.sqrt(max(0.05, 1 - ((y - _LUNG_Y) / _LUNG_H) ** 2)) * 0.6
    return (1 - _LUNG_X if right_half else _LUNG_X) + rng.uniform(-room, room), y


def draw_side(key: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    film = _thorax(rng)
    # A third of the films hang the other way round: only the letter tells.
    flipped = seed % 3 == 0
    sides = ("left", "right") if key == "both" else (key,)
    for side in sides:
        _spot(film, *_in_lung(rng, right_half=(side == "left") != flipped), rng.uniform(0.022, 0.04))
    return _marker(_finished(film, rng), at_left=flipped)


def draw_zone(key: str, seed: int) -> tuple[Image.Image, Box]:
    rng = np.random.default_rng(seed)
    film = _thorax(rng)
    side, level = key.split()[:2]
    place = _in_lung(rng, side == "left", ("upper", "middle", "lower").index(level))
    box = _spot(film, *place, rng.uniform(0.02, 0.032))
    return _marker(_finished(film, rng), at_left=False), box


def draw_count(key: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    film = _thorax(rng)
    places: list[tuple[float, float]] = []
    while len(places) < int(key):
        x, y = _in_lung(rng, bool(rng.integers(2)))
        if all((x - a) ** 2 + (y - b) ** 2 > 0.075**2 for a, b in places):
            places.append((x, y))
            _spot(film, x, y, rng.uniform(0.018, 0.028))
    return _marker(_finished(film, rng), at_left=False)


def draw_nodule(key: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    film = _thorax(rng)
    if key == "Yes":
        _spot(film, *_in_lung(rng, bool(rng.integers(2))), rng.uniform(0.018, 0.03), rng.uniform(105, 150))
    return _marker(_finished(film, rng, noise=9), at_left=False)


def draw_place(seed: int) -> tuple[Image.Image, Box]:
    """A dark spot anywhere in an even slice."""
    rng = np.random.default_rng(seed)
    film = np.full((SIDE_PX, SIDE_PX), 10.0)
    film[_ellipse(0.5, 0.5, 0.46, 0.46)] = 120
    angle, far = rng.uniform(0, 2 * np.pi), 0.36 * np.sqrt(rng.uniform(0, 1))
    box = _spot(film, 0.5 + far * np.cos(angle), 0.5 + far * np.sin(angle), rng.uniform(0.022, 0.035), 84)
    return _finished(film, rng, noise=10), box


def draw_shape(key: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    x, y = _grid()
    middle = rng.uniform(0.38, 0.62, 2)
    angle = np.arctan2(y - middle[1], x - middle[0]) + rng.uniform(0, 2 * np.pi)
    far = np.hypot(x - middle[0], y - middle[1])
    size = rng.uniform(0.1, 0.15)
    outline = {
        "round": np.ones_like(far),
        "oval": 1 / np.sqrt(np.cos(angle) ** 2 + (np.sin(angle) / 0.55) ** 2),
        "lobulated": 1 + 0.16 * np.cos(int(rng.integers(4, 6)) * angle),
        "spiculated": 0.75 + 0.6 * np.maximum(0, np.cos(int(rng.integers(11, 15)) * angle)) ** 6,
    }[key]
    film = np.full((SIDE_PX, SIDE_PX), 62.0) + 14 * np.sin(6 * x + rng.uniform(0, 6)) * np.cos(5 * y)
    film[far < size * outline] = 165
    return _finished(film, rng)


def _slice_hu(rng: np.random.Generator) -> Pixels:
    """A slice of a thorax in Hounsfield units: fat, muscle, lungs with vessels, ribs and a spine with marrow."""
    slice_hu = np.full((SIDE_PX, SIDE_PX), -1000.0)
    slice_hu[_ellipse(0.5, 0.5, 0.47, 0.36)] = -100
    slice_hu[_ellipse(0.5, 0.5, 0.43, 0.32)] = 50
    for middle in (0.3, 0.7):
        slice_hu[_ellipse(middle, 0.47, 0.14, 0.22)] = -850
        for _ in range(14):
            x, y = middle + rng.uniform(-0.1, 0.1), 0.47 + rng.uniform(-0.16, 0.16)
            slice_hu[_ellipse(x, y, 0.008, 0.008)] = 30
    slice_hu[_ellipse(0.55, 0.44, 0.1, 0.12)] = 40
    slice_hu[_ellipse(0.5, 0.72, 0.075, 0.06)] = 900
    slice_hu[_ellipse(0.5, 0.72, 0.055, 0.042)] = 350
    for x in (0.12, 0.2, 0.8, 0.88):
        slice_hu[_ellipse(x, 0.5, 0.014, 0.05)] = 1000
    return slice_hu + rng.normal(0, 14, slice_hu.shape)


def draw_window(key: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    centre, width = WINDOWS[key]
    shown = (_slice_hu(rng) - (centre - width / 2)) / width * 255
    return _finished(shown, rng, noise=1)


def draw_artefact(key: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    film = (_slice_hu(rng) + 160) / 400 * 200
    film = np.clip(film, 0, 230)
    x, y = _grid()
    if key == "motion":
        for step in (1, 2, 3):
            film += 0.3 / step * (np.roll(film, int(step * rng.integers(18, 28)), axis=0) - 60)
    elif key == "streaks":
        at = 0.5 + rng.uniform(-0.15, 0.15, 2)
        angle = np.arctan2(y - at[1], x - at[0])
        film += 90 * np.sign(np.sin(int(rng.integers(7, 11)) * angle)) * np.exp(-3 * np.hypot(x - at[0], y - at[1]))
        film[_ellipse(at[0], at[1], 0.018, 0.018)] = 255
    elif key == "rings":
        far = np.hypot(x - 0.5, y - 0.5)
        for radius in rng.uniform(0.06, 0.32, 5):
            film[np.abs(far - radius) < 0.004] += 55
    elif key == "wrap-around":
        film = np.roll(film, int(SIDE_PX * rng.uniform(0.22, 0.32)), axis=1)
    return _finished(film, rng, noise=3)


def _skill(concept: str) -> Skill:
    return Skill(f"phantom/{concept}", "drawing", "phantom", concept)


def _drawn(draw: Callable[[str, int], Image.Image], key: str, seed: int) -> Callable[[], Image.Image]:
    return partial(draw, key, seed)


def _held(picture: Image.Image) -> Callable[[], Image.Image]:
    return lambda: picture


def questions() -> Iterator[Question]:
    """All of them, the same ones every time."""
    seed = 1
    zones = [f"{side} {level} zone" for side in ("left", "right") for level in ("upper", "middle", "lower")]
    plans: list[tuple[str, str, str, list[str], Callable[[str, int], Image.Image]]] = [
        ("side", "On which side of the patient is the bright spot? Find the letter first.", "",
         ["left", "right", "both"], draw_side),
        ("shape", "What is the shape of the bright area?", "shape",
         ["round", "oval", "lobulated", "spiculated"], draw_shape),
        ("count", "How many bright nodules are in the lungs?", "count", ["0", "1", "2", "3", "4", "5"], draw_count),
        ("window", "Which window is this slice shown in?", "window", list(WINDOWS), draw_window),
        ("artefact", "What disturbs this slice?", "artefact",
         ["motion", "streaks", "rings", "wrap-around", "no artefact"], draw_artefact),
        ("nodule", "Is there a nodule in the lungs?", "", ["Yes", "No"], draw_nodule),
    ]  # fmt: skip
    for concept, stem, vocabulary, keys, draw in plans:
        for number in range(EACH * (2 if len(keys) == 2 else 1)):
            for key in keys:
                seed += 1
                kind: Kind = "text" if vocabulary and vocabulary != "count" else "option"
                skill = _skill(f"{concept}/{key}" if vocabulary and concept != "count" else concept)
                yield Question(
                    f"{concept}-{number:02d}-{keys.index(key)}", concept, stem, key, _drawn(draw, key, seed), skill,
                    kind, vocabulary, is_negative=key in ("No", "0", "no artefact"), explanation=_WHY.get(key, ""),
                )  # fmt: skip
    for number in range(EACH // 2):
        for key in zones:
            seed += 1
            picture, box = draw_zone(key, seed)
            yield Question(
                f"zone-{number:02d}-{zones.index(key)}", "zone",
                "Where is the bright spot? Name the patient's side and the zone: upper, middle or lower.", key,
                _held(picture), _skill("zone"), "text", "zone", boxes=(box,),
                explanation="The zones are thirds of the lung's height; the side is the patient's.",
            )  # fmt: skip
    for number in range(2 * EACH):
        seed += 1
        picture, box = draw_place(seed)
        yield Question(
            f"place-{number:02d}", "place", "Click on the dark spot.", "", _held(picture),
            _skill("place"), "place", boxes=(box,), explanation="One spot is a little darker than the noise around it.",
        )  # fmt: skip
