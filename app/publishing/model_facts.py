"""What is known of a model and of the data that it was trained on and measured with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.publishing.public_remote import find_public_remote
from app.publishing.recorded import read_settings, require_recorded
from app.publishing.shared_params import is_hub_name, is_public_network
from app.searching.catalog import require_files
from app.searching.current_metrics import read_current_metrics
from pipeline.config.load import read_params, read_yaml
from pipeline.config.schema import Params
from pipeline.data.chosen import read_chosen
from pipeline.data.embeddings import read_lineage
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.joins import read_labels
from pipeline.data.lineage import MODEL_FILES, TEXT_FILE, check_lineage, digest_model
from pipeline.data.metrics_files import Numbers, read_metrics_files, read_texts
from pipeline.data.tables import SPLITS, read_table
from pipeline.data.training_record import TrainingRecord, has_record, read_record
from pipeline.errors import UserError
from pipeline.evaluation.higher_is_better import higher_is_better
from pipeline.evaluation.intervals_over import are_test_classes_new
from pipeline.models.embedder import EmbedderSpec, load_embedder


@dataclass(frozen=True)
class DataFacts:
    """The images of a project. protocol: how they were split. new_classes: whether no class of the
    test images is one of a training or validation image."""

    fingerprint: str
    protocol: str
    train_images: int
    train_classes: int
    val_images: int
    new_classes: bool


@dataclass(frozen=True)
class Measured:
    """The metrics of a model. headline: the few of metrics/<model>.json. details: all, with the
    ends of their intervals. texts: what is no number."""

    headline: Numbers
    details: Numbers
    texts: dict[str, str]

    @property
    def of_model(self) -> Numbers:
        """The metrics of the headline that are of the model, not of its index."""
        return {name: each for name, each in self.headline.items() if higher_is_better(name)}


@dataclass(frozen=True)
class ModelFacts:
    """What a card says of a model. digest: of its files. params: with what a variant changes.
    values: params.yaml as it is. record: of its training; None for the baseline. data, measured:
    None where the project does not have them. remote: the address of the project's repository;
    None where it has none that all may see."""

    name: str
    digest: str
    spec: EmbedderSpec
    dim: int
    understands_text: bool
    hflip: bool
    params: Params
    values: dict[str, Any]
    record: TrainingRecord | None
    data: DataFacts | None
    measured: Measured | None
    remote: str | None

    @property
    def was_trained(self) -> bool:
        """Whether it is of an epoch of training."""
        return self.record is not None and self.record.best_epoch > 0

    @property
    def first_weights(self) -> str | None:
        """backbone.weights; None for random ones."""
        return self.params.backbone.weights if self.spec.pretrained else None

    @property
    def dataset(self) -> str:
        """The name of the dataset; of one of the Hub, that there."""
        of_hub = self.dataset_of_hub
        return self.params.data.name if of_hub is None else of_hub

    @property
    def dataset_of_hub(self) -> str | None:
        """The name of the dataset on the Hub; None for one that is not from there."""
        path = getattr(self.params.data.options, "path", None)
        return path if isinstance(path, str) and is_hub_name(path) else None


def read_facts(root: Path, name: str) -> ModelFacts:
    """Return what the project at `root` knows of its model `name`, whose weights are checked.

    Raises:
        UserError: the model is missing or damaged, it is of another run than its metrics or
            params.yaml, or only this machine can build it.
    """
    folder, embeddings = root / "models" / name, root / "embeddings" / name
    require_files(root, [root / "params.yaml", *(folder / file for file in MODEL_FILES)])
    digest, values = digest_model(folder), read_yaml(root / "params.yaml")
    variant = name if name in read_params(root / "params.yaml").variants else None
    params = read_params(root / "params.yaml", variant=variant)
    require_recorded(root, name, read_settings(root, name))
    model = load_embedder(folder)
    if not is_public_network(model.spec.backbone):
        raise UserError(
            f"{folder}: backbone.name: found '{model.spec.backbone}', without which others cannot "
            "load the model; allowed: one of timm, open_clip or the Hub; take that, run: dvc repro"
        )
    hflip = params.embed.hflip
    if embeddings.is_dir():
        lineage = check_lineage(
            read_lineage(embeddings), model=digest, source=folder, path=embeddings, stage="embed"
        )
        hflip = lineage.hflip
    return ModelFacts(
        name=name,
        digest=digest,
        spec=model.spec,
        dim=model.dim,
        understands_text=(folder / TEXT_FILE).is_file(),
        hflip=hflip,
        params=params,
        values=values,
        record=read_record(folder) if has_record(folder) else None,
        data=_read_data(root / "data", params),
        measured=_read_measured(root, name),
        remote=find_public_remote(root),
    )


def _read_data(folder: Path, params: Params) -> DataFacts | None:
    """Return the numbers of the images; None where there are no tables of them."""
    catalog, splits = folder / "catalog.parquet", folder / "splits.parquet"
    if not (catalog.is_file() and splits.is_file()):
        return None
    table = read_table(splits, SPLITS)
    labels = read_labels(catalog, table["image_id"].combine_chunks(), ids_from=splits)
    split = table["split"].to_numpy()
    trained_on = np.flatnonzero(split == "train")
    return DataFacts(
        fingerprint=read_dataset_fingerprint(catalog),
        protocol=read_chosen(splits).get("split.protocol", params.split.protocol),
        train_images=len(trained_on),
        train_classes=len(np.unique(labels.take(trained_on).values)),
        val_images=int((split == "val").sum()),
        new_classes=are_test_classes_new(labels, split),
    )


def _read_measured(root: Path, name: str) -> Measured | None:
    """Return the metrics of a model; None where it was not measured with the images of now, or
    there was nothing to measure, as without labels."""
    path, details = root / "metrics" / f"{name}.json", root / "metrics/details" / f"{name}.json"
    if not (path.is_file() and details.is_file()):
        return None
    (headline,) = read_metrics_files([path]).values()
    if (root / "data/catalog.parquet").is_file():
        numbers = read_current_metrics(root, name)
    else:
        (numbers,) = read_metrics_files([details]).values()
    if numbers is None or numbers.get("queries") == 0:
        return None
    measured = Measured(headline, numbers, read_texts(details))
    return measured if measured.of_model else None
