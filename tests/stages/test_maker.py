"""What is kept is taken only where all that may change its bits is the same."""

from typing import Any

import pytest

from stages import maker
from stages.maker import fingerprint_maker


def test_the_fingerprint_changes_with_code_machine_libraries_and_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = fingerprint_maker("embed", "portable")
    assert fingerprint_maker("embed", "portable") == first
    found = {first, fingerprint_maker("download", "portable"), fingerprint_maker("embed", "fast")}
    plain: Any = maker.describe_machine
    for key in ("processor", "torch", "pillow", "pillow-heif", "gpu", "system"):
        with monkeypatch.context() as patched:
            patched.setattr(
                maker, "describe_machine", lambda bits, key=key: plain(bits) | {key: "other"}
            )
            found.add(fingerprint_maker("embed", "portable"))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ATEN_CPU_CAPABILITY"):
        with monkeypatch.context() as patched:
            patched.setenv(name, "5")
            found.add(fingerprint_maker("embed", "portable"))
    assert len(found) == 3 + 6 + 3
