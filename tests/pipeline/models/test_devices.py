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
