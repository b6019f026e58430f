"""Every recipe builds what it names, and its networks take a step of training, on noise."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.experiments.recipes import Recipe, list_names, read_recipe
from pipeline.config.load import check_params
from pipeline.config.schema import Params
from pipeline.data.label_sets import from_lists
from pipeline.data.packed_images import PackedImages
from pipeline.models.embedder import Embedder, attach_head, build_baseline
from pipeline.options import AUTO
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.loop import train
from pipeline.training.trainer import Trainer
from pipeline.training.training_data import TrainingData, Validation
from tests.helpers.overlay import overlaid
from tests.helpers.packer import Packer
from tests.helpers.paths import ROOT

RECIPES = [read_recipe(ROOT / "recipes", name) for name in list_names(ROOT / "recipes")]

# No network here for the weights, and no worker processes for a single step.
HERE = {"backbone.weights": None, "train.workers": 0, "train.epochs": 1, "train.steps": 1}
# One step on two cores: the least size that all networks take, and batches of 4 or 6 images, of
# which each loss still makes a pair or a triplet. Random ones stay: too few would have no pair.
SMALL = {
    "backbone.image_size": 32,
    "batches.pk": {"classes": 2, "per_class": 2},
    "batches.triplets.batch_size": 2,
}
# Classes of a batch whose loss is computed; a recipe may have a thousand of them.
MOST_CLASSES = 96
# Of networks whose patches do not fit into that size.
PATCHES_OF_14 = {"backbone.image_size": 28}
# Numbers by which nothing is built otherwise.
ALIKE = ("train.epochs", "train.seed", ".lr", ".margin", ".batch_size")


def combinations_that_differ() -> list[Any]:
    """Return (recipe, combination) but those that differ from an earlier one in a number alone."""
    found = {}
    for recipe in RECIPES:
        for settings in recipe.combinations():
            built = {key: value for key, value in settings.items() if not key.endswith(ALIKE)}
            found.setdefault(f"{recipe.path.stem} {built or ''}".strip(), (recipe, settings))
    return [pytest.param(*case, id=name) for name, case in found.items()]


def make_params(recipe: Recipe, settings: dict[str, Any]) -> Params:
    return check_params(overlaid(dict(recipe.settings) | settings), where=recipe.path.name)


def make_model(params: Params) -> Embedder:
    backbone = params.backbone.model_dump()
    if backbone["image_size"] == "auto":
        backbone["image_size"] = SMALL["backbone.image_size"]
    baseline = build_baseline(**backbone, seed=params.seed)
    vectors = np.random.default_rng(0).standard_normal((600, baseline.dim), dtype=np.float32)
    return attach_head(baseline, **params.head.model_dump(), seed=params.seed, vectors=vectors)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> PackedImages:
    """Eight images of noise, "0" to "7"."""
    directory = tmp_path_factory.mktemp("noise")
    writer, rng = Packer(directory), np.random.default_rng(0)
    for number in range(8):
        encoded = io.BytesIO()
        Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(encoded, "PNG")
        writer.add(str(number), encoded.getvalue())
    writer.close()
    return PackedImages(directory)


def make_data(noise: PackedImages, params: Params, *, classes: int, images: int) -> TrainingData:
    """Return a dataset of that shape, for which the same eight images stand again and again.

    Each has one label, or two where the recipe is for COCO.
    """
    rows = np.arange(classes * images)
    second = [[classes + row % 2] if params.data.name == "coco" else [] for row in rows]
    labels = [[row // images, *more] for row, more in zip(rows, second, strict=True)]
    ids, every = [str(row % 8) for row in rows], np.ones(8, dtype=bool)
    anothers = rows // images * images + (rows + 1) % images
    return TrainingData(
        images=noise,
        train_ids=ids,
        train_labels=from_lists(labels),
        val=Validation(ids[:8], from_lists(labels[4:12]), is_query=every, is_gallery=every),
        triplets=np.stack([rows, anothers, (rows + images) % len(rows)], axis=1),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "settings"), combinations_that_differ())
def test_a_recipe_builds_its_model_loss_batches_and_optimizer(
    recipe: Recipe, settings: dict[str, Any], noise: PackedImages
) -> None:
    params = make_params(recipe, settings | HERE)
    wanted = getattr(params.batches.options, "classes", AUTO)
    if wanted != AUTO and wanted > MOST_CLASSES:
        fewer = {"batches.pk.classes": MOST_CLASSES}
        params = make_params(recipe, settings | HERE | fewer)
    # No more than a batch needs: a random one of many classes has no pair.
    data = make_data(noise, params, classes=MOST_CLASSES, images=16)
    model = make_model(params)
    trainer = Trainer(model, data, params)
    assert model.dim == (
        params.head.dim if params.head.name != "none" else model.backbone.feature_dim
    )
    epochs = params.batches.options.epochs(data.train_labels, data.triplets, steps=1, seed=0)
    rows = next(epochs)[0]
    assert len(rows) == params.batches.options.images
    embeddings = torch.randn(len(rows), model.dim, requires_grad=True)
    labels = torch.from_numpy(data.train_labels.first()[rows]).long()
    loss = trainer.objective(embeddings, labels)
    loss.backward()
    assert loss.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    assert embeddings.grad.any()
    steered = {id(weight) for group in trainer.optimizer.param_groups for weight in group["params"]}
    weights = [*model.parameters(), *trainer.objective.parameters()]
    assert steered == {id(weight) for weight in weights if weight.requires_grad}


def first_weights(model: Embedder) -> dict[str, torch.Tensor]:
    """Return the first weight of the backbone, and of the head where it has any."""
    parts = {"backbone": model.backbone, "head": model.head}
    named = {part: list(module.named_parameters())[:1] for part, module in parts.items()}
    return {f"{part}.{name}": weight for part, found in named.items() for name, weight in found}


class InMemory(Checkpoint):
    """Keeps a copy of the weights alone: with its moments, a ConvNeXt would be a gigabyte."""

    weights: dict[str, torch.Tensor]

    def save(self, state: dict[str, Any]) -> None:
        self.weights = {name: value.clone() for name, value in state["trainer"]["model"].items()}


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "settings"), combinations_that_differ())
def test_a_recipe_takes_a_step(
    recipe: Recipe, settings: dict[str, Any], noise: PackedImages, tmp_path: Path
) -> None:
    small = SMALL | (PATCHES_OF_14 if "patch14" in recipe.settings.get("backbone.name", "") else {})
    params = make_params(recipe, settings | HERE | small)
    data = make_data(noise, params, classes=8, images=8)
    model = make_model(params)
    before = {name: weight.detach().clone() for name, weight in first_weights(model).items()}
    checkpoint = InMemory(tmp_path, "run")
    trained = train(model, data, params, checkpoint=checkpoint, on_epoch=lambda _: None)
    assert np.isfinite(trained.history[1]["loss"])
    after = checkpoint.weights
    still = {name.partition(".")[0] for name in before if torch.equal(before[name], after[name])}
    lora = params.train.lora is not None
    assert still == ({"backbone"} if lora or params.train.freeze == "backbone" else set())
    changes = [weight for name, weight in after.items() if name.endswith(".0.b")]
    assert bool(changes) == lora
    assert all(change.any() for change in changes)  # zero at first
