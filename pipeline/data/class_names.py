"""Class names as people read them: label -> display name, and the names of an image's classes."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pipeline.data.tables import CLASSES, read_table
from pipeline.errors import UserError

NAMED = 10  # names in one message


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
    """Return label -> name on one line, with the label added if two classes have the same name.

    >>> display_names({0: "cup", 1: "jug", 2: "cup"})
    {0: 'cup (0)', 1: 'jug', 2: 'cup (2)'}
    """
    lines = {label: on_one_line(name) for label, name in names.items()}
    count = Counter(lines.values())
    return {
        label: name if count[name] == 1 else f"{name} ({label})" for label, name in lines.items()
    }


def name_some(names: Collection[str]) -> str:
    """Return the first ten of `names`, sorted, and how many more there are.

    >>> name_some({"cup", "jug"}), name_some([str(number) for number in range(12)])
    ('cup, jug', '0, 1, 10, 11, 2, 3, 4, 5, 6, 7 and 2 more')
    """
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more


def on_one_line(name: str) -> str:
    """Return `name` with a space for each tab, line break and other control character.

    >>> on_one_line("red\\tcup\\n")
    'red cup '
    """
    controls = ("Cc", "Zl", "Zp")
    return "".join(" " if unicodedata.category(sign) in controls else sign for sign in name)


def names_of(labels: Iterable[int], class_names: Mapping[int, str]) -> tuple[str, ...]:
    """Return the display names of an image's classes, sorted.

    Raises:
        UserError: a label has no name.
    """
    try:
        return tuple(sorted(class_names[label] for label in labels))
    except KeyError as error:
        raise UserError(f"classes: label {error.args[0]} has no name; run: dvc repro") from None
