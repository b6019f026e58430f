import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.thumbnails import (
    MOST_BYTES,
    MOST_PIXELS,
    SIDES,
    columns_of,
    draw_grid,
    encode_atlas,
    shrink_images,
    thumbnail_side,
)
from tests.helpers.packer import packed


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    to = io.BytesIO()
    image.save(to, kind, **options)
    return to.getvalue()


def test_images_of_every_kind_become_squares_of_their_middle(tmp_path: Path) -> None:
    wide = Image.new("RGB", (400, 100), "blue")
    wide.paste("red", (150, 0, 250, 100))
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side
    images = packed(
        tmp_path,
        jpeg=encoded(wide, "JPEG", quality=95),
        png=encoded(wide, "PNG"),
        grey=encoded(wide.convert("L"), "JPEG"),
        cmyk=encoded(wide.convert("CMYK"), "JPEG", quality=95),
        clear=encoded(Image.new("RGBA", (30, 30), (0, 0, 0, 0)), "PNG"),
        turned=encoded(wide, "JPEG", exif=turned),
    )
    found = dict(zip(images.ids, shrink_images(images.ids, images, side=32), strict=True))
    assert {(it.mode, it.size) for it in found.values()} == {("RGB", (32, 32))}
    for name in ("jpeg", "png", "cmyk", "turned"):
        assert np.abs(np.array(found[name]).mean(axis=(0, 1)) - (255, 0, 0)).max() < 12, name
    assert found["clear"].getpixel((16, 16)) == (255, 255, 255)


def test_each_thumbnail_is_at_its_place_in_the_atlas() -> None:
    colors = [(9 * row, 255 - 9 * row, 120) for row in range(27)]
    atlas = encode_atlas([Image.new("RGB", (16, 16), color) for color in colors])
    assert (atlas.side, atlas.columns) == (16, 6)
    with Image.open(io.BytesIO(atlas.jpeg)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (96, 96))
        pixels = np.array(opened.convert("RGB")).astype(int)
    for row, color in enumerate(colors):
        y, x = divmod(row, 6)
        # All but the outermost pixels, where a JPEG's colors bleed and which are not shown.
        cell = pixels[16 * y + 1 : 16 * y + 15, 16 * x + 1 : 16 * x + 15]
        assert np.abs(cell - color).max() < 12


def test_an_atlas_stays_within_its_bytes_and_looks_as_well_as_they_allow() -> None:
    noise = np.random.default_rng(0).integers(0, 255, size=(16, 64, 64, 3), dtype=np.uint8)
    thumbnails = [Image.fromarray(pixels) for pixels in noise]
    free = encode_atlas(thumbnails).jpeg
    bound = encode_atlas(thumbnails, most_bytes=len(free) * 2 // 3).jpeg
    assert len(free) // 3 < len(bound) <= len(free) * 2 // 3 < MOST_BYTES


@pytest.mark.parametrize(("count", "side"), [(1, 96), (800, 96), (3000, 64), (10_000, 32)])
def test_thumbnails_are_as_large_as_their_number_allows(count: int, side: int) -> None:
    assert thumbnail_side(count) == side
    assert count * side**2 <= MOST_PIXELS


def test_a_grid_is_a_square() -> None:
    for count in (1, 2, 4, 5, 9, 10):
        columns = columns_of(count)
        assert (columns - 1) ** 2 < count <= columns**2
        drawn = draw_grid([Image.new("RGB", (SIDES[-1],) * 2)] * count)
        assert drawn.size == (columns * SIDES[-1],) * 2
