import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.report.embedded_sheets import MOST_SIDE, SHEETS, read_sheets, shrink_sheet


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_sheets_that_exist_are_read_in_their_order(tmp_path: Path) -> None:
    for name in ("failures", "near_duplicates", "successes", "projection_pca"):
        Image.new("RGB", (60, 30), "white").save(tmp_path / f"{name}.png")
    sheets = read_sheets(tmp_path)
    assert [sheet.name for sheet in sheets] == ["successes", "failures", "near_duplicates"]
    assert [(sheet.heading, sheet.caption) for sheet in sheets] == list(SHEETS.values())[:3]
    with Image.open(io.BytesIO(sheets[0].webp)) as opened:
        assert (opened.format, opened.size) == ("WEBP", (60, 30))
    assert (sheets[0].width, sheets[0].height) == (60, 30)


def test_a_sheet_of_many_bytes_loses_quality_then_size() -> None:
    image = noise(400, 300)
    size, free = shrink_sheet(image)
    lower_size, lower = shrink_sheet(image, most_bytes=len(free) * 9 // 10)
    smaller_size, smaller = shrink_sheet(image, most_bytes=len(free) // 4)
    assert size == lower_size == (400, 300)
    assert len(lower) <= len(free) * 9 // 10
    assert len(smaller) <= len(free) // 4
    assert smaller_size[0] < 400
    assert smaller_size[0] / smaller_size[1] == 400 / 300


def test_a_sheet_higher_than_a_webp_may_be_is_made_smaller() -> None:
    (_, height), webp = shrink_sheet(Image.new("RGB", (8, 2 * MOST_SIDE), "white"))
    with Image.open(io.BytesIO(webp)) as opened:
        assert opened.height == height == MOST_SIDE
