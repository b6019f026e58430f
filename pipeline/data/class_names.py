"""Class names as people read them: label -> display name, and the names of an image's classes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.data.tables import CLASSES, read_table
from pipeline.errors import UserError


def read_class_names(path: Path) -> dict[int, str]:
    """Return label -> display name from classes.parquet.

    Raises:
        UserError: the file is missing, or is not a table of classes.
    """
    table = read_table(path, CLASSES)
    return display_names(
        dict(zip(table["label"].to_pylist(), table["name"].to_pylist(), strict=True))
    )


def display_names(names: Mapping[int, str]) -> dict[int, str]:
    """Return label -> name, with the label added if two classes have the same name.

    >>> display_names({0: "cup", 1: "jug", 2: "cup"})
    {0: 'cup (0)', 1: 'jug', 2: 'cup (2)'}
    """
    count = Counter(names.values())
    return {
        label: name if count[name] == 1 else f"{name} ({label})" for label, name in names.items()
    }


def names_of(labels: Iterable[int], class_names: Mapping[int, str]) -> tuple[str, ...]:
    """Return the display names of an image's classes, sorted.

    Raises:
        UserError: a label has no name.
    """
    try:
        return tuple(sorted(class_names[label] for label in labels))
    except KeyError as error:
        raise UserError(f"classes: label {error.args[0]} has no name; run: dvc repro") from None
