"""The rows of a table of images, the same from CSV as from Parquet."""

import codecs
import csv
import math
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO
from unicodedata import normalize

import pyarrow.parquet as pq

from pipeline.data.tables import told_as_damaged
from pipeline.errors import UserError, all_faults

REQUIRED = ("label", "path")
ROLES = ("is_query", "is_gallery")  # of the rows of test and validation
BOX = ("x_1", "x_2", "y_1", "y_2")
NUMBERS = (*BOX, *ROLES)
KNOWN = (*REQUIRED, "split", *ROLES, "category", *BOX)
# Spreadsheets write a semicolon where the comma is in numbers.
DELIMITERS = (",", ";", "\t")
WHOLE = re.compile(r"^(-?\d+)\.0+$")

TableRow = Mapping[str, str]
Line = tuple[str, Sequence[Any]]  # where it is, for error texts; its values, perhaps too few


def read_rows(table: Path, faults: list[str]) -> list[tuple[str, TableRow]]:
    """Return the rows of a CSV or Parquet file, each as (where it is, for error texts; its cells).

    A cell is the text that a CSV file has for it: '' for no value, and a whole number without
    '.0'. The names of columns are in lower case, whatever they are in the file, and without blanks
    around them; a row has a cell for each column of the table. A CSV file may have a comma, a
    semicolon or a tab between its values. Rows without a value for label, path, split and roles are
    left out, and so are those with too many values, which go to `faults`.

    Raises:
        UserError: the file is of another kind or damaged, or a column is missing or there twice.
    """
    reader = READERS.get(table.suffix.lower())
    if reader is None:
        raise UserError(
            f"{table}: found a {table.suffix or 'nameless'} file; allowed: {', '.join(READERS)}; "
            "set data.folder.table"
        )
    names, lines = reader(table)
    columns = [name.strip().lower() for name in names]
    _check_columns(columns, table)
    rows: list[tuple[str, TableRow]] = []
    for where, values in lines:
        if any(values[len(columns) :]):
            faults.append(
                f"{where}: found {len(values)} values; allowed: {len(columns)}, as there are "
                "columns; quote a value that holds the separator"
            )
            continue
        texts = zip_longest(columns, values[: len(columns)])
        row = {column: _text(column, value) for column, value in texts}
        if any(row.get(column) for column in (*REQUIRED, "split", *ROLES)):
            rows.append((where, row))
    return rows


def _check_columns(columns: Sequence[str], table: Path) -> None:
    faults = []
    needed = [*REQUIRED]
    if set(ROLES) & set(columns):
        needed += ["split", *ROLES]
    if set(BOX) & set(columns):
        needed += BOX
    if missing := [name for name in needed if name not in columns]:
        faults.append(
            f"{table}: found no column {', '.join(missing)}; allowed: {', '.join(REQUIRED)}, and "
            f"optionally split (with both of {', '.join(ROLES)} or neither), category, "
            f"{', '.join(BOX)}; add what is missing"
        )
    if twice := [name for name in KNOWN if columns.count(name) > 1]:
        faults.append(
            f"{table}: found more than one column {', '.join(twice)}, in whatever case; allowed: "
            "each once; remove or rename the others"
        )
    if faults:
        raise all_faults(faults, where=str(table))


def _read_csv(table: Path) -> tuple[list[str], list[Line]]:
    try:
        with open(table, newline="", encoding=_encoding(table)) as text:
            lines = csv.reader(text, delimiter=_delimiter(text), skipinitialspace=True)
            columns = next(lines, [])
            return columns, [(f"{table}: line {lines.line_num}", values) for values in lines]
    except (UnicodeError, csv.Error) as error:
        raise UserError(f"{table}: not a CSV file in UTF-8 ({error}); save it as one") from None


def _encoding(table: Path) -> str:
    # A spreadsheet's "Unicode text" is UTF-16.
    with open(table, "rb") as opened:
        start = opened.read(2)
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _delimiter(text: TextIO) -> str:
    """Return what separates the names in the first line of `text`; a comma if nothing does."""
    header = text.readline()
    text.seek(0)
    return max(DELIMITERS, key=header.count)


def _read_parquet(table: Path) -> tuple[list[str], list[Line]]:
    with told_as_damaged(table, "save it again"):
        content = pq.ParquetFile(table).read()
        columns = [column.to_pylist() for column in content.columns]
    rows = enumerate(zip(*columns, strict=True), start=1)
    return content.column_names, [(f"{table}: row {number}", values) for number, values in rows]


def _text(column: str, value: Any) -> str:
    """Return `value` as a CSV file has it, '' for none; a whole number without '.0'."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    text = text.strip()
    if column == "path":  # a file may have any name
        return text
    if column in NUMBERS and text.lower() == "nan":
        return ""
    # pandas writes whole numbers with '.0' where a value is missing.
    return WHOLE.sub(r"\1", normalize("NFC", text))


READERS = {".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet}
