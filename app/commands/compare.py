"""`lookalike compare`: how two models differ, and whether that is more than chance."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa

from app.experiments import comparison_text, provenance_diff
from app.experiments.evaluated_models import IMAGES, EvaluatedModel, differs_from_lock, open_models
from app.output_folder import OutputFolder
from pipeline.comparison.compare import COMPARISON, Comparison, Side, compare_all
from pipeline.comparison.evaluation_set import EvaluationSet, check_comparable, read_evaluation_set
from pipeline.data import tables
from pipeline.data.fingerprint import KEY as FINGERPRINT
from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError, advise_making
from pipeline.figures.comparison_sheets import (
    choose_changed_queries,
    comparison_rows,
    draw_comparison_sheet,
)
from pipeline.figures.fonts import glyphs_warned_once

SHEET_FILES = ("better.png", "worse.png")
ROWS, COLUMNS = 8, 5  # of a sheet
MOST_SIDES = len(ascii_uppercase)

logger = logging.getLogger(__name__)


def compare_models(texts: Sequence[str], *, out: Path) -> None:
    """Print how sides differ, and write a table to `out`, and of two sides two sheets.

    texts: two sides or more, each as `app.experiments.evaluated_models.open_models` takes it.

    Raises:
        UserError: a side is not found, or has several settings; the models have different galleries
            or classes; `out` has a file that would be overwritten and that no comparison wrote.
    """
    if not 2 <= len(texts) <= MOST_SIDES:
        raise UserError(f"found {len(texts)} sides; allowed: 2 to {MOST_SIDES}")
    folder = OutputFolder(out, kind=COMPARISON, what="comparison", sheets=SHEET_FILES, root=Path())
    with TemporaryDirectory() as scratch:
        sides = {
            side: open_models(text, side=side, scratch=Path(scratch))
            for side, text in zip(ascii_uppercase, texts, strict=False)
        }
        for side, models in sides.items():
            _check_side(models, side=side)
        evaluation_set = _read_shared_evaluation_set(sides)
        found = compare_all(
            {side: _read_side(models) for side, models in sides.items()},
            evaluation_set.classes,
            new_classes=evaluation_set.new_classes,
        )
        with folder.writing() as results:
            results.add_table(_make_table(found))
            if len(sides) == 2:
                _draw_sheets(list(sides.values()), evaluation_set, results)
        logger.info("wrote %s", ", ".join(str(path) for path in folder.written))
        if len(sides) == 2:
            print(comparison_text.describe_pair(list(sides.values()), found["A", "B"]))
        else:
            print(comparison_text.describe_all(sides, found))


def _make_table(found: Mapping[tuple[str, str], Comparison]) -> pa.Table:
    """Return the COMPARISON table of all pairs."""
    frames = [each.metrics.assign(side_a=a, side_b=b) for (a, b), each in found.items()]
    names = [field.name for field in COMPARISON.columns]
    table = pa.Table.from_pandas(pd.concat(frames)[names], preserve_index=False)
    return table.cast(pa.schema(COMPARISON.columns))


def _check_side(models: Sequence[EvaluatedModel], *, side: str) -> None:
    """Raise a UserError unless the models of one side are trainings of one setting."""
    for model in models:
        if differs_from_lock(model):
            logger.warning(
                "%s: results/%s is not what dvc.lock has the settings of; run: dvc repro, or: "
                "dvc checkout",
                side,
                model.model,
            )
    first, *others = models
    for other in others:
        lines = ["another model"] if other.model != first.model else []
        if first.provenance and other.provenance:
            lines += provenance_diff.list_setting_differences(first.provenance, other.provenance)
        if lines:
            raise UserError(
                f"{side}: found two settings, '{first.name}' and '{other.name}' ({lines[0]}); "
                "allowed: trainings of one setting, which differ in train.seed alone"
            )


def _read_shared_evaluation_set(
    sides: Mapping[str, Sequence[EvaluatedModel]],
) -> EvaluationSet:
    """Return the first model's evaluation set; raise a UserError if another's is not comparable."""
    (first_side, first), *others = [
        (side, read_evaluation_set(model.root / "data"))
        for side, models in sides.items()
        for model in models
    ]
    for side, other in others:
        check_comparable(first, other, (first_side, side))
    _warn_of_datasets([model for models in sides.values() for model in models])
    return first


def _warn_of_datasets(models: Sequence[EvaluatedModel]) -> None:
    """Log a warning where images, or data that is not measured, differ between the models."""
    of_model = {
        model.name: tables.read_metadata(model.root / "data/catalog.parquet").get(FINGERPRINT)
        for model in models
    }
    if len(set(of_model.values())) > 1:
        logger.warning(
            "two datasets, of the same gallery but other images or training data: %s",
            ", ".join(f"{name} of {(found or 'unknown')[:7]}" for name, found in of_model.items()),
        )


def _read_side(models: Sequence[EvaluatedModel]) -> Side:
    return Side(
        [_read_queries(model) for model in models],
        trained=any(model.is_trained for model in models),
    )


def _read_queries(model: EvaluatedModel) -> pd.DataFrame:
    path = model.results / "queries.parquet"
    table: pd.DataFrame = tables.read_table(path, tables.QUERIES).to_pandas()
    return table


@glyphs_warned_once()
def _draw_sheets(
    sides: Sequence[Sequence[EvaluatedModel]], evaluation_set: EvaluationSet, results: OutputFolder
) -> None:
    """Draw the sheets of the first training of each side, if there are images."""
    a, b = (models[0] for models in sides)
    root = next((model.root for model in (a, b) if (model.root / IMAGES).is_dir()), None)
    try:
        if root is None:
            raise UserError(
                f"{IMAGES} is not in DVC's cache; {advise_making(fetch=f'dvc fetch {IMAGES}')}"
            )
        images = PackedImages(root / IMAGES)
        images.require(sorted(evaluation_set.gallery)[:1])
    except UserError as error:
        logger.warning("no sheets: %s", error)
        return
    queries = (_read_queries(a), _read_queries(b))
    neighbors_a, neighbors_b = (
        tables.read_table(model.results / "neighbors.parquet", tables.NEIGHBORS).to_pandas()
        for model in (a, b)
    )
    names = {
        str(image_id): ", ".join(classes) for image_id, classes in evaluation_set.classes.items()
    }
    headings = (f"A: {a.name}", f"B: {b.name}")
    for sheet, gained in zip(SHEET_FILES, (True, False), strict=True):
        shown = choose_changed_queries(*queries, gained=gained, rows=ROWS)
        rows = comparison_rows(shown, queries, (neighbors_a, neighbors_b), names, columns=COLUMNS)
        results.add_sheet(draw_comparison_sheet(shown.title, rows, headings, images.decode), sheet)
