"""Which model made a file of vectors: kept in its metadata, so that an index knows its model.

The same weights and description give the same digest, wherever the model's folder is.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.data.digests import digest_file
from pipeline.errors import UserError, advise_making

# As pipeline/models/embedder.py and text_side.py write them, which import torch, in seconds.
MODEL_FILES = ("model.json", "model.safetensors")
TEXT_FILE = "text.safetensors"  # beside them, of a model that understands text
KEY = "lookalike.lineage"


@dataclass(frozen=True)
class Lineage:
    """How vectors were made: the digest of the model's files, and options of `embed`.

    precision: fp32 or bf16, which `auto` chose by the processor.
    """

    model: str
    hflip: bool
    precision: str


def check_lineage(
    found: Lineage | None,
    *,
    model: str,
    source: Path,
    path: Path,
    stage: str,
    same_as: Lineage | None = None,
) -> Lineage:
    """Return `found`, the lineage of the vectors in `path`, which are of the right model.

    model: the digest that they must have, of the model or of the vectors in `source`. same_as: if
    given, the options of `embed` must be its too. stage: what writes `path`.

    Raises:
        UserError: there is no lineage, or another one.
    """
    if found is None:
        raise UserError(f"{path}: does not name the model that made it; run: dvc repro {stage}")
    if found.model != model:
        raise UserError(
            f"{path}: made by another model than {source}; "
            f"run: dvc repro {stage}, or take both from one run: dvc checkout"
        )
    if same_as is not None and found != same_as:
        raise UserError(
            f"{path}: made with {_describe_options(found)}; {source} with "
            f"{_describe_options(same_as)}; run: dvc repro {stage}"
        )
    return found


def digest_model(directory: Path) -> str:
    """Return 16 hex digits that change with the content of a model's files.

    Raises:
        UserError: one is missing.
    """
    digest = hashlib.sha256()
    for name in MODEL_FILES:
        path = directory / name
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; a model is a directory with {' and '.join(MODEL_FILES)}; "
                f"{advise_making()}"
            )
        digest.update(digest_file(path).encode())
    return digest.hexdigest()[:16]


def _describe_options(lineage: Lineage) -> str:
    return f"embed.hflip {str(lineage.hflip).lower()} and precision {lineage.precision}"


def to_metadata(lineage: Lineage | None) -> dict[str, str]:
    """Return the metadata to write into a file; {} for None."""
    if lineage is None:
        return {}
    return {KEY: json.dumps(asdict(lineage), sort_keys=True)}


def from_metadata(metadata: Mapping[str, str]) -> Lineage | None:
    """Return the lineage that `to_metadata` wrote, None if it is missing or cannot be read."""
    try:
        return Lineage(**json.loads(metadata[KEY]))
    except (KeyError, ValueError, TypeError):
        return None
