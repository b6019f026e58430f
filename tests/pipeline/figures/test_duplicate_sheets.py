"""The sheet of duplicates: which images are on it, and where."""

from PIL import Image

from pipeline.figures.duplicate_sheets import BREAK, SIZE, draw_duplicate_sheet
from pipeline.figures.palette import FAINT, WRONG
from pipeline.figures.sheet_tiles import FRAME, MARGIN, box
from pipeline.health.findings import DuplicateGroup


def group(*ids: str, across: bool = False) -> DuplicateGroup:
    return DuplicateGroup("exact", list(ids), across_classes=across, across_splits=False)


def color(name: str) -> tuple[int, int, int]:
    red, green, blue = (int(name[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def test_four_images_of_a_group_at_most_and_eight_in_a_row() -> None:
    groups = [group("a", "b", "c", "d", "e"), group("f", "g", across=True), group("h", "i", "j")]
    read: list[str] = []

    def read_image(image_id: str) -> Image.Image:
        read.append(image_id)
        return Image.new("RGB", (20, 20), "blue")

    ids = "abcdefghij"
    sheet = draw_duplicate_sheet(
        "A title",
        groups,
        read_image,
        class_of=dict.fromkeys(ids, "class"),
        split_of=dict.fromkeys(ids, "train"),
    )
    assert "".join(read) == "abcdfghij"
    # Along the frames of the first row: four grey ones, and after a break two red ones.
    y = next(y for y in range(sheet.height) if sheet.getpixel((MARGIN, y)) == color(FAINT)) + 9
    left = [MARGIN + number * box(SIZE) for number in range(4)]
    left += [MARGIN + number * box(SIZE) + BREAK for number in (4, 5)]
    assert [sheet.getpixel((x, y)) for x in left] == [color(FAINT)] * 4 + [color(WRONG)] * 2
    assert sheet.getpixel((left[0] + FRAME, y)) == (0, 0, 255)
    # The third group does not fit there, so it begins the second row.
    assert sheet.getpixel((left[5] + box(SIZE) + BREAK, y)) == (255, 255, 255)
