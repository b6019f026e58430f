"""overrides.csv: images are dropped and relabelled, or each wrong row is told."""

from pathlib import Path

import pytest

from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from pipeline.packing.overrides import apply_overrides
from tests.helpers.paths import ROOT

HEADER = "image_id,action,label\n"
IMAGES = [
    SourceImage("a/1.png", ("a",), None, group="letters"),
    SourceImage("a/2.png", ("a",), None, group="letters"),
    SourceImage("7.png", ("7",), None, group="digits", image_id="seven"),
]


def write(folder: Path, text: str) -> Path:
    path = folder / "overrides.csv"
    path.write_text(text)
    return path


def error_lines(path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        apply_overrides(IMAGES, path)
    return str(caught.value).replace(str(path), "o.csv").splitlines()


def test_images_are_dropped_and_relabelled_by_their_ids(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}seven,relabel,a\n\na/1.png,drop,\n")
    found = apply_overrides(iter(IMAGES), path)
    assert [(each.path, each.labels, each.group) for each in found] == [
        ("a/2.png", ("a",), "letters"),
        ("7.png", ("a",), "letters"),
    ]


def test_the_file_of_the_project_changes_nothing() -> None:
    assert apply_overrides(IMAGES, ROOT / "overrides.csv") == IMAGES


def test_all_wrong_rows_are_told_at_once(tmp_path: Path) -> None:
    rows = ["x.png,drop,", "a/1.png,delete,", "a/2.png,drop,a", "seven,relabel,B", "y.png,relabel,"]
    assert error_lines(write(tmp_path, HEADER + "\n".join(rows))) == [
        "o.csv: line 2: image_id: found 'x.png', which the dataset does not have; remove the line, "
        "or write the image_id as `lookalike query` prints it",
        "o.csv: line 3: action: found 'delete'; allowed: drop, relabel",
        "o.csv: line 4: label: found 'a'; allowed with drop: none",
        "o.csv: line 5: label: found 'B'; allowed with relabel: 7, a",
        "o.csv: line 6: image_id: found 'y.png', which the dataset does not have; remove the line, "
        "or write the image_id as `lookalike query` prints it",
        "o.csv: line 6: label: found ''; allowed with relabel: 7, a",
        "o.csv: 6 faults in all",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            f"{HEADER}seven,drop,\nseven,relabel,a\n",
            "o.csv: line 3: image_id: found 'seven' for the second time; allowed: once",
        ),
        (f"{HEADER}seven,drop\n", "o.csv: line 2: found 2 values; allowed: 3"),
        ("id,label\n", "o.csv: found the columns id,label; allowed: image_id,action,label"),
        ("", "o.csv: found the columns ; allowed: image_id,action,label"),
    ],
)
def test_another_table_is_an_error(text: str, line: str, tmp_path: Path) -> None:
    assert error_lines(write(tmp_path, text)) == [line]


def test_without_the_file_the_error_says_how_to_make_it(tmp_path: Path) -> None:
    assert error_lines(tmp_path / "o") == [
        "o.csv: no such file; make it with the one line: image_id,action,label"
    ]
