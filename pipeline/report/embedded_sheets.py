"""The sheets of plots/figures, compressed so that the page can hold them."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.data.decoding import decode

# The sheets of the page, in its order: file stem in plots/figures -> heading and caption.
SHEETS = {
    "successes": (
        "Successes",
        "Queries with a relevant image at rank 1, sampled from all classes.",
    ),
    "failures": (
        "Failures",
        "Queries without a relevant image among the top results, the worst first.",
    ),
    "near_duplicates": (
        "Near-duplicates",
        "Queries whose top hit is the same image under another label.",
    ),
    "confusions": (
        "Confusions",
        "Classes that are most often confused: the query's, and its wrong top hit's.",
    ),
}
# The one of the section about the health of the data.
DUPLICATES = {
    "duplicates": (
        "Duplicates",
        "Images that are the same, or nearly. In red: under several classes, or in several of "
        "train, val and test. All groups: lookalike duplicates.",
    ),
}
MOST_BYTES = 300_000
QUALITIES = (75, 60, 45)
SCALES = (1.0, 0.75, 0.5, 0.35, 0.25)
MOST_SIDE = 16_383  # pixels; WebP allows no more


@dataclass(frozen=True)
class EmbeddedSheet:
    """A sheet of the page. webp: the encoded image, `width` by `height` pixels."""

    name: str
    heading: str
    caption: str
    width: int
    height: int
    webp: bytes


def read_sheets(
    directory: Path, wanted: Mapping[str, tuple[str, str]] = SHEETS
) -> list[EmbeddedSheet]:
    """Return those of `wanted` whose PNG is in `directory`, each in about MOST_BYTES or less."""
    sheets = []
    for name, (heading, caption) in wanted.items():
        path = directory / f"{name}.png"
        if path.is_file():
            size, webp = shrink_sheet(decode(path.read_bytes()))
            sheets.append(EmbeddedSheet(name, heading, caption, *size, webp))
    return sheets


def shrink_sheet(
    image: Image.Image, *, most_bytes: int = MOST_BYTES
) -> tuple[tuple[int, int], bytes]:
    """Return size and WebP of an image in `most_bytes`: first at lower quality, then smaller.

    An image that does not fit even at the smallest scale is returned at that scale.
    """
    largest = min(1.0, MOST_SIDE / max(image.size))
    for share in (largest * share for share in SCALES):
        size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
        scaled = image if share == 1 else image.resize(size, Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            encoded = io.BytesIO()
            scaled.save(encoded, "WEBP", quality=quality, method=4)
            if encoded.tell() <= most_bytes:
                return size, encoded.getvalue()
    return size, encoded.getvalue()
