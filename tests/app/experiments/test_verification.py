"""Which outputs of a run are those of dvc.lock, and where the first difference arose."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.experiments.dvc_adapter.lock import Lock
from app.experiments.verification import (
    MACHINE,
    read_machine,
    record_machine,
    verify_outputs,
)
from pipeline.errors import UserError
from pipeline.machine import LIBRARIES, describe_machine
from tests.helpers.paths import ROOT


def lock(**md5: str) -> Lock:
    """images -> model -> vectors, and images -> sheet, with other hashes for `md5`."""
    known = {"images": "a", "model": "b", "vectors": "c", "sheet": "d"} | md5

    def files(*names: str) -> list[dict[str, str]]:
        return [{"path": name, "md5": known[name]} for name in names]

    return Lock(
        {
            "embed": {"deps": files("model"), "outs": files("vectors")},  # as DVC: in any order
            "download": {"outs": files("images")},
            "train": {"deps": files("images"), "outs": files("model")},
            "plot": {"deps": files("images"), "outs": files("sheet")},
        }
    )


def test_equal_runs_are_the_same() -> None:
    verified = verify_outputs(lock(), lock())
    assert verified.same == dict.fromkeys(("vectors", "images", "model", "sheet"), True)
    assert verified.differing == []
    assert verified.begins == {}


def test_a_difference_begins_where_all_that_was_read_is_the_same() -> None:
    verified = verify_outputs(lock(), lock(model="x", vectors="y"))
    assert verified.differing == ["vectors", "model"]
    assert verified.begins == {"train": ["model"]}


def test_two_differences_may_begin_apart() -> None:
    verified = verify_outputs(lock(), lock(vectors="x", sheet="y"))
    assert verified.begins == {"embed": ["vectors"], "plot": ["sheet"]}


READ = {"deps": [{"path": "pipeline/x.py", "md5": "1"}], "cmd": "train"}


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"deps": [{"path": "pipeline/x.py", "md5": "2"}]}, ["pipeline/x.py"]),
        ({"deps": [{"path": "pipeline/y", "md5": "1"}]}, ["pipeline/x.py", "pipeline/y"]),
        ({"params": {"params.yaml": {"train": {"epochs": 3}}}}, ["train.epochs"]),
        ({"cmd": "train --more"}, ["the command of train"]),
    ],
)
def test_a_stage_that_read_other_code_or_params_is_no_difference_of_machines(
    changed: dict[str, Any], names: list[str]
) -> None:
    def run(md5: str, vectors: str, **read: Any) -> Lock:
        train = READ | read | {"outs": [{"path": "model", "md5": md5}]}
        embed = {
            "deps": [{"path": "model", "md5": md5}],
            "outs": [{"path": "vectors", "md5": vectors}],
        }
        return Lock({"train": train, "embed": embed})

    verified = verify_outputs(run("a", "b"), run("x", "y", **changed))
    assert (verified.differing, verified.begins) == (["model", "vectors"], {})
    assert verified.changed == names
    assert verify_outputs(run("a", "b"), run("a", "y", **changed)).begins == {"embed": ["vectors"]}


def test_a_stage_that_is_not_recorded_is_named() -> None:
    found = lock()
    fewer = Lock({name: stage for name, stage in found.stages.items() if name != "plot"})
    assert verify_outputs(fewer, found).changed == ["stage plot"]


def test_an_output_that_was_not_made_differs() -> None:
    found = lock()
    verified = verify_outputs(lock(), Lock({k: v for k, v in found.stages.items() if k != "plot"}))
    assert verified.begins == {"plot": ["sheet"]}


@pytest.mark.parametrize(("threads", "told"), [("3", "3"), (None, "-")])
def test_the_machine_tells_the_threads_that_were_set(
    threads: str | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that `bits` means to be set, which may have come too late."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert describe_machine("portable")["threads"] == told


def test_the_machine_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    facts = describe_machine("portable")
    assert {"processor", "cores", "torch", "faiss-cpu"} <= facts.keys()
    record_machine(facts, tmp_path / MACHINE)
    assert read_machine((tmp_path / MACHINE).read_text()) == facts
    assert read_machine(None) == {}
    for text in ("[1]", "[" * 10**5):
        with pytest.raises(UserError) as error:
            read_machine(text)
        assert str(error.value) == (
            "machine.json: not what `lookalike verify --record` writes, so the machine that made "
            "dvc.lock is not known; whoever commits dvc.lock runs that again"
        )


def test_the_committed_machine_is_one_with_the_locked_versions() -> None:
    """Whoever commits dvc.lock after another `make lock` records the machine anew."""
    recorded = read_machine((ROOT / MACHINE).read_text())
    locked: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^(\S+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M
    ):
        locked.setdefault(name, set()).add(version)
    assert {name: recorded[name] for name in LIBRARIES if recorded[name] not in locked[name]} == {}
