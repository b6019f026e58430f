"""The sheets of plots/figures, made small enough to stand inside the page."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

# What is looked for in plots/figures, in this order: file stem -> heading, and what it shows.
SHEETS = {
    "successes": ("Successes", "Queries whose first image is relevant, spread over the classes."),
    "failures": ("Failures", "Queries without a relevant image at the top, the worst first."),
    "near_duplicates": (
        "Near-duplicates",
        "Images that are nearly the same but labelled otherwise.",
    ),
    "confusions": ("Confusions", "Classes that are most often taken for each other."),
}
MOST_BYTES = 300_000
QUALITIES = (75, 60, 45)
SHRINKING = (1.0, 0.75, 0.5, 0.35, 0.25)
MOST_SIDE = 16_383  # pixels, of a WebP


@dataclass(frozen=True)
class EmbeddedSheet:
    """A sheet for the page. webp: the encoded image, width by height pixels."""

    name: str
    heading: str
    caption: str
    width: int
    height: int
    webp: bytes


def read_sheets(directory: Path) -> list[EmbeddedSheet]:
    """Return those of SHEETS whose PNG is in `directory`, each in at most about MOST_BYTES."""
    sheets = []
    for name, (heading, caption) in SHEETS.items():
        path = directory / f"{name}.png"
        if path.is_file():
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            size, webp = shrink_sheet(image)
            sheets.append(EmbeddedSheet(name, heading, caption, *size, webp))
    return sheets


def shrink_sheet(
    image: Image.Image, *, most_bytes: int = MOST_BYTES
) -> tuple[tuple[int, int], bytes]:
    """Return an image's size and WebP in `most_bytes`: poorer first, and only then smaller.

    What does not fit even at the smallest size is returned as that.
    """
    largest = min(1.0, MOST_SIDE / max(image.size))
    for share in (largest * share for share in SHRINKING):
        size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        scaled = image if share == 1 else image.resize(size, Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            encoded = io.BytesIO()
            scaled.save(encoded, "WEBP", quality=quality, method=4)
            if encoded.tell() <= most_bytes:
                return size, encoded.getvalue()
    return size, encoded.getvalue()
