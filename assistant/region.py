"""A region of interest: the part of an image that a question is about, sent to the model as a crop beside the whole.

crop = cut(image, read_region("120,80,310,260"))
"""

import re
from dataclasses import replace

from assistant.uploads import CleanImage, UploadError, rewritten

Region = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the image; right and bottom lie outside."""

# Less is a few letters or a speck, of which no model here can tell anything.
LEAST_SIDE = 16


class RegionError(UploadError):
    """A region that cannot be read, or holds too little of the image; the message says what is wrong."""

    code = "bad_region"


def read_region(text: str) -> Region | None:
    """The region that "left,top,right,bottom" names; None for "". Raises RegionError."""
    if not text.strip():
        return None
    numbers = re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*", text)
    if numbers is None:
        raise RegionError("The region has to be left,top,right,bottom in whole pixels, such as 120,80,310,260.")
    left, top, right, bottom = (int(number) for number in numbers.groups())
    return left, top, right, bottom


def cut(image: CleanImage, region: Region) -> CleanImage:
    """The region's pixels; what reaches over the image's edge is left out. Raises RegionError."""
    left, top = max(0, region[0]), max(0, region[1])
    right, bottom = min(image.width, region[2]), min(image.height, region[3])
    if right - left < LEAST_SIDE or bottom - top < LEAST_SIDE:
        raise RegionError(
            f"The region holds less than {LEAST_SIDE} x {LEAST_SIDE} pixels of the image, which has "
            f"{image.width} x {image.height}. Please mark a larger one."
        )
    about = f"about the region from {left},{top} to {right},{bottom}"
    return rewritten(replace(image, notes=()), image.image.crop((left, top, right, bottom)), about)
