"""A table of images with the columns of open-metric-learning, as CSV or Parquet."""

import csv
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.class_folders import relative_name
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError, name_choices, one_line

REQUIRED = ("label", "path", "split", "is_query", "is_gallery")
BOX = ("x_1", "x_2", "y_1", "y_2")
TABLE_SPLITS = ("test", "train", "validation")
TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": False}

TableRow = Mapping[str, str]


def table_images(table: Path, *, root: Path) -> Iterator[SourceImage]:
    """Yield one image for each row of `table`; its paths are relative to `root`.

    If no row is of split test, the validation images are the test images, as in
    open-metric-learning; otherwise validation is for choosing the best epoch.

    Raises:
        UserError: the table is not inside `root`, a column is missing, or a value is not allowed;
            the text has the row and the column.
    """
    if _leads_out(table, root):
        raise UserError(
            f"{table}: leads out of {root}; allowed: the path of a .csv or .parquet table inside "
            "data.source, relative to it; move it there and set data.folder.table"
        )
    rows = _read(table)
    has_test = any(row["split"] == "test" for _, row in rows)
    categories: dict[str, str] = {}
    for where, row in rows:
        image = _image(row, root=root, has_test=has_test, where=where)
        group = row.get("category", "")
        if categories.setdefault(row["label"], group) != group:
            raise UserError(
                f"{where}, column category: found '{group}', but label '{row['label']}' had "
                f"'{categories[row['label']]}' before; allowed: one category a label; correct one"
            )
        yield image


def _read(table: Path) -> list[tuple[str, TableRow]]:
    """Return each row as (where it is, for error texts; its values as text, '' for none)."""
    if not table.is_file():
        raise UserError(
            f"{table}: no such file; allowed: the path of a .csv or .parquet table inside "
            "data.source; set data.folder.table"
        )
    if table.suffix.lower() == ".parquet":
        columns, rows = _read_parquet(table)
    elif table.suffix.lower() == ".csv":
        columns, rows = _read_csv(table)
    else:
        raise UserError(
            f"{table}: found a {table.suffix or 'nameless'} file; allowed: .csv, .parquet; "
            "set data.folder.table"
        )
    missing = [name for name in REQUIRED if name not in columns]
    if set(BOX) & set(columns):
        missing += [name for name in BOX if name not in columns]
    if missing:
        raise UserError(
            f"{table}: found no column {', '.join(missing)}; allowed: {', '.join(REQUIRED)}, and "
            f"optionally category, {', '.join(BOX)}; add what is missing"
        )
    return rows


def _read_csv(table: Path) -> tuple[list[str], list[tuple[str, TableRow]]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            rows: list[tuple[str, TableRow]] = []
            for row in reader:
                texts = {key: (value or "").strip() for key, value in row.items() if key}
                rows.append((f"{table}: line {reader.line_num}", texts))
            return list(reader.fieldnames or []), rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not a CSV file in UTF-8 ({error}); save it as one") from None


def _read_parquet(table: Path) -> tuple[list[str], list[tuple[str, TableRow]]]:
    try:
        content = pq.read_table(table)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{table}: not a Parquet file ({one_line(error)}); save it again") from None
    rows: list[tuple[str, TableRow]] = []
    for number, row in enumerate(content.to_pylist(), start=1):
        rows.append((f"{table}: row {number}", {key: _text(value) for key, value in row.items()}))
    return content.column_names, rows


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # pandas converts a column of whole numbers to floats where a value is missing.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _image(row: TableRow, *, root: Path, has_test: bool, where: str) -> SourceImage:
    if not row["label"]:
        raise UserError(f"{where}, column label: found nothing; allowed: the name of a class")
    path = _file(row["path"], root=root, where=where)
    name = relative_name(path, root)
    box = _box(row, where=where)
    return SourceImage(
        path=name,
        labels=(row["label"],),
        read=partial(Path.read_bytes, path),
        group=row.get("category") or None,
        source_split=_roles(row, has_test=has_test, where=where),
        box=box,
        # One file may be in several rows, each with another box.
        image_id=None if box is None else f"{name}#{','.join(map(str, box))}",
    )


def _leads_out(path: Path, root: Path) -> bool:
    return not path.is_relative_to(root) or ".." in path.relative_to(root).parts


def _file(name: str, *, root: Path, where: str) -> Path:
    path = root / name
    if _leads_out(path, root):
        raise UserError(
            f"{where}, column path: found '{name}', which leads out of {root}; allowed: a path "
            "relative to data.source; move the image there"
        )
    if not name or not path.is_file():
        raise UserError(
            f"{where}, column path: found '{name}', but there is no such file in {root}; allowed: "
            "a path relative to data.source; correct it"
        )
    return path


def _roles(row: TableRow, *, has_test: bool, where: str) -> str:
    split = row["split"]
    if split not in TABLE_SPLITS:
        raise UserError(f"{where}, column split: {name_choices(split, TABLE_SPLITS)}")
    query = _truth(row, "is_query", where=where)
    gallery = _truth(row, "is_gallery", where=where)
    if split == "train":
        if query:
            raise UserError(
                f"{where}, column is_query: found true in split train; allowed: false, because "
                "a query must not be a training image; set it to false"
            )
        return "train+gallery" if gallery else "train"
    if split == "validation" and has_test:
        return "val"
    if not query and not gallery:
        raise UserError(
            f"{where}, columns is_query and is_gallery: found false in both in split {split}; "
            "allowed: true in one or both; correct one"
        )
    return "+".join(["query"] * query + ["gallery"] * gallery)


def _truth(row: TableRow, column: str, *, where: str) -> bool:
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
