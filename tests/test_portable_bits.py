"""The same bits, whatever the processor, the cores, the threads and the settings of the shell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import portable_bits
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
