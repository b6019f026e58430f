"""Rows are appended to overrides.csv as `download` reads them, and its own lines stay."""

from pathlib import Path

import pytest

from app.overrides_file import append_overrides
from pipeline.errors import UserError
from pipeline.packing.overrides import apply_overrides
from tests.helpers.searchable import drawn_images

HEADER = "image_id,action,label\n"
DROP = ("red disc/0.jpg", "drop", "")
RELABEL = ("red disc/1.jpg", "relabel", "blue disc")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, f"{HEADER}red disc/0.jpg,drop,\n"),
        (HEADER.strip(), f"{HEADER}red disc/0.jpg,drop,\n"),
        (f"{HEADER}a,drop,", f"{HEADER}a,drop,\nred disc/0.jpg,drop,\n"),
        (HEADER.replace("\n", "\r\n"), f"{HEADER.strip()}\r\nred disc/0.jpg,drop,\n"),
        (f"\ufeff{HEADER}", f"{HEADER}red disc/0.jpg,drop,\n"),
        (f'{HEADER}"a\nb",drop,\n', f'{HEADER}"a\nb",drop,\nred disc/0.jpg,drop,\n'),
    ],
)
def test_the_lines_of_the_file_stay(before: str | None, after: str, tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    if before is not None:
        path.write_bytes(before.encode())
    assert append_overrides(path, [DROP]) == [DROP]
    assert path.read_bytes().decode() == after
    assert append_overrides(path, [DROP]) == []  # named already
    assert path.read_bytes().decode() == after


def test_the_pipeline_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    assert append_overrides(path, [DROP, RELABEL]) == [DROP, RELABEL]
    images = apply_overrides(drawn_images(), path)
    classes = {image.path: image.labels for image in images}
    assert len(images) == len(drawn_images()) - 1
    assert DROP[0] not in classes
    assert classes[RELABEL[0]] == ("blue disc",)


def test_names_with_commas_quotes_and_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    odd = ('a,"b"\nc/1.jpg', "drop", "")
    assert append_overrides(path, [odd]) == [odd]
    assert append_overrides(path, [odd]) == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"image,action\n", "found the columns image,action; allowed: image_id,action,label"),
        (b"", "found the columns ; allowed: image_id,action,label"),
        (b"\xff", "cannot be read ("),
        (
            b"image_id,action,label\n" + b"a" * 200_000,
            "not a CSV (field larger than field limit (131072)); save it as such",
        ),
    ],
)
def test_another_file_is_an_error_and_stays(content: bytes, line: str, tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        append_overrides(path, [DROP])
    assert str(error.value).startswith(f"{path}: {line}")
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_a_folder_of_that_name_stays(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    path.mkdir()
    with pytest.raises(UserError, match=r"overrides\.csv: cannot be read \("):
        append_overrides(path, [DROP])
    assert path.is_dir()
