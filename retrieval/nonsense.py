"""Pictures of nothing: noise, gradients, shapes and lines of text, drawn from a random generator.

The image head learns from some that these are no medical images; the floors are checked with others.
"""

import string

import numpy as np
from PIL import Image, ImageDraw

SIDE = 256


def nonsense_picture(rng: np.random.Generator) -> Image.Image:
    """One RGB picture, 256 x 256."""
    return (_noise, _gradient, _shapes, _page)[int(rng.integers(4))](rng)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _noise(rng: np.random.Generator) -> Image.Image:
    side = int(rng.choice([8, 16, 64, 256]))
    channels = int(rng.choice([1, 3]))
    values = rng.integers(0, 256, (side, side, channels), np.uint8)
    picture = Image.fromarray(np.broadcast_to(values, (side, side, 3)).copy())
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _gradient(rng: np.random.Generator) -> Image.Image:
    corners = rng.integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(corners).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _shapes(rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), _colour(rng))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, 12))):
        left, right = sorted(rng.integers(0, SIDE, 2).tolist())
        top, bottom = sorted(rng.integers(0, SIDE, 2).tolist())
        form = (draw.rectangle, draw.ellipse, draw.line)[int(rng.integers(3))]
        form((left, top, right, bottom), fill=_colour(rng))
    return picture


def _page(rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    letters = list(string.ascii_letters + "     ")
    for line in range(int(rng.integers(2, 18))):
        draw.text((12, 10 + 13 * line), "".join(rng.choice(letters, int(rng.integers(5, 36)))), fill="black")
    return picture
