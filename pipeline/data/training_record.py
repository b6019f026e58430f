"""What a training left beside its model: what `auto` chose, and which model is the better one.

`query` and `serve` read it, without importing torch.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from pipeline.data.json_files import read_json

RECORD_FILE = "training.json"


@dataclass(frozen=True)
class TrainingRecord:
    """use: baseline or finetuned, the model that validation found better; because: in words.

    best_epoch: the epoch that the fine-tuned model is of; 0: it is as before training. auto: dotted
    key of params.yaml -> what was chosen for it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    use: Literal["baseline", "finetuned"]
    because: str
    best_epoch: int
    auto: dict[str, Any]


def write_record(directory: Path, record: TrainingRecord) -> None:
    """Write `record` into the folder of the trained model."""
    text = json.dumps(asdict(record), indent=2) + "\n"
    (directory / RECORD_FILE).write_text(text, encoding="utf-8")


def read_record(directory: Path) -> TrainingRecord:
    """Return the record in the folder of a trained model.

    Raises:
        UserError: there is none, or it is not what `write_record` writes.
    """
    path = directory / RECORD_FILE
    return read_json(path, TrainingRecord, what="the record of a training")
