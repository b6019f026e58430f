"""`lookalike compare`: two sides, how much they differ, and whether that is more than luck."""

import sys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from app.experiments import lineage_diff
from app.experiments.dvc_lock import Provenance
from app.experiments.queued_runs import align
from app.experiments.revisions import IMAGES, TRAINED, EvaluatedModel, differs_from_lock, open_side
from app.output_folder import OutputFolder
from pipeline.comparison.comparable import TestSet, check_comparable, read_test_set
from pipeline.comparison.compare import COMPARISON, MAIN, Comparison, Side, compare
from pipeline.comparison.paired_bootstrap import FEWEST_UNITS, MOST_SHARED
from pipeline.comparison.verdict import judge
from pipeline.data import tables
from pipeline.data.shards import PackedImages
from pipeline.errors import UserError
from pipeline.figures.change_sheets import change_rows, choose_changes, draw_changes

SHEETS = ("better.png", "worse.png")
ROWS, COLUMNS = 8, 5  # of a sheet
# In place of an interval that holds everything, of which `paired_intervals` tells the cases.
INCONCLUSIVE = "inconclusive"
TOO_FEW = (
    f"fewer than {FEWEST_UNITS} classes or queries, or one label on so many that over "
    f"{MOST_SHARED:.0%} of their pairs share a label"
)


def run(a: str, b: str, *, out: Path) -> None:
    """Print how the side `b` differs from `a`, and write the figures and two sheets to `out`.

    a, b: as `app.experiments.revisions.open_side` takes them.

    Raises:
        UserError: a side is not found, is several settings, or was asked something else; `out`
            holds a file that would be overwritten and that no earlier comparison wrote.
    """
    folder = OutputFolder(out, kind=COMPARISON, what="comparison", sheets=SHEETS)
    with TemporaryDirectory() as scratch:
        sides = [
            open_side(text, letter=letter, scratch=Path(scratch))
            for letter, text in (("A", a), ("B", b))
        ]
        for letter, side in zip("AB", sides, strict=True):
            _check_side(side, letter=letter)
        asked = _check_asked(sides)
        print(_tell_sides(sides))
        found = compare(_results(sides[0]), _results(sides[1]), asked.classes)
        print(_tell_counts(found))
        print(_tabulate(found.figures))
        table = pa.Table.from_pandas(found.figures, preserve_index=False)
        with folder.writing() as results:
            results.add_table(table.cast(pa.schema(COMPARISON.columns)))
            _draw_sheets(sides, asked, results)
    print(f"written: {', '.join(str(path) for path in folder.written)}")
    for line in _tell_luck(sides, found):
        print(line)
    print(f"verdict: {_tell_verdict(sides, found.figures)}")


def _check_side(side: Sequence[EvaluatedModel], *, letter: str) -> None:
    for each in side:
        if differs_from_lock(each):
            _warn(
                f"{letter}: results/{each.model} is not what dvc.lock tells the settings of; "
                "run: dvc repro, or: dvc checkout"
            )
    if len(side) == 1:
        return
    first, *others = side
    for other in others:
        lines = ["another model"] if other.model != first.model else []
        if first.made and other.made:
            lines += lineage_diff.list_what_divides(first.made, other.made)
        if lines:
            raise UserError(
                f"{letter}: found two settings, '{first.name}' and '{other.name}' ({lines[0]}); "
                "allowed: trainings of one setting, which differ in train.seed alone"
            )


def _check_asked(sides: Sequence[Sequence[EvaluatedModel]]) -> TestSet:
    """Return what the first was asked; raises a UserError if any was asked something else."""
    first, *others = [read_test_set(each.root / "data") for side in sides for each in side]
    for other in others:
        check_comparable(first, other)
    return first


def _results(side: Sequence[EvaluatedModel]) -> Side:
    return Side(
        [_read_queries(each) for each in side],
        trained=_is_trained(side),
    )


def _read_queries(each: EvaluatedModel) -> pd.DataFrame:
    path = each.results / "queries.parquet"
    table: pd.DataFrame = tables.read_table(path, tables.QUERIES).to_pandas()
    return table


def _tell_sides(sides: Sequence[Sequence[EvaluatedModel]]) -> str:
    lines = [
        f"{letter}: {', '.join(each.describe() for each in side)}"
        for letter, side in zip("AB", sides, strict=True)
    ]
    a, b = (side[0] for side in sides)
    if a.made is None or b.made is None:
        return "\n".join([*lines, "settings: not known, since dvc.lock does not have them"])
    one_model = a.model == b.model
    differ = [] if one_model else [f"model: {a.model} -> {b.model}"]
    differ += lineage_diff.list_differences(a.made, b.made, one_model=one_model)
    return "\n".join([*lines, *(f"  {line}" for line in differ or ["no setting differs"])])


def _tell_counts(found: Comparison) -> str:
    text = f"{found.shared} queries, resampled by "
    text += f"their {found.units} classes" if found.by_class else "themselves (too few classes)"
    if found.only_a or found.only_b:
        text += f"; left out: {found.only_a} that A alone has, {found.only_b} of B alone"
    return text


