"""The folder of a model as the Hugging Face Hub has it: its files, params, metrics and card."""

import json
import logging
import shutil
from pathlib import Path

from ruamel.yaml import YAML

from app.publishing.model_card import write_card
from app.publishing.model_facts import read_facts
from app.publishing.shared_params import without_places
from pipeline.data.lineage import MODEL_FILES, TEXT_FILE, digest_model
from pipeline.errors import UserError

PARAMS, METRICS, CARD = "params.yaml", "metrics.json", "README.md"
OPTIONAL = (TEXT_FILE, METRICS)  # which a model may not have

logger = logging.getLogger(__name__)


def write_model_folder(
    root: Path, name: str, out: Path, *, title: str, repository: str | None = None
) -> None:
    """Write the model `name` of the project at `root` into the empty folder `out`.

    title: of the card. repository: OWNER/NAME on the Hub, for the card; None where that is not
    known.

    Raises:
        UserError: as `read_facts`, or the model changes meanwhile.
    """
    facts, folder = read_facts(root, name), root / "models" / name
    for file in (*MODEL_FILES, TEXT_FILE):
        if (folder / file).is_file():
            # Without the rights of the file, which DVC may have made one that cannot be written.
            shutil.copyfile(folder / file, out / file)
    if digest_model(out) != facts.digest:
        raise UserError(f"{folder}: changed while it was read; run it again when dvc repro is done")
    with (out / PARAMS).open("w", encoding="utf-8") as file_of_params:
        YAML().dump(without_places(facts.values), file_of_params)
    if facts.measured is None:
        logger.info(
            "no metrics of %s with these images; to measure it, if they have labels: dvc repro",
            name,
        )
    else:
        text = json.dumps(facts.measured.headline, indent=2) + "\n"
        (out / METRICS).write_text(text, encoding="utf-8")
    card = write_card(facts, title=title, repository=repository)
    (out / CARD).write_text(card, encoding="utf-8")
