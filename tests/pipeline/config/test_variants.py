"""Variants of the training: what they change, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.config.load import check_params, read_params
from pipeline.errors import UserError
from tests.helpers.overlay import overlaid

ARCFACE = {"name": "arcface", "arcface": {"margin": 28.6, "scale": 64.0}}


def with_variants(models: list[str] | None = None, **variants: Any) -> Any:
    return overlaid(
        {"models": models or ["baseline", "finetuned", *variants], "variants": variants}
    )


def problems_of(values: Any) -> list[str]:
    with pytest.raises(UserError) as error:
        check_params(values, where="params.yaml")
    return str(error.value).splitlines()


def test_a_variant_has_what_it_changes_and_all_else_of_the_file(tmp_path: Path) -> None:
    values = with_variants(
        arcface={"loss": ARCFACE, "head": {"name": "linear"}}, slow={"train": {"epochs": 9}}
    )
    path = tmp_path / "params.yaml"
    YAML().dump(values, path)
    params, arcface, slow = (
        read_params(path, variant=variant) for variant in (None, "arcface", "slow")
    )
    assert (arcface.loss.name, arcface.head.name, arcface.head.dim) == ("arcface", "linear", 128)
    assert (slow.loss.name, slow.train.epochs) == (params.loss.name, 9)
    changed = {"loss", "head"}
    assert arcface.model_dump(exclude=changed) == params.model_dump(exclude=changed)
    assert params.model_dump() == values
    with pytest.raises(UserError) as error:
        read_params(path, variant="arface")
    assert str(error.value) == (
        "variants: found 'arface'; allowed: arcface, slow; did you mean 'arcface'?"
    )


def test_a_value_of_a_variant_is_checked_as_any_other() -> None:
    assert problems_of(with_variants(a={"train": {"epochs": 0}})) == [
        "params.yaml: variants.a: train.epochs: found 0; allowed: greater than or equal to 1"
    ]
    assert problems_of(with_variants(a={"train": {"freeze": "backbone"}})) == [
        "params.yaml: variants.a: train.freeze: found 'backbone' with head.name 'none', so nothing "
        "is left to train"
    ]
    triplets = {"name": "triplets", "triplets": {"batch_size": 8}}
    loss = {"name": "triplet", "triplet": {"margin": 0.1, "swap": False}}
    assert problems_of(with_variants(a={"batches": triplets, "loss": loss})) == [
        "params.yaml: variants.a: batches.name: found 'triplets', and none are mined for the "
        "batches.name 'pk' of params.yaml; allowed: mined ones there too"
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"backbone": {"name": "resnet18"}},
            "variants.a.backbone: unknown key; found 'backbone'; allowed: batches, head, loss, "
            "miner, optimizer, scheduler, train",
        ),
        ({"train": 3}, "variants.a.train: found 3; allowed: a mapping of keys"),
        (
            {"loss": {"name": "arcface", "arcface": {"margin": 3.0}}},
            "variants.a.loss.arcface: without scale; allowed: all values of a block that "
            "params.yaml does not choose",
        ),
        (
            {"loss": {"name": "arcface"}},
            "variants.a.loss.arcface: without margin, scale; allowed: all values of a block that "
            "params.yaml does not choose",
        ),
        (
            {"loss": {"name": "arcface", "arcface": None}},
            "variants.a.loss.arcface: without margin, scale; allowed: all values of a block that "
            "params.yaml does not choose",
        ),
        (
            {"loss": {"arcface": {"margin": 3.0}}},
            "variants.a.loss.arcface: not the chosen one; allowed: multi_similarity",
        ),
    ],
)
def test_what_a_variant_may_not_change_is_refused(changes: Any, problem: str) -> None:
    assert problems_of(with_variants(a=changes)) == [f"params.yaml: {problem}"]


def test_a_block_without_options_need_not_be_given() -> None:
    values = with_variants(a={"scheduler": {"name": "cosine", "cosine": {"warmup": 0.0}}})
    assert check_params(values, where="").variants["a"]["scheduler"]["name"] == "cosine"
    miner = with_variants(a={"miner": {"name": "batch_hard"}})
    assert check_params(miner, where="").variants["a"] == {"miner": {"name": "batch_hard"}}


@pytest.mark.parametrize(
    "name", ["finetuned", "added", "A", "a b", "../x", "", "train", "best", "train-a", "download"]
)
def test_a_name_is_one_that_a_folder_may_have(name: str) -> None:
    assert problems_of(with_variants(**{name: {}}))[0] == (
        f"params.yaml: variants: found '{name}'; allowed: names of small letters, digits, - and _, "
        "but not baseline, finetuned, added, download, train, best, workspace or train-…"
    )


@pytest.mark.parametrize(
    "models", [["baseline", "finetuned"], ["baseline", "a"], ["baseline", "finetuned", "a", "a"]]
)
def test_the_models_are_the_two_and_the_variants(models: list[str]) -> None:
    assert problems_of(with_variants(models, a={})) == [
        f"params.yaml: models: found {models}; allowed: baseline, finetuned and the variants, once "
        "each: [baseline, finetuned, a]"
    ]


def test_models_may_be_in_any_order() -> None:
    models = ["a", "finetuned", "baseline"]
    assert check_params(with_variants(models, a={}), where="").models == models