def _tabulate(figures: pd.DataFrame) -> str:
    rows = [["metric", "A", "B", "difference", "95% interval", "p", "p (Holm)"]]
    for row in figures.to_dict("records"):
        corrected = "-" if pd.isna(row["p_holm"]) else _show_p(row["p_holm"])
        interval = _show_interval(row)
        shown = [f"{row['a']:.3f}", f"{row['b']:.3f}", f"{row['difference']:+.3f}", interval]
        rows.append([row["metric"], *shown, _show_p(row["p"]), corrected])
    return align(rows)


def _show_interval(row: Mapping[Hashable, Any]) -> str:
    if not np.isfinite(row["low"]):
        return INCONCLUSIVE
    return f"{row['low']:+.3f} to {row['high']:+.3f}"


def _show_p(p: float) -> str:
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def _draw_sheets(
    sides: Sequence[Sequence[EvaluatedModel]], asked: TestSet, results: OutputFolder
) -> None:
    """Draw the sheets of the first training of each side, where there are images."""
    pair = [side[0] for side in sides]
    root = next((each.root for each in pair if (each.root / IMAGES).is_dir()), None)
    try:
        if root is None:
            raise UserError(f"{IMAGES} is not in DVC's cache; run: dvc fetch {IMAGES}")
        packed = PackedImages(root / IMAGES)
        packed.require(sorted(asked.gallery)[:1])
    except UserError as error:
        _warn(f"no sheets: {error}")
        return
    queries = (_read_queries(pair[0]), _read_queries(pair[1]))
    neighbors = tuple(
        tables.read_table(each.results / "neighbors.parquet", tables.NEIGHBORS).to_pandas()
        for each in pair
    )
    names = {str(image_id): ", ".join(known) for image_id, known in asked.classes.items()}
    headings = (f"A: {pair[0].name}", f"B: {pair[1].name}")
    for sheet, gained in zip(SHEETS, (True, False), strict=True):
        cases = choose_changes(*queries, gained=gained, rows=ROWS)
        rows = change_rows(cases, queries, (neighbors[0], neighbors[1]), names, columns=COLUMNS)
        results.add_sheet(draw_changes(cases.title, rows, headings, packed.decode), sheet)


def _tell_luck(sides: Sequence[Sequence[EvaluatedModel]], found: Comparison) -> list[str]:
    """Return what the intervals do not hold, where that is not nothing."""
    trained = [letter for letter, side in zip("AB", sides, strict=True) if _is_trained(side)]
    if found.luck or not trained or _are_one_setting(sides):
        return []
    several = " ".join(f"{each}1,{each}2" if each in trained else each for each in "AB")
    return [
        "the luck of training is not in these intervals; to put it in: "
        f"train {' and '.join(trained)} once more",
        f"(dvc exp run -S train.seed=8), then: lookalike compare {several}",
    ]


def _is_trained(side: Sequence[EvaluatedModel]) -> bool:
    return any(each.made.trained if each.made else each.model == TRAINED for each in side)


def _are_one_setting(sides: Sequence[Sequence[EvaluatedModel]]) -> bool:
    made = _made(sides)
    models = {each.model for side in sides for each in side}
    return len(models) == 1 and None not in made and lineage_diff.are_one_setting(_known(made))


def _made(sides: Sequence[Sequence[EvaluatedModel]]) -> list[Provenance | None]:
    return [each.made for side in sides for each in side]


def _known(made: Sequence[Provenance | None]) -> list[Provenance]:
    return [each for each in made if each is not None]


def _tell_verdict(sides: Sequence[Sequence[EvaluatedModel]], figures: pd.DataFrame) -> str:
    if not _are_one_setting(sides):
        return describe_verdict(figures)
    seeds = [lineage_diff.training_seed(made) for made in _known(_made(sides))]
    if len(set(seeds)) == 1:
        return f"no difference: one setting and one seed; {_describe_main(figures)}"
    listed = ", ".join(str(seed) for seed in seeds)
    return (
        f"no difference: trainings of one setting (seeds {listed}); "
        f"{_describe_main(figures)} is luck"
    )


def describe_verdict(figures: pd.DataFrame) -> str:
    """Return the verdict on a COMPARISON table, and the metrics that its word does not speak of."""
    verdict = judge(figures)
    if verdict.word == "inconclusive":
        return f"inconclusive: {TOO_FEW}; {_describe_main(figures)}"
    parts = {"better": ", ".join(verdict.up), "worse": ", ".join(verdict.down)}
    parts.pop(verdict.word, None)
    told = [f"{word} in {metrics}" for word, metrics in parts.items() if metrics]
    return "; ".join([f"{verdict.word}: {_describe_main(figures)}", *told])


def _describe_main(figures: pd.DataFrame) -> str:
    row = figures.set_index("metric").loc[MAIN]
    return f"{MAIN} {row['difference']:+.3f} ({_show_interval(row.to_dict())})"


def _warn(line: str) -> None:
    print(f"compare: {line}", file=sys.stderr)
