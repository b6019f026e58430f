"""The same bits, whatever the processor, the cores, the threads and the settings of the shell."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bits
from pipeline import portable_bits
from tests.helpers.imports import find_imports, parse, python_files
from tests.helpers.paths import ROOT

# What `python -m tests.helpers.arithmetic` prints on every x86-64 processor with AVX2. Another
# release of torch, numpy, faiss or pillow may change it; another computer may not.
EVERYWHERE = {
    "threads": 4,
    "products": "0d468d17",
    "convolutions": "4ccb5baf",
    "embeddings": "36b3804f",
    "elementwise": "80e2a828",
    "random weights": "eec1d493",
    "euclidean distances": "760cafd5",
    "losses": "e074720d",
    "miners": "37e3f1b0",
    "numpy": "9ee04565",
    "search": "d177b71e",
    "reranking": "4b5d45da",
    "images": "f17cd90c",
}


# What a shell may set, each against a value that `fix` gives or removes.
ADVERSE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "AUTO",
    "MKL_DOMAIN_NUM_THREADS": "MKL_DOMAIN_ALL=1",
    "MKL_DYNAMIC": "TRUE",
    "MKL_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "",
    "NPY_ENABLE_CPU_FEATURES": "AVX2",
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_DISABLE_JIT": "1",
    "NUMBA_OPT": "0",
    "OMP_DYNAMIC": "true",
    "OMP_MAX_ACTIVE_LEVELS": "0",
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "2",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "2",
}


def is_governed(name: str) -> bool:
    known = name in portable_bits.SETTINGS or name == portable_bits.USERS
    return known or (name.startswith(portable_bits.FAMILIES) and name != "NUMBA_CACHE_DIR")


def shell(**variables: str) -> dict[str, str]:
    """Return the environment of a shell that no process of the project has started."""
    return {k: v for k, v in os.environ.items() if not is_governed(k)} | variables


def run_python(*command: str, cwd: Path = ROOT, **variables: str) -> Any:
    """Return what a process that is started from a shell prints, as JSON."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=shell(PYTHONPATH=str(ROOT), **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def arithmetic(*before: str, **variables: str) -> Any:
    """Return the digests that a process prints; `before` stands before its command."""
    return run_python(*before, sys.executable, "-m", "tests.helpers.arithmetic", **variables)


@pytest.mark.slow
def test_arithmetic_has_these_bits() -> None:
    assert arithmetic() == EVERYWHERE


@pytest.mark.slow
def test_arithmetic_has_the_same_bits_in_another_shell_on_one_core() -> None:
    first = min(os.sched_getaffinity(0))
    pin = f"import os, sys; os.sched_setaffinity(0, [{first}]); os.execv(sys.argv[1], sys.argv[1:])"
    place = {"TZ": "Asia/Tokyo", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "5"}
    assert arithmetic(sys.executable, "-c", pin, **ADVERSE, **place) == EVERYWHERE


@pytest.mark.long
@pytest.mark.parametrize("threads", ["2", "3", "8"])
def test_arithmetic_has_the_same_bits_whatever_the_threads(threads: str) -> None:
    assert arithmetic(OMP_NUM_THREADS=threads) == EVERYWHERE


@pytest.mark.long
def test_arithmetic_has_the_same_bits_on_a_processor_of_another_maker() -> None:
    """An emulated one of Intel, or of AMD where this one is Intel's, both without AVX-512."""
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if not emulator:
        pytest.skip("no qemu-x86_64: install qemu-user")
    processor = "EPYC" if "GenuineIntel" in Path("/proc/cpuinfo").read_text() else "Haswell"
    assert arithmetic(emulator, "-cpu", processor) == EVERYWHERE


