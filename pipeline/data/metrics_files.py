"""metrics/details/*.json: numbers by name, and the dataset that they are of."""

import itertools
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.errors import UserError

LABELS = ("dataset", "fingerprint")

# All that is not a number. What they are: pipeline/evaluation/intervals_over.py for intervals_over,
# pipeline/data/training_record.py for use, pipeline/index/postprocessing.py for postprocessing.
POSTPROCESSING = "postprocessing"  # also in the metadata of the tables of results
TEXTS = (*LABELS, "intervals_over", "use", POSTPROCESSING)

MATCH_THRESHOLD = "match_threshold"  # see pipeline/evaluation/match_threshold.py

Numbers = dict[str, float | int]

logger = logging.getLogger(__name__)


def label_metrics(
    metrics: Mapping[str, float | int | str], *, dataset: str, fingerprint: str
) -> dict[str, float | int | str]:
    """Return the content of a metrics file: the name and the fingerprint of the dataset first."""
    return {"dataset": dataset, "fingerprint": fingerprint, **metrics}


def read_metrics_files(paths: Iterable[Path]) -> dict[str, Numbers]:
    """Return {file stem: numbers by name} of the metrics files `paths`, which are of one dataset.

    Raises:
        UserError: a file is missing or is no object of numbers and labels, or two datasets differ.
    """
    found = {path: _read(path) for path in paths}
    for first, other in itertools.pairwise(found):
        if _labels(found[first]) != _labels(found[other]):
            raise UserError(
                f"{first}: of {name_dataset(found[first])}; {other}: of "
                f"{name_dataset(found[other])}; allowed: one dataset; run: dvc repro"
            )
    return {path.stem: keep_numbers(values) for path, values in found.items()}


def tell_of_other_datasets(written: Path) -> None:
    """Log which metrics files beside `written` are of another dataset than it.

    `dvc metrics show` has them side by side until the stages that write the others have run too.
    Any other file there does not matter.
    """
    own, others = _read(written), []
    for path in sorted(written.parent.glob("*.json")):
        try:
            values = _read(path)
        except UserError:
            continue
        if "fingerprint" in values and _labels(values) != _labels(own):
            others.append(f"{path.name} of {name_dataset(values)}")
    if others:
        # Not a warning: with other images, it is so in the midst of every run.
        logger.info(
            "%s is of %s; until dvc repro ends, not to be compared with %s",
            *(written, name_dataset(own), ", ".join(others)),
        )


def read_texts(path: Path) -> dict[str, str]:
    """Return what is no number in a metrics file: its dataset, and over what its intervals are.

    Raises:
        UserError: as `read_metrics_files`.
    """
    return {name: value for name, value in _read(path).items() if isinstance(value, str)}


def keep_numbers(values: Mapping[str, float | int | str]) -> Numbers:
    """Return the metrics without the labels of their dataset."""
    return {name: value for name, value in values.items() if not isinstance(value, str)}


def name_dataset(values: Mapping[str, float | int | str]) -> str:
    """Return the dataset of a metrics file in words.

    >>> name_dataset({"dataset": "products", "fingerprint": "0123456789abcdef", "map": 0.5})
    'products 0123456'
    >>> name_dataset({"map": 0.5})
    'an unnamed dataset'
    """
    dataset, fingerprint = _labels(values)
    return "an unnamed dataset" if dataset is None else f"{dataset} {str(fingerprint)[:7]}"


def _labels(values: Mapping[str, float | int | str]) -> tuple[object, ...]:
    return tuple(values.get(name) for name in LABELS)


def _read(path: Path) -> dict[str, float | int | str]:
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that writes it: dvc repro") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); run: dvc repro") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: found no mapping of names to numbers; run: dvc repro")
    for name, value in values.items():
        allowed, kind = (str, "a text") if name in TEXTS else (int | float, "a number")
        if not isinstance(value, allowed):
            raise UserError(
                f"{path}: {name}: found {value!r}; allowed: {kind}; run the stage that writes it: "
                "dvc repro"
            )
    return values
