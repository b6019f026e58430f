"""Reading the small CSV files of the pipeline, checked."""

from pathlib import Path

import pandas as pd

from pipeline.errors import UserError, one_line


def read_csv(path: Path, *, stage: str) -> pd.DataFrame:
    """Return the CSV file at `path`, all of whose values are texts: an image may be called NA.

    stage: what writes it, for messages.

    Raises:
        UserError: it is missing, empty or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro {stage}")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("there are more values in a row than columns")
    except ValueError as error:  # pandas' own, and that of a text that is not UTF-8
        raise not_csv(path, error, stage=stage) from None
    return table


def to_numbers(table: pd.DataFrame, path: Path, *, stage: str) -> pd.DataFrame:
    """Return a table of `read_csv` as numbers, NaN for an empty value.

    Raises:
        UserError: a value is no number.
    """
    try:
        numbers: pd.DataFrame = table.apply(pd.to_numeric)
    except (ValueError, OverflowError) as error:
        raise not_csv(path, error, stage=stage) from None
    return numbers


def not_csv(path: Path, error: Exception, *, stage: str) -> UserError:
    """Return the error of a file that is no such table."""
    return UserError(f"{path}: not a CSV table ({one_line(error)}); run: dvc repro {stage}")
