"""Sweeps: what is planned, and the table. A real one runs in tests/test_sweep_runs.py."""

from pathlib import Path
from typing import Any

import pytest

from app.experiments.queued_runs import Origin, Run
from app.experiments.recipes import Recipe, override
from app.experiments.sweeps import FinishedRun, plan_runs, tabulate
from pipeline.errors import UserError
from tests.helpers.paths import ROOT

PARAMS = (ROOT / "params.yaml").read_text()


def recipe(settings: dict[str, Any], sweep: dict[str, list[Any]]) -> Recipe:
    return Recipe(Path("recipes/tiny.yaml"), "Tiny", settings, [sweep] if sweep else [])


def planned(settings: dict[str, Any], sweep: dict[str, list[Any]], **origin: str) -> list[Run]:
    defaults = {"commit": "abc", "diff": "", "params": PARAMS}
    return plan_runs(recipe(settings, sweep), Origin(**defaults | origin))


def test_each_combination_is_one_run_with_the_settings_of_the_recipe() -> None:
    found = planned(
        {"loss.name": "triplet"}, {"train.epochs": [3, 10], "loss.triplet.margin": [0.3, 0.5, 0.3]}
    )
    assert [run.label for run in found] == [
        "epochs=3 margin=0.3",
        "epochs=3 margin=0.5",
        "epochs=10 margin=0.3",
        "epochs=10 margin=0.5",
    ]
    assert found[1].settings == {
        "loss.name": "triplet",
        "train.epochs": 3,
        "loss.triplet.margin": 0.5,
    }


def test_the_same_work_has_the_same_name_and_other_work_another() -> None:
    def names(**changed: Any) -> set[str]:
        sweep = changed.pop("sweep", {"train.epochs": [3, 10]})
        return {run.name for run in planned(changed.pop("settings", {}), sweep, **changed)}

    assert names() == names()
    assert names() < names(sweep={"train.epochs": [3, 10, 20]})
    for changed in ({"commit": "abd"}, {"diff": "+ a line"}, {"settings": {"seed": 8}}):
        assert not names() & names(**changed)


@pytest.mark.parametrize(
    ("settings", "sweep", "line"),
    [
        (
            {},
            {},
            "recipes/tiny.yaml: sweep: found none; allowed: dotted keys, each with a list; "
            "without: lookalike recipe apply tiny && dvc repro",
        ),
        (
            {},
            {"train.epochz": [3]},
            "recipes/tiny.yaml: epochz=3: train.epochz: unknown key; found 'epochz'; ",
        ),
        (
            {"loss.name": "smooth_ap"},
            {"batches.pk.per_class": [4, 1]},
            "recipes/tiny.yaml: per_class=1: batches.pk.per_class: found 1 with loss.name "
            "'smooth_ap', which needs two images of a class; allowed: 2 or more",
        ),
        (
            {"data.name": "folder"},
            {"data.source": ["/elsewhere", "not/here"]},
            "recipes/tiny.yaml: source=not/here: data.source: found 'not/here'; a queued "
            "experiment finds only what is in git or DVC; set data.source to an absolute path: ",
        ),
        (
            {"data.source": "/d/${HOME}/x"},
            {"train.epochs": [3]},
            "recipes/tiny.yaml: epochs=3: data.source: found '/d/${HOME}/x'; allowed in an "
            "experiment: no '${', which DVC would replace by another value; write that value",
        ),
    ],
)
def test_what_cannot_be_swept_is_one_line_before_anything_is_queued(
    settings: dict[str, Any], sweep: dict[str, list[Any]], line: str
) -> None:
    with pytest.raises(UserError) as error:
        planned(settings, sweep)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_a_mistake_that_the_users_values_take_part_in_names_them() -> None:
    swept = recipe({"seed": 1}, {"train.epochs": [3]})
    mine = override(swept, ["train.augment.crop=[0.9, 0.1]"], PARAMS)
    with pytest.raises(UserError) as error:
        plan_runs(mine, Origin(commit="abc", diff="", params=PARAMS))
    assert str(error.value) == (
        "recipes/tiny.yaml with -S train.augment.crop=[0.9, 0.1]: epochs=3: train.augment.crop: "
        "found [0.9, 0.1]; allowed: least <= most, both from 0 to 1"
    )


