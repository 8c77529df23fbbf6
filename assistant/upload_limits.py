"""What an upload may be, and why one was refused: each message is a sentence for the person who sent it."""

from dataclasses import dataclass


class UploadError(Exception):
    """Base of all refusals; `code` names the kind for programs."""

    code = "bad_upload"


class NotAnImageError(UploadError):
    """The bytes are no image, or hold none."""

    code = "not_an_image"


class TruncatedImageError(UploadError):
    """An image that is cut off or damaged."""

    code = "truncated_image"


class TooLargeError(UploadError):
    """More bytes or more pixels than the limits allow."""

    code = "too_large"


class UnsupportedTypeError(UploadError):
    """A file of a known type that is not accepted."""

    code = "unsupported_type"


@dataclass(frozen=True)
class UploadLimits:
    """`max_pixels` counts rows x columns x frames."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 64_000_000


def check_size(size: int, limits: UploadLimits) -> None:
    """Raise TooLargeError if `size` bytes are over the limit."""
    if size > limits.max_bytes:
        raise TooLargeError(
            f"The file is larger than {limits.max_bytes / 1024 / 1024:.0f} MB. "
            "Please export the image smaller, or as JPEG."
        )


def check_pixels(width: int, height: int, frames: int, max_pixels: int) -> None:
    """Raise TooLargeError if the decoded image would be over the limit."""
    if width * height * frames > max_pixels:
        of_frames = f" in {frames} frames" if frames > 1 else ""
        raise TooLargeError(
            f"The image is {width} x {height} pixels{of_frames}; at most {max_pixels / 1e6:.0f} million pixels in all "
            "are accepted. Please export it smaller."
        )
