"""The device and the precision a model runs in, and the setting that repeats its bits."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def find_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def name_device(device: torch.device) -> str:
    """Return what may change the bits of a model on a device: for CUDA, its name and libraries."""
    if device.type != "cuda":
        return f"{device.type}, {torch.get_num_threads()} threads"
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    versions = f"CUDA {torch.version.cuda}, cuDNN {cudnn}"
    return f"{torch.cuda.get_device_name(device)}, {versions}"


def describe_device(precision: str) -> tuple[str, str]:
    """Return `name_device` of this process, and "fp32" or "bf16", as which it takes `precision`."""
    device = find_device()
    return name_device(device), name_precision(resolve_precision(precision, device))


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype that autocast multiplies in: torch.float32 (no autocast) or torch.bfloat16.

    precision: "fp32", "bf16", or "auto": bf16 if the hardware multiplies it, else fp32.
    """
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def usable_workers(wanted: int) -> int:
    """Return `wanted` processes, but no more than there are cores: they change no result."""
    return min(wanted, usable_cores())


def usable_cores() -> int:
    """Return how many cores there are for this process.

    Where torchrun trains on several GPUs of this machine, each of its processes has its share.
    """
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute each operation of the block, in all threads of this process, by one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def name_precision(dtype: torch.dtype) -> str:
    """Return "fp32" or "bf16": what `resolve_precision` made of "auto" on this computer."""
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which a model runs in `dtype`; it does nothing for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def make_deterministic() -> None:
    """Make torch give the same bits each time on one machine; call before CUDA is first used.

    An operation without a deterministic kernel raises an error.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As use_deterministic_algorithms, which also sets torch's compiler and so imports it (seconds).
    torch.set_deterministic_debug_mode("error")
    # Otherwise torch fills all new memory with NaN, to expose code that reads it before writing.
    # The losses would then be NaN.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
