"""Search spaces: what is sampled, and every mistake reported before anything runs."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from app.experiments.recipes import Recipe
from app.experiments.search_spaces import read_space
from pipeline.errors import UserError
from tests.helpers.paths import ROOT

PARAMS = (ROOT / "params.yaml").read_text()


def recipe(tune: Any, **settings: Any) -> Recipe:
    return Recipe(Path("recipes/tiny.yaml"), "Tiny", settings, (), tune)


def error_of(tune: Any, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        read_space(recipe(tune, **settings), PARAMS)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix("recipes/tiny.yaml: tune")


def test_a_list_is_a_choice_and_ends_are_a_range_of_whole_numbers_if_both_are_whole() -> None:
    space = {
        "index.distance": ["cosine", "euclidean"],
        "train.patience": [None, 3],
        "optimizer.adamw.lr": {"low": 1e-4, "high": 0.01, "log": True},
        "batches.pk.classes": {"low": 4, "high": 16, "step": 4},
        "loss.multi_similarity.beta": {"low": 10, "high": 50, "step": 10},
        "train.augment.hflip": {"low": 0, "high": 0.5},
    }
    read = read_space(recipe({"trials": 20, "space": space}), PARAMS)
    assert read.trials == 20
    assert read.dimensions == {
        "index.distance": CategoricalDistribution(["cosine", "euclidean"]),
        "train.patience": CategoricalDistribution([None, 3]),
        "optimizer.adamw.lr": FloatDistribution(1e-4, 0.01, log=True),
        "batches.pk.classes": IntDistribution(4, 16, step=4),
        "loss.multi_similarity.beta": IntDistribution(10, 50, step=10),
        "train.augment.hflip": FloatDistribution(0.0, 0.5),
    }
    params = optuna.create_study().ask(dict(read.dimensions)).params
    assert type(params["batches.pk.classes"]) is int
    assert params["batches.pk.classes"] % 4 == 0


@pytest.mark.parametrize(
    ("tune", "found"),
    [
        (None, "none"),
        ([1], "[1]"),
        ({"space": {"head.dim": [8]}}, "{'space': {'head.dim': [8]}}"),
        ({"trials": 0, "space": {"head.dim": [8]}}, "{'trials': 0, 'space': {'head.dim': [8]}}"),
        ({"trials": True, "space": {"seed": [8]}}, "{'trials': True, 'space': {'seed': [8]}}"),
        ({"trials": 3, "space": {}}, "{'trials': 3, 'space': {}}"),
    ],
)
def test_a_wrong_form_is_one_line(tune: Any, found: str) -> None:
    assert error_of(tune).startswith(
        f": found {found}; allowed: trials, a whole number from 1, and space, dotted keys, each "
        "with a list of values; {low, high}, "
    )


def test_another_key_of_the_section_is_named() -> None:
    tune = {"trials": 3, "space": {"head.dim": [8]}, "pruner": "none"}
    assert error_of(tune) == ": found 'pruner'; allowed: trials, space"


@pytest.mark.parametrize(
    "values",
    [
        *(8, "8", [], [[0.6, 1.0]], {"low": 1}, {"low": 8, "high": 4}, {"low": 1, "high": "4"}),
        {"low": 1, "high": 4, "stepp": 1},
        {"low": 1, "high": 4, "step": 0},
        {"low": 1, "high": 5, "step": 3},
        {"low": 0.1, "high": 0.4, "step": 0.1},
        {"low": 0.0, "high": 0.4, "log": True},
        {"low": 1, "high": 4, "step": 2, "log": True},
        {"low": True, "high": 4},
    ],
)
def test_values_that_cannot_be_sampled_are_one_line(values: Any) -> None:
    assert error_of({"trials": 3, "space": {"head.dim": values}}) == (
        f".space: head.dim: found {values!r}; allowed: a list of values; {{low, high}}, optionally "
        "with log: true if low is above 0; or, for whole numbers, {low, high, step}, where step "
        "divides high - low"
    )


@pytest.mark.parametrize(
    "key",
    [
        *("seed", "launch", "data.products.image_size", "download.max_side", "split.val_fraction"),
        *("train.monitor", "embed.hflip", "index.factory", "evaluate.k", "plot.rows"),
        *("track.experiment", "train.workers", "cluster", "added.source", "index.recall"),
    ],
)
def test_a_key_that_changes_validation_or_nothing_is_refused(key: str) -> None:
    assert error_of({"trials": 3, "space": {key: [1, 2]}}) == (
        f".space: {key}: cannot be searched, since it changes what validation measures, or "
        "nothing of it; fixed are added, cluster, data, download, embed, evaluate, index.factory, "
        "index.recall, launch, plot, seed, split, track, train.monitor, train.workers; set it "
        "beside `tune` instead"
    )


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"head.dmi": [8]}, ".space: head.dmi: unknown key; found 'dmi'; allowed: dim, "),
        ({"head": [8]}, ".space: head: found 8; allowed: a mapping of keys"),
        (
            {"train.augment.hflip": {"low": 0, "high": 1}},
            ".space: train.augment.hflip: found {'low': 0, 'high': 1}, of which only whole numbers "
            "would be sampled; write 0.0 and 1.0; or, if only whole numbers are wanted, add a step",
        ),
        ({3: [8]}, ".space: 3: unknown key; found '3'; allowed: added, "),
        ({"head.dim": [8, 0]}, ".space: head.dim: found 0; allowed: greater than or equal to 1"),
        (
            {"train.augment.hflip": {"low": 0.5, "high": 1.5}},
            ".space: train.augment.hflip: found 1.5; allowed: less than or equal to 1",
        ),
        (
            {"batches.pk.per_class": [4, 1]},
            ".space: batches.pk.per_class: found 1 with loss.name 'smooth_ap', which needs two "
            "images of a class; allowed: 2 or more",
        ),
    ],
)
def test_a_value_that_params_do_not_allow_is_one_line(values: dict[Any, Any], line: str) -> None:
    smooth_ap = {"loss.name": "smooth_ap"}
    assert error_of({"trials": 3, "space": values}, **smooth_ap).startswith(line)


def test_the_options_of_a_block_that_is_never_chosen_are_refused() -> None:
    margin = {"loss.triplet.margin": {"low": 0.1, "high": 0.5}}
    assert error_of({"trials": 3, "space": margin}) == (
        ".space: loss.triplet.margin: would change nothing, since loss.name is multi_similarity; "
        "set loss.name beside `tune`, or search it too"
    )
    either = {"loss.name": ["triplet", "supcon"]} | margin
    assert read_space(recipe({"trials": 3, "space": either}), PARAMS).dimensions.keys() == {
        "loss.name",
        "loss.triplet.margin",
    }
    read_space(recipe({"trials": 3, "space": margin}, **{"loss.name": "triplet"}), PARAMS)
