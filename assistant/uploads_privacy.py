"""What in an upload may name a person: identity tags of a DICOM file, and text burned into the pixels.

Tags never outlive reading; text stays in the picture until it is blacked out. Nothing that is found is repeated in a
message, a log or an answer: only where it is.

    found = inspect(image)
    if found:
        image = black_out(image, found.places)
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import ImageDraw

from assistant.uploads import CleanImage, UploadError, rewritten
from assistant.uploads_text import TextPlace, TextReaderMissingError, find_text

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the clean image; right and bottom lie outside."""

IMAGES_REMEMBERED = 512

# What technicians and machines write on films that names nobody.
_MARKERS = frozenset(
    """l r rt lt left right ap pa lat lateral oblique supine prone erect semi upright standing sitting portable port
    mobile bedside inspiration expiration insp exp axial coronal sagittal transverse sag cor ax st sp te tr fov ww wl
    """.split()  # noqa: SIM905
)
_UNIT = "mm|cm|m|um|μm|µm|nm|hz|khz|mhz|db|kv|kvp|mas|ms|s|fps|bpm|x|%|°|cm/s|m/s|mm/s"
_MEASURE = re.compile(rf"[-+±]?\d{{1,3}}([.,]\d{{1,2}})?({_UNIT})?|{_UNIT}", re.IGNORECASE)
# A date or a number of a record has more.
_MOST_DIGITS, _MOST_NUMBERS = 4, 2
_BETWEEN = re.compile(r"[\s:;=|()\[\]{}<>_*•·'\"!?]+|(?<!\d)[.,]|[.,](?!\d)|(?<=\w)[-/]")


class IdentityFoundError(UploadError):
    """An upload that may name a person and came without a word on it; `findings` say what and where."""

    code = "identity_found"

    def __init__(self, findings: "Findings") -> None:
        super().__init__(f"{findings.words()} Nothing was kept or sent to the model.")
        self.findings = findings


@dataclass(frozen=True)
class Findings:
    """`tags` are names of DICOM tags that were filled in, never their values; `unread` is why the pixels could not be
    looked through, "" where they were. True where there is anything to decide."""

    tags: tuple[str, ...] = ()
    places: tuple[Box, ...] = ()
    unread: str = ""

    def __bool__(self) -> bool:
        return bool(self.tags or self.places or self.unread)

    def words(self) -> str:
        """One or more sentences."""
        said = []
        if self.places:
            where = "at one place" if len(self.places) == 1 else f"at {len(self.places)} places"
            said.append(f"Text is burned into the image {where}, and may name a person.")
        if self.tags:
            said.append(f"The file has tags that may name a person: {', '.join(self.tags)}. They are left out.")
        if self.unread:
            said.append(f"The image was not looked through for text: {self.unread}")
        return " ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """What programs get."""
        boxes = [dict(zip(("left", "top", "right", "bottom"), box, strict=True)) for box in self.places]
        return {"tags": list(self.tags), "boxes": boxes, "unread": self.unread}


def inspect(image: CleanImage) -> Findings:
    """Blocks while the pixels are read, about a second at most once the reader is loaded: call it off the event loop.

    The same pixels are read once only. A reader that is missing is a finding, not an error.
    """
    try:
        return Findings(image.identity, _places_of(image))
    except TextReaderMissingError as error:
        return Findings(image.identity, unread=str(error))


def black_out(image: CleanImage, boxes: Sequence[Box]) -> CleanImage:
    """The image with black rectangles over `boxes`, and a note that says so; the same image where there are none."""
    if not boxes:
        return image
    pixels = image.image.copy()
    draw = ImageDraw.Draw(pixels)
    for left, top, right, bottom in boxes:
        draw.rectangle((left, top, right - 1, bottom - 1), fill="black")
    count = "one place" if len(boxes) == 1 else f"{len(boxes)} places"
    return rewritten(image, pixels, f"{count} with text blacked out before anything was kept or sent")


def admit(image: CleanImage, *, redact: bool = False, confirmed: bool = False) -> CleanImage:
    """The image as it may go on, for interfaces where nobody can be asked. Blocks as `inspect` does.

    Args:
        redact: black out what is found.
        confirmed: the sender says that it names nobody; the pixels are not read.

    Raises:
        IdentityFoundError: something was found, or could not be looked for, and neither was said.
        TextReaderMissingError: there is no reader to redact with.
    """
    if confirmed:
        return replace(image, notes=(*image.notes, "not looked through for names: the sender says that it has none"))
    found = inspect(image)
    if found and not redact:
        raise IdentityFoundError(found)
    if found.unread:
        raise TextReaderMissingError(found.unread)
    return black_out(image, found.places)


def names_nobody(text: str) -> bool:
    """Whether burned-in text is a side marker, a view, a measure or a single letter."""
    if sum(character.isalnum() for character in text) <= 1:
        return True
    if sum(character.isdigit() for character in text) > _MOST_DIGITS or len(re.findall(r"\d+", text)) > _MOST_NUMBERS:
        return False
    words = [word for word in _BETWEEN.split(text) if word and any(character.isalnum() for character in word)]
    return all(word.lower() in _MARKERS or _MEASURE.fullmatch(word) for word in words)


def _held(found: Sequence[TextPlace]) -> list[Box]:
    """The boxes that may name a person, and what stands beside them on one line: initials, days."""
    harmless = [place.box for place in found if place.text is not None and names_nobody(place.text)]
    held = [place.box for place in found if place.text is None or not names_nobody(place.text)]
    # It grows while it is gone through: what stands beside a neighbour is held up too.
    for box in held:
        beside = [other for other in harmless if _on_one_line(box, other)]
        held.extend(beside)
        harmless = [other for other in harmless if other not in beside]
    return sorted(held, key=lambda box: (box[1], box[0]))


def _on_one_line(one: Box, other: Box) -> bool:
    """Whether two boxes overlap along a line of text, upright or turned, with less than a letter or two between."""
    for start, end in ((0, 1), (1, 0)):
        height = min(one[end + 2] - one[end], other[end + 2] - other[end])
        overlap = min(one[end + 2], other[end + 2]) - max(one[end], other[end])
        gap = max(one[start], other[start]) - min(one[start + 2], other[start + 2])
        if overlap > height / 2 and gap < height:
            return True
    return False


_read: OrderedDict[str, tuple[Box, ...]] = OrderedDict()
_reading = threading.Lock()


def _places_of(image: CleanImage) -> tuple[Box, ...]:
    with _reading:
        if (known := _read.get(image.sha256)) is not None:
            _read.move_to_end(image.sha256)
            return known
    places = tuple(_held(find_text(image.image)))
    with _reading:
        _read[image.sha256] = places
        if len(_read) > IMAGES_REMEMBERED:
            _read.popitem(last=False)
    return places
