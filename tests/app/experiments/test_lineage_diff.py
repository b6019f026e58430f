"""What makes two trainings one setting, and how the difference of two settings is told."""

from typing import Any

import pytest

from app.experiments.dvc_lock import Provenance, read_lock
from app.experiments.lineage_diff import (
    are_one_setting,
    list_differences,
    list_what_divides,
    training_seed,
)
from pipeline.errors import UserError

CODE = {"pipeline/loss.py": "1", "pipeline/loop.py": "2", "images": "3"}


def made(sources: dict[str, str] | None = None, **settings: Any) -> Provenance:
    values = {key.replace("__", "."): value for key, value in settings.items()}
    return Provenance({"seed": 7, "loss.name": "triplet"} | values, CODE | (sources or {}))


@pytest.mark.parametrize(
    ("other", "one"),
    [
        (made(), True),
        (made(train__seed=8), True),
        (made(seed=8), True),
        (made(train__workers=4, evaluate__k=[1]), True),
        (made(loss__name="supcon"), False),
        (made(loss__triplet__margin=0.2), False),
        (made({"pipeline/loss.py": "9"}), False),
        (made({"images": "9"}), False),
    ],
)
def test_one_setting_is_the_same_but_for_seeds(other: Provenance, one: bool) -> None:
    assert are_one_setting([made(), other]) == one
    assert are_one_setting([other, other, made()]) == one


def test_a_training_is_drawn_from_its_own_seed_or_from_that_of_all() -> None:
    seeds = [made(), made(train__seed=None), made(train__seed=0), made(seed=3)]
    assert [training_seed(each) for each in seeds] == [7, 7, 0, 3]


def test_differences_are_told_with_code_and_data() -> None:
    a = made(train__epochs=7, loss__triplet__margin=0.1)
    b = made(
        {"pipeline/loss.py": "9", "pipeline/loop.py": "9", "images": "9"},
        train__epochs=7,
        train__seed=None,
        loss__name="supcon",
        loss__supcon__temperature=0.1,
    )
    assert list_differences(a, b, one_model=True) == [
        "loss.name: triplet -> supcon",
        "loss.triplet.margin: 0.1 -> -",
        "loss.supcon.temperature: - -> 0.1",
        "code: pipeline/loss.py and 1 more",
        "data: images",
    ]
    assert list_differences(a, b, one_model=False) == [
        "loss.name: triplet -> supcon",
        "code: pipeline/loss.py and 1 more",
        "data: images",
    ]


def test_what_divides_two_settings_is_told_without_what_has_no_effect() -> None:
    a = made(train__workers=2, train__seed=7, evaluate__k=[1])
    other = {"train__workers": 4, "train__seed": 8, "seed": 9, "evaluate__k": [2]}
    assert list_what_divides(a, made(**other)) == []
    assert list_what_divides(a, made({"pipeline/loss.py": "9"}, **other)) == [
        "code: pipeline/loss.py"
    ]


LOCK = """\
schema: '2.0'
stages:
  split:
    deps: [{path: data, md5: d.dir}]
    params: {params.yaml: {seed: 7, split: {by: class}}}
    outs: [{path: splits, md5: s}]
  train:
    deps: [{path: splits, md5: s}, {path: loss.py, md5: l}]
    params: {params.yaml: {loss.name: triplet, loss.triplet: {margin: 0.1}}}
    outs: [{path: model, md5: m}]
  evaluate@finetuned:
    deps: [{path: model, md5: m}, {path: splits, md5: s}]
    outs: [{path: results/finetuned, md5: f.dir}]
  evaluate@baseline:
    deps: [{path: splits, md5: s}]
    outs: [{path: results/baseline, md5: b.dir}]
  plot:
    deps: [{path: results/baseline, md5: b.dir}, {path: plot.py, md5: p}]
    params: {params.yaml: {plot: {rows: 8}}}
    outs: [{path: plots, md5: x.dir}]
"""


def test_a_lock_tells_what_made_a_file_and_nothing_else() -> None:
    lock = read_lock(LOCK, where="dvc.lock")
    assert lock.models == ["finetuned", "baseline"]
    assert lock.hash_of("results/baseline") == "b.dir"
    assert lock.hash_of("data") is None
    trained, untrained = (lock.trace(f"results/{model}") for model in lock.models)
    split = {"seed": 7, "split.by": "class"}
    assert trained.settings == split | {"loss.name": "triplet", "loss.triplet.margin": 0.1}
    assert trained.sources == {"data": "d.dir", "loss.py": "l"}
    assert trained.trained
    assert untrained == Provenance(
        split, {"data": "d.dir"}, frozenset({"split", "evaluate@baseline"})
    )
    assert not untrained.trained


@pytest.mark.parametrize("text", ["", "a: 1", "[", "- 1"])
def test_what_is_no_lock_is_told(text: str) -> None:
    with pytest.raises(UserError) as error:
        read_lock(text, where="A: 'x' (1a2b3c4): dvc.lock")
    assert str(error.value) == "A: 'x' (1a2b3c4): dvc.lock: not a dvc.lock; run: dvc repro"
