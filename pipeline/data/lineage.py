"""Which model embedded a table of vectors: told in its file, so that an index knows its model.

The same weights and description give the same digest, wherever the model's folder lies.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import UserError

# As pipeline/models/embedder.py writes them; it is not imported, since torch takes seconds.
MODEL_FILES = ("model.json", "model.safetensors")
KEY = "lookalike.provenance"


@dataclass(frozen=True)
class Lineage:
    """How vectors were made: the digest of the model's files, and the choices of params.yaml."""

    model: str
    hflip: bool
    precision: str


def digest_model(directory: Path) -> str:
    """Return 16 hex digits of what the files of a model hold.

    Raises:
        UserError: one is missing.
    """
    digest = hashlib.sha256()
    for name in MODEL_FILES:
        path = directory / name
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; a model is a directory with {' and '.join(MODEL_FILES)}; "
                "run: dvc pull, or to make it: dvc repro"
            )
        with path.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def to_metadata(provenance: Lineage | None) -> dict[str, str]:
    """Return the metadata that a table is written with; none where nothing is known."""
    if provenance is None:
        return {}
    return {KEY: json.dumps(asdict(provenance), sort_keys=True)}


def from_metadata(metadata: Mapping[str, str]) -> Lineage | None:
    """Return what `to_metadata` gave, None where it is not there or cannot be read."""
    try:
        return Lineage(**json.loads(metadata[KEY]))
    except (KeyError, ValueError, TypeError):
        return None
