"""The same bits, whatever the processor, the cores, the threads and the settings of the shell."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import portable_bits
from tests.helpers.imports import find_imports, parse, python_files
from tests.helpers.paths import ROOT

# What `python -m tests.helpers.arithmetic` prints on every x86-64 processor with AVX2. Another
# release of torch, numpy, faiss or pillow may change it; another computer may not.
EVERYWHERE = {
    "threads": 8,
    "products": "0d468d17",
    "convolutions": "0e3dffe4",
    "elementwise": "80e2a828",
    "random weights": "eec1d493",
    "euclidean distances": "760cafd5",
    "numpy": "2c7ad2c9",
    "search": "d177b71e",
    "images": "f17cd90c",
}


def arithmetic(*before: str, **environment: str) -> dict[str, object]:
    """Return the digests that a process prints; `before` stands before its command."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "tests.helpers.arithmetic"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    digests: dict[str, object] = json.loads(done.stdout)
    return digests


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"OMP_NUM_THREADS": "1", "TZ": "Asia/Tokyo", "LANG": "tr_TR.UTF-8"},
        {"OMP_NUM_THREADS": "4", "MKL_CBWR": "AUTO", "PYTHONHASHSEED": "5"},
    ],
    ids=["one thread", "four threads"],
)
def test_arithmetic_has_the_same_bits_in_any_shell(settings: dict[str, str]) -> None:
    assert arithmetic(**settings) == EVERYWHERE


@pytest.mark.slow
def test_arithmetic_has_the_same_bits_on_one_core() -> None:
    first = min(os.sched_getaffinity(0))
    pin = f"import os, sys; os.sched_setaffinity(0, [{first}]); os.execv(sys.argv[1], sys.argv[1:])"
    assert arithmetic(sys.executable, "-c", pin) == EVERYWHERE


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["Haswell", "EPYC"])
def test_arithmetic_has_the_same_bits_on_another_processor(processor: str) -> None:
    """One of Intel and one of AMD, both without AVX-512, emulated."""
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if not emulator:
        pytest.skip("no qemu-x86_64: install qemu-user")
    assert arithmetic(emulator, "-cpu", processor) == EVERYWHERE


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


def test_fast_leaves_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = tmp_path / "params.yaml"
    for name in portable_bits.SETTINGS:
        monkeypatch.setenv(name, "as it was")
    params.write_text("bits: fast\n")
    portable_bits.fix(params)
    assert {os.environ[name] for name in portable_bits.SETTINGS} == {"as it was"}
    params.write_text("bits: portable\n")
    portable_bits.fix(params)
    assert {name: os.environ[name] for name in portable_bits.SETTINGS} == portable_bits.SETTINGS


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