def test_the_table_has_a_row_for_each_combination_and_fits_in_100_columns() -> None:
    swept = [Run(f"n{margin}", {"margin": margin, "epochs": 10}, {}) for margin in (0.3, 0.5)]
    metrics = {
        "metrics/details/train.json": {"val_map_at_r": 0.5},
        "metrics/details/finetuned.json": {
            "recall_at_1": 0.61,
            "precision_at_5": 0.4,
            "map": 0.3333,
        },
    }
    table = tabulate(swept, {"n0.5": FinishedRun("1a2b3c4", metrics)})
    assert table.splitlines() == [
        "margin  epochs  val_map_at_r  recall_at_1  precision_at_5    map  experiment",
        "   0.3      10             -            -               -      -      failed",
        "   0.5      10         0.500        0.610           0.400  0.333     1a2b3c4",
    ]


def test_over_seeds_the_mean_and_the_deviation_follow() -> None:
    swept = planned({}, {"train.seed": [1, 2], "head.dim": [64, 128]})
    metrics = {"metrics/details/train.json": {"val_map_at_r": 0.5}}
    found = {
        run.name: FinishedRun(
            "1a2b3c4",
            metrics
            | {"metrics/details/finetuned.json": {"map": 0.3 + 0.1 * run.settings["train.seed"]}},
        )
        for run in swept
        if run.label != "seed=2 dim=128"
    }
    assert tabulate(swept, found).splitlines() == [
        "seed  dim  val_map_at_r    map  experiment",
        "   1   64         0.500  0.400     1a2b3c4",
        "   1  128         0.500  0.400     1a2b3c4",
        "   2   64         0.500  0.500     1a2b3c4",
        "   2  128             -      -      failed",
        "mean   64         0.500  0.450     2 seeds",
        "  sd   64         0.000  0.071     2 seeds",
    ]


@pytest.mark.parametrize(
    ("sweep", "rows"),
    [
        ({"seed": [1, 2]}, ["   1", "   2"]),  # of the data and the split too
        (
            {"seed": [1, 2], "train.seed": [3, 4]},
            [
                *("   1           3", "   1           4", "   2           3", "   2           4"),
                *("   1        mean", "   1          sd", "   2        mean", "   2          sd"),
            ],
        ),
    ],
)
def test_only_the_seed_of_the_training_is_one_to_average_over(
    sweep: dict[str, list[Any]], rows: list[str]
) -> None:
    """Also where the recipe sets train.seed beside a swept `seed`."""
    swept = planned({"train.seed": 9} if len(sweep) == 1 else {}, sweep)
    found = {
        run.name: FinishedRun("1a2b3c4", {"metrics/details/finetuned.json": {"map": 0.5}})
        for run in swept
    }
    table = tabulate(swept, found).splitlines()[1:]
    assert [line.split("  0.")[0] for line in table] == rows


def test_the_table_names_the_datasets_where_they_differ() -> None:
    swept = [Run(f"n{count}", {"classes": count}, {}) for count in (8, 16, 32)]
    results = {
        f"n{count}": FinishedRun(
            "1a2b3c4",
            {
                "metrics/details/finetuned.json": {
                    "dataset": "products",
                    "fingerprint": f"{count:016d}"[::-1],
                    "map": 0.5,
                }
            },
        )
        for count in (8, 16)
    }
    assert tabulate(swept, results).splitlines() == [
        "classes           dataset    map  experiment",
        "      8  products 8000000  0.500     1a2b3c4",
        "     16  products 6100000  0.500     1a2b3c4",
        "     32                 -      -      failed",
    ]
