"""What a training left beside its model: what `auto` chose, and which model is the better one.

`query` and `serve` read it, without importing torch.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from pipeline.data.json_files import read_json

RECORD_FILE = "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """use: baseline or this model, which validation found better; because: in words.

    best_epoch: the epoch that the fine-tuned model is of; 0: it is as before training. auto: dotted
    key of params.yaml -> what was chosen for it. val_map: the mean average precision on validation
    by which `use` was decided; None where nothing was trained.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    use: str
    because: str
    best_epoch: int
    auto: dict[str, Any]
    val_map: float | None = None


def write_record(directory: Path, record: TrainingRecord) -> None:
    """Write `record` into the folder of the trained model."""
    text = json.dumps(asdict(record), indent=2) + "\n"
    (directory / RECORD_FILE).write_text(text, encoding="utf-8")


def has_record(directory: Path) -> bool:
    """Return whether a folder is that of a trained model."""
    return (directory / RECORD_FILE).is_file()


def read_record(directory: Path) -> TrainingRecord:
    """Return the record in the folder of a trained model.

    Raises:
        UserError: there is none, or it is not what `write_record` writes.
    """
    path = directory / RECORD_FILE
    return read_json(path, TrainingRecord, what="the record of a training")
