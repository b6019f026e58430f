"""What a run was computed by: the processor, the threads and the versions of the libraries."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# What computes, or writes the bytes of a file.
LIBRARIES = (
    "torch",
    "torchvision",
    "pytorch-metric-learning",
    "timm",
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "umap-learn",
    "faiss-cpu",
    "pyarrow",
    "pandas",
    "pillow",
    "pillow-heif",
    "matplotlib",
    "plotly",
)
EXTENSIONS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")


def describe_machine(bits: str) -> dict[str, str]:
    """Return name -> text of all that may change the bits of a run with `bits` of params.yaml."""
    return {
        "processor": _processor(),
        "extensions": " ".join(name for name in EXTENSIONS if name in _flags()),
        "gpu": _gpus(),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": os.environ.get("OMP_NUM_THREADS", "-"),
        "bits": bits,
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", _cpuinfo(), re.M)
    return found[1].strip() if found else platform.machine()


def _gpus() -> str:
    paths = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    found = [re.search(r"^Model:\s*(.*)$", path.read_text(), re.M) for path in paths]
    return ", ".join(match[1] for match in found if match) or "-"


def _flags() -> set[str]:
    found = re.search(r"^flags\s*: (.*)$", _cpuinfo(), re.M)
    return set(found[1].split()) if found else set()


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
