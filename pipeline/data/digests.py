"""The digest of a file, by which a changed one is noticed."""

import hashlib
from pathlib import Path


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
