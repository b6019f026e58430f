"""Where the arithmetic runs, in which precision, and that it repeats to the bit."""

import os

import torch


def find_device() -> torch.device:
    """Return the CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(precision: str, on: torch.device) -> torch.dtype:
    """Return the dtype that autocast multiplies in: torch.float32 (no autocast) or torch.bfloat16.

    "auto" is bf16 where the hardware multiplies it, "fp32" and "bf16" are what they say.
    """
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bf16(on) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def _multiplies_bf16(on: torch.device) -> bool:
    if on.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(on: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which a model runs in `dtype` (none at all for float32)."""
    return torch.autocast(on.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def make_deterministic() -> None:
    """Make torch repeat itself to the bit on one machine; call before CUDA is first used.

    An operation that has no deterministic kernel raises instead of varying.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Else torch writes NaN into all memory that it takes, lest somebody read it before it is
    # written. Nothing here does: with it, a loss would be NaN.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