@pytest.mark.long
def test_the_benchmark_compares_two_kinds_of_bits() -> None:
    portable, fast = (bits.run("resnet18:32", kind) for kind in ("portable", "fast"))
    assert (portable["instructions"], portable["threads"]) == ("AVX2", portable_bits.THREADS)
    assert (fast["instructions"] != "AVX2") == bits.has_more_than_avx2()


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("bits: fast\n", "fast"),
        ("bits: portable\n", "portable"),
        ("seed: 7\n", "portable"),
        ("bits: [\n", "portable"),
        ("- 1\n", "portable"),
        ("", "portable"),
    ],
)
def test_bits_are_read_before_params_are_checked(tmp_path: Path, text: str, bits: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(text)
    assert portable_bits.chosen(params) == bits
    assert portable_bits.chosen(tmp_path / "missing.yaml") == "portable"


PRINT = "import json, os; print(json.dumps(dict(os.environ)))"
START = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"


def settings_of_a_stage(project: Path, *, by: str | None, bits: str, **variables: str) -> Any:
    """Return name -> value of what a stage's libraries read. by: what started it, from a shell."""
    (project / "params.yaml").write_text("bits: portable\n")
    set_bits = f"from pathlib import Path; Path('params.yaml').write_text('bits: {bits}')"
    stage = [sys.executable, "-c", f"{set_bits}; import stages; {PRINT}"]
    started = [sys.executable, "-c", f"import {by}; {START}", *stage] if by else stage
    found = run_python(*started, cwd=project, **variables)
    return {k: v for k, v in found.items() if is_governed(k) and k != portable_bits.USERS}


@pytest.mark.parametrize("by", [None, "app"], ids=["by a shell", "by lookalike"])
@pytest.mark.parametrize("variables", [{}, ADVERSE], ids=["nothing set", "all set otherwise"])
def test_a_portable_stage_has_just_our_settings(
    tmp_path: Path, variables: dict[str, str], by: str | None
) -> None:
    found = settings_of_a_stage(tmp_path, by=by, bits="portable", **variables)
    assert found == portable_bits.SETTINGS


@pytest.mark.parametrize("by", [None, "app", "app, stages"])
@pytest.mark.parametrize("variables", [{}, ADVERSE, portable_bits.SETTINGS])
def test_a_fast_stage_has_the_settings_of_the_shell(
    tmp_path: Path, variables: dict[str, str], by: str | None
) -> None:
    """Though `lookalike`, with other params, started it: a sweep over `bits` is one case."""
    assert settings_of_a_stage(tmp_path, by=by, bits="fast", **variables) == variables


def test_what_was_set_since_is_what_a_fast_stage_has(tmp_path: Path) -> None:
    """By a test, or before a command of dvc.yaml."""
    by = "app, os; os.environ['OMP_NUM_THREADS'] = '3'"
    found = settings_of_a_stage(tmp_path, by=by, bits="fast", MKL_CBWR="AUTO", OMP_NUM_THREADS="5")
    assert found == {"MKL_CBWR": "AUTO", "OMP_NUM_THREADS": "3"}


@pytest.mark.parametrize(
    ("bits", "set_before", "told"),
    [
        ("portable", False, ["numpy"]),
        ("portable", True, []),
        ("fast", False, []),
    ],
)
def test_settings_that_come_too_late_are_told(
    bits: str,
    set_before: bool,
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(f"bits: {bits}\n")
    for name in list(filter(is_governed, os.environ)):
        monkeypatch.delenv(name)
    for name, value in portable_bits.SETTINGS.items():
        monkeypatch.setenv(name, value if set_before else "other")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "modules", {"numpy": None, "os": None})
        portable_bits.fix(params)
    assert caplog.messages == [
        f"bits: portable comes too late for {name}, imported before `stages` or `app`: results may "
        "differ on another machine; import one of these two first"
        for name in told
    ]


# --- compiled code ------------------------------------------------------------------------------

COMPILED = [path for path in python_files("pipeline") if "njit" in (ROOT / path).read_text()]
CALLER = """
import sys
from pathlib import Path

from pipeline.portable_bits import keep_compiled_code_apart

sys.path.insert(0, "")
keep_compiled_code_apart(Path("small").absolute())
from small.caller import call
from small.called import {type}

print(call({type}(2)))
"""


def write_small_package(folder: Path, *, factor: int, type_name: str) -> None:
    """Write two files with compiled functions, of which one calls that of the other."""
    (folder / "small").mkdir(exist_ok=True)
    (folder / "small/called.py").write_text(
        f"from typing import NamedTuple\n\nfrom numba import njit\n\n"
        f"class {type_name}(NamedTuple):\n    n: int\n\n"
        f"@njit(cache=True)\ndef called(value):\n    return {factor} * value.n\n"
    )
    (folder / "small/caller.py").write_text(
        "from numba import njit\nfrom small.called import called\n\n"
        "@njit(cache=True)\ndef call(value):\n    return called(value)\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("users", [False, True], ids=["own cache", "user's cache"])
def test_a_change_in_another_file_is_compiled_into_its_callers(users: bool, tmp_path: Path) -> None:
    """And a type that is no longer there does not break the reading of the cache."""
    environment = {k: v for k, v in os.environ.items() if "NUMBA_CACHE" not in k}
    environment |= {"PYTHONPATH": str(ROOT)} | (
        {"NUMBA_CACHE_DIR": str(tmp_path / "chosen")} if users else {}
    )
    for factor, name in ((3, "Before"), (5, "Before"), (7, "After")):
        write_small_package(tmp_path, factor=factor, type_name=name)
        done = subprocess.run(
            # -B: Python's own cache takes a file changed within a second for the old one.
            [sys.executable, "-B", "-c", CALLER.format(type=name)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == (f"{2 * factor}\n", "")
    folder = tmp_path / ("chosen" if users else "small/__pycache__")
    caches = list(folder.glob("numba-*"))
    assert len(caches) == (3 if users else 1)  # the user's own folder is not ours to empty
    assert all(list(cache.rglob("*.nbc")) for cache in caches)


def test_a_change_in_any_file_with_compiled_code_begins_another_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.environ["NUMBA_CACHE_DIR"])

    def cache_after(changed: str) -> str:
        with (tmp_path / changed).open("a") as out:
            out.write("# a comment\n")
        portable_bits.keep_compiled_code_apart(tmp_path / "pipeline")
        return os.environ["NUMBA_CACHE_DIR"]

    first = cache_after("pipeline/errors.py")
    assert len({first, *(cache_after(str(path)) for path in COMPILED)}) == 1 + len(COMPILED) > 8
    last = cache_after("pipeline/errors.py")
    assert last == cache_after("pipeline/errors.py")


def test_each_process_of_the_project_keeps_its_compiled_code_apart() -> None:
    assert "NUMBA_CACHE_DIR" in os.environ  # by `fix`, which the packages of stages and app call
    name = Path(os.environ["NUMBA_CACHE_DIR"]).name
    portable_bits.keep_compiled_code_apart()
    assert Path(os.environ["NUMBA_CACHE_DIR"]).name == name
    assert re.fullmatch("numba-[0-9a-f]{16}", name)


@pytest.mark.parametrize("path", COMPILED, ids=str)
def test_compiled_functions_use_nothing_of_files_without_compiled_code(path: Path) -> None:
    """Such a file could change, and what was compiled of it would stay. Aliases of types may."""
    others = {each.bound: each.file for each in find_imports(path) if each.file not in COMPILED}
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef) and "njit" in map(_name, node.decorator_list):
            in_body = {each.id for each in names_in(*node.body)}
            assert in_body & others.keys() == set(), node.name
            used = {each.id for each in names_in(node)} & others.keys()
            assert {others[name] for name in used} <= {Path("pipeline/data/arrays.py")}, node.name


def _name(decorator: ast.expr) -> str:
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


def names_in(*nodes: ast.AST) -> list[ast.Name]:
    return [each for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name)]
