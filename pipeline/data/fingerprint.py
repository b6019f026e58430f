"""What files hold, in sixteen digits."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def fingerprint(settings: str, files: Iterable[Path]) -> str:
    """Return 16 hex digits that change with `settings` or with the content of any of `files`.

    A folder counts as the files in it. A checkpoint is only taken up by the run it belongs to.
    """
    digest = hashlib.sha256(settings.encode())
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"\0{file.as_posix()}\0".encode())
                with file.open("rb") as opened:
                    digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
