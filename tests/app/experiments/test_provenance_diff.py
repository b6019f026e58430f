"""Which trainings are of one setting, how two settings differ, and what dvc.lock records."""

from typing import Any

import pytest

from app.experiments.dvc_adapter.lock import Provenance
from app.experiments.provenance_diff import (
    are_one_setting,
    find_training_seed,
    list_differences,
    list_setting_differences,
)

CODE = {"pipeline/loss.py": "1", "pipeline/loop.py": "2", "images": "3"}


def trained(sources: dict[str, str] | None = None, **settings: Any) -> Provenance:
    values = {key.replace("__", "."): value for key, value in settings.items()}
    return Provenance({"seed": 7, "loss.name": "triplet"} | values, CODE | (sources or {}))


@pytest.mark.parametrize(
    ("other", "one"),
    [
        (trained(), True),
        (trained(train__seed=8), True),
        (trained(seed=8), True),
        (trained(train__workers=4, evaluate__k=[1]), True),
        (trained(loss__name="supcon"), False),
        (trained(loss__triplet__margin=0.2), False),
        (trained({"pipeline/loss.py": "9"}), False),
        (trained({"images": "9"}), False),
    ],
)
def test_trainings_of_one_setting_differ_only_in_seeds(other: Provenance, one: bool) -> None:
    assert are_one_setting([trained(), other]) == one
    assert are_one_setting([other, other, trained()]) == one


def test_the_seed_of_a_training_is_train_seed_or_else_seed() -> None:
    seeds = [trained(), trained(train__seed=None), trained(train__seed=0), trained(seed=3)]
    assert [find_training_seed(each) for each in seeds] == [7, 7, 0, 3]


def test_differences_include_code_and_data() -> None:
    a = trained(train__epochs=7, loss__triplet__margin=0.1)
    b = trained(
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


def test_setting_differences_leave_out_what_has_no_effect() -> None:
    a = trained(train__workers=2, train__seed=7, evaluate__k=[1])
    other = {"train__workers": 4, "train__seed": 8, "seed": 9, "evaluate__k": [2]}
    assert list_setting_differences(a, trained(**other)) == []
    assert list_setting_differences(a, trained({"pipeline/loss.py": "9"}, **other)) == [
        "code: pipeline/loss.py"
    ]


def test_a_folder_of_code_is_code() -> None:
    """As dvc.yaml names most of the code."""
    a, b = (trained({"pipeline/training": md5, "stages/train.py": md5}) for md5 in ("1.dir", "2"))
    assert list_differences(a, b, one_model=True) == ["code: pipeline/training and 1 more"]
