"""overrides.csv: what a person corrects in a dataset, image by image: drop it, or relabel it."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from pipeline.data.class_names import name_some
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError, all_faults

COLUMNS = ("image_id", "action", "label")
DROP, RELABEL = "drop", "relabel"


@dataclass(frozen=True)
class Override:
    """A row of the file. where: the file and its line, for messages."""

    image_id: str
    action: str
    label: str
    where: str


def apply_overrides(images: Iterable[SourceImage], path: Path) -> list[SourceImage]:
    """Return `images` as the file at `path` corrects them.

    `drop`: the image is left out. `relabel`: `label`, a class of the dataset, is its only class,
    and the image is of the group of that class.

    Raises:
        UserError: the file is not such a table, or rows are wrong; a line for each of them.
    """
    everything, overrides = list(images), _read(path)
    if not overrides:
        return everything
    group_of = {label: image.group for image in everything for label in image.labels}
    known = {image.id for image in everything}
    if faults := [fault for each in overrides for fault in _check(each, known, group_of)]:
        raise all_faults(faults, where=str(path))
    if repeated := _find_repeated(overrides):
        raise all_faults(repeated, where=str(path))
    by_id = {each.image_id: each for each in overrides}
    corrected = []
    for image in everything:
        override = by_id.get(image.id)
        if override is None:
            corrected.append(image)
        elif override.action == RELABEL:
            group = group_of[override.label]
            corrected.append(replace(image, labels=(override.label,), group=group))
    return corrected


def _read(path: Path) -> list[Override]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it with the one line: {','.join(COLUMNS)}")
    try:
        with open(path, newline="", encoding="utf-8-sig") as text:
            lines = csv.reader(text)
            check_columns(next(lines, []), path)
            rows = [(f"{path}: line {lines.line_num}", row) for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV in UTF-8 ({error}); save it as such") from None
    short = [
        f"{where}: found {len(row)} values; allowed: 3" for where, row in rows if len(row) != 3
    ]
    if short:
        raise all_faults(short, where=str(path))
    return [
        Override(image_id, action, normalize("NFC", label), where)
        for where, (image_id, action, label) in rows
    ]


def check_columns(header: Sequence[str], path: Path) -> None:
    """Raise a UserError unless `header` is that of the file's table."""
    if tuple(header) != COLUMNS:
        raise UserError(
            f"{path}: found the columns {','.join(header)}; allowed: {','.join(COLUMNS)}"
        )


def _check(each: Override, known: set[str], group_of: Mapping[str, str | None]) -> list[str]:
    """Return what is wrong with one row."""
    faults = []
    if each.image_id not in known:
        faults.append(
            f"{each.where}: image_id: found '{each.image_id}', which the dataset does not have; "
            "remove the line, or write the image_id as `lookalike query` prints it"
        )
    if each.action not in (DROP, RELABEL):
        faults.append(f"{each.where}: action: found '{each.action}'; allowed: {DROP}, {RELABEL}")
    elif each.action == DROP and each.label:
        faults.append(f"{each.where}: label: found '{each.label}'; allowed with {DROP}: none")
    elif each.action == RELABEL and each.label not in group_of:
        faults.append(
            f"{each.where}: label: found '{each.label}'; allowed with {RELABEL}: "
            f"{name_some(group_of)}"
        )
    return faults


def _find_repeated(overrides: list[Override]) -> list[str]:
    first: dict[str, Override] = {}
    return [
        f"{each.where}: image_id: found '{each.image_id}' for the second time; allowed: once"
        for each in overrides
        if first.setdefault(each.image_id, each) is not each
    ]
