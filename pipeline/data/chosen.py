"""What the pipeline chose where params.yaml says `auto`, kept in the file that it shaped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.tables import read_metadata, told_as_damaged

KEY, UNTRAINED = "lookalike.auto", "lookalike.untrained"  # in the metadata of a table


def to_metadata(chosen: Mapping[str, Any], *, untrained: str = "") -> dict[str, str]:
    """Return the metadata to write into a table.

    chosen: dotted key of params.yaml -> value. untrained: why nothing is to be trained, if so.
    """
    return {KEY: json.dumps(dict(chosen), sort_keys=True), UNTRAINED: untrained}


def read_untrained(path: Path) -> str:
    """Return why nothing is to be trained by the table at `path`; "" where it is not said."""
    return read_metadata(path).get(UNTRAINED, "")


def read_chosen(path: Path) -> dict[str, Any]:
    """Return what was chosen for the table at `path`; {} for nothing.

    Raises:
        UserError: as `read_table`.
    """
    with told_as_damaged(path):
        chosen: dict[str, Any] = json.loads(read_metadata(path).get(KEY, "{}"))
    return chosen


def describe_chosen(chosen: Mapping[str, Any]) -> str:
    """Return "auto chose split.protocol random, split.val_fraction 0.2"."""
    return "auto chose " + ", ".join(f"{key} {value}" for key, value in chosen.items())
