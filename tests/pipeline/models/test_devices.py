"""The precision of a device."""

import pytest
import torch

from pipeline.models import devices


def test_precision_auto_is_bf16_only_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for capabilities, expected in (
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx2": True}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda held=capabilities: held)
        assert devices.resolve_precision("auto", cpu) == expected
        name = devices.name_precision(expected)
        assert devices.resolve_precision(name, cpu) == expected
    assert devices.resolve_precision("fp32", cpu) == torch.float32
    assert devices.resolve_precision("bf16", cpu) == torch.bfloat16


def test_workers_are_at_most_one_a_core_of_those_that_a_process_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert [devices.usable_workers(wanted) for wanted in (0, 3, 16)] == [0, 3, 8]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert [devices.usable_workers(wanted) for wanted in (0, 1, 16)] == [0, 1, 2]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert [devices.usable_workers(wanted) for wanted in (0, 16)] == [0, 1]
