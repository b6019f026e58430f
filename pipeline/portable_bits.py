"""The same bits on every x86-64 processor with AVX2: what the numerical libraries are told.

A library chooses its code by the processor, and divides its sums by the number of cores. Each of
these settings is read once, when its library loads, so `fix` runs before any of them is imported.
"""

import os
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

# The threads that share a sum, wherever there are fewer cores too. Idle threads cost nothing
# measurable on 2 cores; with fewer of them, a machine of 8 cores could not use them all.
THREADS = 8

SETTINGS = {
    # torch's own kernels, and the convolutions of oneDNN.
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # Matrix products of torch. MKL has other code for each maker's processors but for this choice.
    "MKL_CBWR": "COMPATIBLE",
    # MKL would use no more threads than there are cores, and torch follows it.
    "MKL_DYNAMIC": "FALSE",
    "MKL_NUM_THREADS": str(THREADS),
    "OMP_DYNAMIC": "FALSE",
    "OMP_NUM_THREADS": str(THREADS),
    "OMP_THREAD_LIMIT": str(2**31 - 1),
    # Matrix products of numpy, scipy and faiss: never with more threads than there are cores, so
    # one. Where they take long, the pipeline itself runs several at once.
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "FAISS_SIMD_LEVEL": "AVX2",
    "ARROW_USER_SIMD_LEVEL": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt",
    "NUMBA_DISABLE_INTEL_SVML": "1",
}


def fix(params: Path) -> None:
    """Set the environment of this process and its children for `bits` of params.yaml.

    A file that cannot be read counts as `portable`: whoever needs its values says what is wrong.
    """
    if chosen(params) == "portable":
        os.environ.update(SETTINGS)


def chosen(params: Path) -> str:
    """Return `bits` of params.yaml, without the checks that would import numpy."""
    try:
        values = YAML(typ="safe").load(params.read_text(encoding="utf-8"))
        return str(values["bits"])
    except (OSError, YAMLError, ValueError, KeyError, TypeError):
        return "portable"
