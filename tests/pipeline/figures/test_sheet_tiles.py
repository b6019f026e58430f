from pipeline.figures.fonts import SheetFont
from pipeline.figures.sheet_tiles import TILE, box, truncate, wrap

BOX = box(TILE)


def test_a_long_name_ends_in_an_ellipsis_inside_its_tile() -> None:
    plain = SheetFont(12)
    cut = truncate("a class of a very long name indeed", plain, BOX)
    assert cut.endswith("…")
    assert cut.startswith("a class of")
    assert plain.getlength(cut) <= BOX
    assert truncate("cup", plain, BOX) == "cup"


def test_wrapped_lines_hold_every_word_and_fit() -> None:
    bold = SheetFont(15, bold=True)
    text = "Failures of finetuned: 3 of 5 queries have no relevant image in the top 8"
    lines = wrap(text, bold, 200)
    assert " ".join(lines) == text
    assert len(lines) > 1
    assert all(bold.getlength(line) <= 200 for line in lines)
