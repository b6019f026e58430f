"""The same bits on every x86-64 processor with AVX2: what the numerical libraries are told.

A library chooses its code by the processor, and divides its sums by the number of cores. Each of
these settings is read once, when its library loads, so `fix` runs before any of them is imported.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

# The threads that share a sum, wherever there are fewer cores too. More of them could use more
# cores, but threads without a core of their own wait for each other in the gradients of
# convolutions: on 2 cores, a training step takes 1.1 to 1.3 times as long with 4 threads as with 2,
# and 1.5 to 2 times with 8 (EfficientNet-Lite0 at 96 px, batches of 64 and of 32).
THREADS = 4

SETTINGS = {
    # torch's own kernels, and the convolutions of oneDNN.
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # Matrix products of torch. MKL has other code for each maker's processors but for this choice.
    "MKL_CBWR": "COMPATIBLE",
    # MKL would use no more threads than there are cores, and torch follows it.
    "MKL_DYNAMIC": "FALSE",
    "OMP_NUM_THREADS": str(THREADS),
    # Matrix products of numpy, scipy and faiss: never with more threads than there are cores, so
    # one. Where they take long, the pipeline itself runs several at once.
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "FAISS_SIMD_LEVEL": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt",
    # Intel's library of functions, where it is installed.
    "NUMBA_DISABLE_INTEL_SVML": "1",
}

# What else a shell may set for these libraries is removed: several of their variables change bits
# (NUMBA_OPT, OMP_THREAD_LIMIT, MKL_DOMAIN_NUM_THREADS), or contradict a setting above.
FAMILIES = ("DNNL_", "MKL_", "NPY_", "NUMBA_", "OMP_", "ONEDNN_", "OPENBLAS_")
# They read their variables when they are imported.
READERS = ("faiss", "numba", "numpy", "torch")
# The user's own variables of these kinds, as JSON, for a process that this one starts.
USERS = "LOOKALIKE_USERS_SETTINGS"

PIPELINE = Path(__file__).parent
# Where numba keeps what it compiled, and the folder that the user chose for that.
NUMBA_CACHE, USERS_NUMBA_CACHE = "NUMBA_CACHE_DIR", "LOOKALIKE_USERS_NUMBA_CACHE_DIR"

logger = logging.getLogger(__name__)


def fix(params: Path) -> None:
    """Set the environment of this process and its children for `bits` of params.yaml.

    With `fast` it becomes what the user chose, also where a process that started this one had set
    it for `portable`. A file that cannot be read counts as `portable`: whoever needs its values
    says what is wrong.
    """
    before, users = read_settings(), _remember_users()
    wanted = SETTINGS if chosen(params) == "portable" else users
    if wanted is SETTINGS and before != SETTINGS:
        _warn_of(sorted(sys.modules.keys() & set(READERS)))
    for name in before.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)
    keep_compiled_code_apart()


def read_settings() -> dict[str, str]:
    """Return name -> value of all that is set for the libraries."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in SETTINGS or (name.startswith(FAMILIES) and name != NUMBA_CACHE)
    }


def _remember_users() -> dict[str, str]:
    """Return what the user set, and note it for the processes that this one starts.

    What differs from `SETTINGS` was set since the first process of the project noted it.
    """
    users = read_settings()
    if USERS in os.environ:
        since = {name: value for name, value in users.items() if SETTINGS.get(name) != value}
        users = json.loads(os.environ[USERS]) | since
    os.environ[USERS] = json.dumps(users)
    return users


def _warn_of(imported: list[str]) -> None:
    if imported:
        logger.warning(
            "bits: portable comes too late for %s, imported before `stages` or `app`: results may "
            "differ on another machine; import one of these two first",
            ", ".join(imported),
        )


def keep_compiled_code_apart(pipeline: Path = PIPELINE) -> None:
    """Let numba cache the compiled code of `pipeline` in a folder for this state of its source.

    Numba itself compiles a function again when its file changes, but not when another file does,
    whose functions and constants were compiled into it. And it cannot read a cache that names a
    type which is no longer there.
    """
    sources = [path.read_bytes() for path in sorted(pipeline.rglob("*.py"))]
    compiled = [hashlib.sha256(source).digest() for source in sources if b"njit" in source]
    name = f"numba-{hashlib.sha256(b''.join(compiled)).hexdigest()[:16]}"
    # A process that this one starts knows by this variable that the user did not choose the folder.
    users = os.environ.setdefault(USERS_NUMBA_CACHE, os.environ.get(NUMBA_CACHE, ""))
    own = pipeline / "__pycache__"
    os.environ[NUMBA_CACHE] = str((Path(users) if users else own) / name)
    for earlier in own.glob("numba-*"):
        if earlier.name != name:
            shutil.rmtree(earlier, ignore_errors=True)


def chosen(params: Path) -> str:
    """Return `bits` of params.yaml, without the checks that would import numpy."""
    try:
        values = YAML(typ="safe").load(params.read_text(encoding="utf-8"))
        return str(values["bits"])
    except (OSError, YAMLError, ValueError, KeyError, TypeError, RecursionError):
        return "portable"
