"""dvc.lock: what made a file, and the hash of a folder."""

import pytest

from app.experiments.dvc_adapter.lock import Lock, Provenance, read_lock
from pipeline.errors import UserError

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


def test_a_lock_traces_what_made_a_file_and_nothing_else() -> None:
    lock = read_lock(LOCK, where="dvc.lock")
    assert lock.models == ["finetuned", "baseline"]
    assert lock.hash_of("results/baseline") == "b.dir"
    assert lock.hash_of("data") is None
    trained, untrained = (lock.trace(f"results/{model}") for model in lock.models)
    split = {"seed": 7, "split.by": "class"}
    assert trained.settings == split | {"loss.name": "triplet", "loss.triplet.margin": 0.1}
    assert trained.sources == {"data": "d.dir", "loss.py": "l"}
    assert trained.is_trained
    assert untrained == Provenance(
        split, {"data": "d.dir"}, frozenset({"split", "evaluate@baseline"})
    )
    assert not untrained.is_trained


@pytest.mark.parametrize("text", ["", "a: 1", "[", "- 1"])
def test_a_file_that_is_not_a_lock_is_refused(text: str) -> None:
    with pytest.raises(UserError) as error:
        read_lock(text, where="A: 'x' (1a2b3c4): dvc.lock")
    assert str(error.value) == "A: 'x' (1a2b3c4): dvc.lock: not a dvc.lock; run: dvc repro"


def test_what_a_variant_changes_takes_the_place_of_what_it_replaces() -> None:
    base = {
        "loss": {"name": "triplet", "triplet": {"margin": 0.1}},
        "train": {"epochs": 5, "seed": None},
    }
    changes = {"loss": {"name": "arcface", "arcface": {"scale": 64.0}}, "train": {"seed": 8}}
    read = base | {"variants": {"a": changes}}
    stages = {
        "train": {
            "params": {"params.yaml": base},
            "outs": [{"path": "models/finetuned", "md5": "1"}],
        },
        "variant@a": {"params": {"params.yaml": read}, "outs": [{"path": "models/a", "md5": "2"}]},
        "backbone": {"outs": [{"path": "models/baseline", "md5": "3"}]},
    }
    lock = Lock(stages)
    assert lock.trace("models/finetuned").settings == {
        "loss.name": "triplet",
        "loss.triplet.margin": 0.1,
        "train.epochs": 5,
        "train.seed": None,
    }
    assert lock.trace("models/a").settings == {
        "loss.name": "arcface",
        "loss.arcface.scale": 64.0,
        "train.epochs": 5,
        "train.seed": 8,
    }
    paths = ("models/a", "models/finetuned", "models/baseline")
    assert [lock.trace(path).is_trained for path in paths] == [True, True, False]
