"""A table of images with the columns of open-metric-learning, as CSV or Parquet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.datasets.class_folders import split_of
from pipeline.datasets.source_files import NamedFiles, relative_name
from pipeline.datasets.source_image import SourceImage
from pipeline.datasets.table_rows import BOX, TableRow, read_rows
from pipeline.errors import UserError, all_faults, name_choices

TABLE_SPLITS = ("test", "train", "validation")
TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": False}

Parser = Callable[..., Any]


def table_images(name: str, *, root: Path) -> Iterator[SourceImage]:
    """Yield one image for each row of the table `name` in `root`.

    The paths in it are relative to `root` or to the folder of the table, or absolute; the files are
    inside `root`.

    Without the column split there is no official split. Without is_query and is_gallery, each test
    image is a query, and the others its gallery.

    If no row is of split test, the validation images are the test images, as in
    open-metric-learning; otherwise validation is for choosing the best epoch. What a cell means
    does not depend on the kind of file: numbers are read as their text in a CSV file, and a whole
    number as the same with or without '.0'. Rows without any value are left out.

    Raises:
        UserError: the table is not inside `root`, a column is missing, or values are not allowed;
            the text has the row and the column of each of the first ten, and their number.
    """
    files = NamedFiles(root)
    table = files.find(name)
    if table is None:
        raise _no_table(name, files)
    faults: list[str] = []
    rows = read_rows(table, faults)
    images = list(_images(rows, NamedFiles(root, beside=table.parent), faults))
    if faults:
        raise all_faults(faults, where=str(table))
    yield from images


def _no_table(name: str, files: NamedFiles) -> UserError:
    if files.inside(name) is None:
        return UserError(
            f"{files.root / name}: leads out of {files.root}; allowed: the path of a .csv or "
            ".parquet table inside data.source, relative to it; move it there and set "
            "data.folder.table"
        )
    return UserError(
        f"{files.root / name}: no such file; allowed: the path of a .csv or .parquet table inside "
        "data.source; set data.folder.table"
    )


def _images(
    rows: Sequence[tuple[str, TableRow]], files: NamedFiles, faults: list[str]
) -> Iterator[SourceImage]:
    """Yield the image of each row that is right; what is wrong goes to `faults`."""
    has_test = any(split_of(row.get("split", "")) == "test" for _, row in rows)
    parsers: dict[str, Parser] = {
        "path": partial(_path, files=files),
        "labels": _labels,
        "group": _Groups().parse,
        "source_split": partial(_roles, has_test=has_test),
        "box": _box,
    }
    first: dict[str, str] = {}
    for where, row in rows:
        fields = _parse(row, parsers, where=where, faults=faults)
        if fields.keys() != parsers.keys():
            continue
        image = _image(fields, root=files.root)
        before = first.setdefault(image.image_id or image.path, where)
        if before != where:
            faults.append(
                f"{where}, column path: found '{row['path']}', which is in {before} too; allowed: "
                "one row an image, or one a box; remove one"
            )
        yield image


def _parse(
    row: TableRow, parsers: Mapping[str, Parser], *, where: str, faults: list[str]
) -> dict[str, Any]:
    """Return {field: value} of the fields that `row` has right; what is wrong goes to `faults`."""
    fields: dict[str, Any] = {}
    for field, parser in parsers.items():
        try:
            fields[field] = parser(row, where=where)
        except UserError as error:
            faults.append(str(error))
    return fields


def _image(fields: dict[str, Any], *, root: Path) -> SourceImage:
    path, box = fields.pop("path"), fields["box"]
    name = relative_name(path, root)
    # One file may be in several rows, each with another box.
    image_id = None if box is None else f"{name}#{','.join(map(str, box))}"
    return SourceImage(path=name, read=partial(Path.read_bytes, path), image_id=image_id, **fields)


def _labels(row: TableRow, *, where: str) -> tuple[str]:
    if not row["label"]:
        raise UserError(f"{where}, column label: found nothing; allowed: the name of a class")
    return (row["label"],)


class _Groups:
    """The category of each label so far, which must be one."""

    def __init__(self) -> None:
        self.of_label: dict[str, str] = {}

    def parse(self, row: TableRow, *, where: str) -> str | None:
        group = row.get("category", "")
        before = self.of_label.setdefault(row["label"], group)
        if before != group and row["label"]:
            raise UserError(
                f"{where}, column category: found '{group}', but label '{row['label']}' had "
                f"'{before}' before; allowed: one category a label; correct one"
            )
        return group or None


def _path(row: TableRow, *, where: str, files: NamedFiles) -> Path:
    name = row["path"]
    path = files.find(name)
    if path is not None:
        return path
    if files.inside(name) is None:
        raise UserError(
            f"{where}, column path: found '{name}', which leads out of {files.root}; allowed: a "
            "path relative to data.source; move the image there"
        )
    raise UserError(
        f"{where}, column path: found '{name}', but there is no such file in {files.root}; "
        "allowed: a path relative to data.source; correct it"
    )


def _roles(row: TableRow, *, has_test: bool, where: str) -> str | None:
    if "split" not in row:
        return None
    split = split_of(row["split"])
    if split is None:
        raise UserError(f"{where}, column split: {name_choices(row['split'], TABLE_SPLITS)}")
    query = _truth(row, "is_query", where=where)
    gallery = _truth(row, "is_gallery", where=where)
    if split == "train":
        if query:
            raise UserError(
                f"{where}, column is_query: found true in split train; allowed: false, because "
                "a query must not be a training image; set it to false"
            )
        return "train+gallery" if gallery else "train"
    if split == "val" and has_test:
        return "val"
    if not query and not gallery:
        raise UserError(
            f"{where}, columns is_query and is_gallery: found false in both in split "
            f"{row['split']}; allowed: true in one or both; correct one"
        )
    return "+".join(["query"] * query + ["gallery"] * gallery)


def _truth(row: TableRow, column: str, *, where: str) -> bool:
    if column not in row:  # as in folders: each test image is a query, the others its gallery
        return split_of(row["split"]) != "train"
    truth = TRUTHS.get(row[column].lower())
    if truth is None:
        raise UserError(
            f"{where}, column {column}: found '{row[column]}'; allowed: true, false, 1, 0, or "
            "nothing for false"
        )
    return truth


def _box(row: TableRow, *, where: str) -> tuple[int, int, int, int] | None:
    texts = [row.get(column, "") for column in BOX]
    if not any(texts):
        return None
    try:
        left, right, top, bottom = (_whole(text) for text in texts)
    except ValueError:
        raise UserError(
            f"{where}, columns {', '.join(BOX)}: found {', '.join(map(repr, texts))}; allowed: "
            "four whole numbers of pixels, or nothing in all four"
        ) from None
    if not (0 <= left < right and 0 <= top < bottom):
        raise UserError(
            f"{where}, columns {', '.join(BOX)}: found {left}, {right}, {top}, {bottom}; allowed: "
            "0 <= x_1 < x_2 and 0 <= y_1 < y_2"
        )
    return left, top, right, bottom


def _whole(text: str) -> int:
    # Some programs write 12.0 for 12.
    value = float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)
