"""Which outputs of a run are those of dvc.lock, and where the first difference arose."""

from pathlib import Path

import pytest

from app.experiments.dvc_adapter.lock import Lock
from app.experiments.verification import (
    MACHINE,
    read_machine,
    record_machine,
    verify_outputs,
)
from pipeline.errors import UserError
from pipeline.machine import describe_machine


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


def test_an_output_that_was_not_made_differs() -> None:
    found = lock()
    verified = verify_outputs(lock(), Lock({k: v for k, v in found.stages.items() if k != "plot"}))
    assert verified.begins == {"plot": ["sheet"]}


def test_the_machine_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    facts = describe_machine("portable")
    assert facts["threads"] == "8"
    assert {"processor", "cores", "torch", "faiss-cpu"} <= facts.keys()
    record_machine(facts, tmp_path / MACHINE)
    assert read_machine((tmp_path / MACHINE).read_text()) == facts
    assert read_machine(None) == {}
    with pytest.raises(UserError) as error:
        read_machine("[1]")
    assert str(error.value) == (
        "machine.json: not what `lookalike verify --record` writes; run it again"
    )
