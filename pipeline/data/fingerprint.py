"""Fingerprints, 16 hex digits each: of files, and of a dataset."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.data.digests import digest_file
from pipeline.data.tables import read_metadata
from pipeline.errors import UserError

KEY = "lookalike.fingerprint"  # in the metadata of the catalog


def fingerprint_files(settings: str, files: Iterable[Path]) -> str:
    """Return a digest that changes with `settings` and with the name or content of any of `files`.

    A folder counts as all files in it.
    """
    digest = hashlib.sha256(settings.encode())
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"\0{file.as_posix()}\0".encode())
                digest.update(digest_file(file).encode())
    return digest.hexdigest()[:16]


class DatasetFingerprint:
    """A digest of a dataset, computed while its images are packed: nothing is read a second time.

    It changes with the image_id, the labels, the group, the split and the stored bytes of any
    image, and with the number and the order of the images.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(
        self,
        image_id: str,
        *,
        labels: Iterable[str],
        group: str | None,
        source_split: str | None,
        image_digest: bytes | None,
    ) -> None:
        """Take in one image. image_digest: SHA-256 of its stored bytes, None for labels alone."""
        row = json.dumps([image_id, sorted(set(labels)), group, source_split])
        # Digests have a fixed length, so no two images give the bytes of two others.
        self._digest.update(hashlib.sha256(row.encode()).digest())
        self._digest.update(image_digest or hashlib.sha256().digest())

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata to write into the catalog."""
        return {KEY: self._digest.hexdigest()[:16]}


def read_dataset_fingerprint(catalog: Path) -> str:
    """Return the fingerprint that the download stage wrote into the catalog.

    Raises:
        UserError: there is none.
    """
    found = read_metadata(catalog).get(KEY)
    if found is None:
        raise UserError(
            f"{catalog}: found no fingerprint of the dataset in its metadata; allowed: a catalog "
            "of the download stage; run: dvc repro download"
        )
    return found
