"""Training on a few small rendered images: it learns, it repeats, it resumes."""

import io
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.config.load import check_params
from pipeline.config.schema import Params
from pipeline.data.label_sets import from_lists
from pipeline.data.lineage import Lineage
from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError
from pipeline.evaluation.measure import measure
from pipeline.mining.by_embeddings import mine_by_embeddings
from pipeline.models.embed_images import embed_groups
from pipeline.models.embedder import Embedder, HeadInput, attach_head, build_baseline
from pipeline.models.layers import list_layers
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.inputs import trains_on_embeddings
from pipeline.training.loop import TrainingResult, train
from pipeline.training.low_rank import add_low_rank, merge_low_rank
from pipeline.training.mining_again import mine_again
from pipeline.training.seeds import epoch_seed, training_seed
from pipeline.training.trainer import EpochMetrics, Trainer
from pipeline.training.training_data import Embedded, TrainingData, Validation
from pipeline.training.validation_metrics import VALIDATION_METRICS
from tests.helpers.overlay import overlaid
from tests.helpers.packer import Packer

pytestmark = pytest.mark.slow

CLASSES, IMAGES, VAL = 6, 6, 3
NETWORK = "timm:test_resnet"  # of 0.4 million weights, so that an epoch is fast


class KilledError(Exception):
    """In place of kill -9: no code after it runs."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Six classes of six noisy images, which differ in the direction of their stripes."""
    directory = tmp_path_factory.mktemp("images")
    writer, rng = Packer(directory), np.random.default_rng(0)
    ids = [[f"{c}/{n}" for n in range(IMAGES + VAL)] for c in range(CLASSES)]
    for c in range(CLASSES):
        for image_id in ids[c]:
            writer.add(image_id, _striped([c], rng))
    writer.close()
    train_ids = [image_id for of_class in ids for image_id in of_class[:IMAGES]]
    val_ids = [image_id for of_class in ids for image_id in of_class[IMAGES:]]
    labels = from_lists([[c] for c in range(CLASSES) for _ in range(IMAGES)])
    return TrainingData(
        images=PackedImages(directory),
        train_ids=train_ids,
        train_labels=labels,
        val=Validation(
            ids=val_ids,
            labels=from_lists([[int(image_id[0])] for image_id in val_ids]),
            is_query=np.ones(len(val_ids), dtype=bool),
            is_gallery=np.ones(len(val_ids), dtype=bool),
        ),
        triplets=np.array([[i, (i // 6) * 6 + (i + 1) % 6, (i + 6) % 36] for i in range(36)]),
    )


def _striped(directions: list[int], rng: np.random.Generator) -> bytes:
    y, x = np.mgrid[:32, :32]
    waves = np.zeros((32, 32))
    for direction in directions:
        angle = np.pi * direction / CLASSES
        waves += np.sin(0.9 * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6.28))
    pixels = 128 + 60 * waves[..., None] + rng.normal(0, 25, (32, 32, 3))
    encoded = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()


def make_params(**changes: Any) -> Params:
    """The project's own params, shrunk; changes are dotted keys with __ for the dot."""
    small = {
        "backbone__image_size": 32,
        "head__name": "linear",
        "head__init": "random",
        "head__dim": 16,
        "batches__pk": {"classes": 6, "per_class": 3},
        "batches__triplets__batch_size": 6,
        "batches__random__batch_size": 12,
        "train__epochs": 3,
        "train__freeze": "none",
        "train__workers": 0,
        "train__augment__jitter": None,
        "optimizer__name": "adamw",
        "optimizer__adamw__lr": 0.003,
    }
    return check_params(overlaid(small | changes), where="params.yaml")


def make_model(
    params: Params,
    network: str = NETWORK,
    head_input: HeadInput = "features",
    pooling: str = "avg",
) -> Embedder:
    baseline = build_baseline(network, image_size=32, pooling=pooling, weights=None, seed=1)
    return attach_head(
        baseline, **params.head.model_dump(), seed=training_seed(params), head_input=head_input
    )


def run(
    params: Params,
    data: TrainingData,
    place: Path,
    on_epoch: Any = None,
    network: str = NETWORK,
    head_input: HeadInput = "features",
) -> TrainingResult:
    reporter = on_epoch or (lambda _: None)
    checkpoint = Checkpoint(place, "run")
    model = make_model(params, network, head_input)
    return train(model, data, params, checkpoint=checkpoint, on_epoch=reporter)


def last_weights(place: Path) -> dict[str, torch.Tensor]:
    """Return the weights after the last epoch of a run, which may not be the best."""
    state = Checkpoint(place, "run").load()
    assert state is not None
    weights: dict[str, torch.Tensor] = state["trainer"]["model"]
    return weights


def bits(trained: TrainingResult) -> bytes:
    weights = trained.model.state_dict()
    return b"".join(weights[name].cpu().numpy().tobytes() for name in sorted(weights))


def test_the_seed_of_training_replaces_the_general_one(data: TrainingData, tmp_path: Path) -> None:
    short = {"train__epochs": 1, "train__steps": 1}
    first, other, same = (
        bits(run(make_params(**seeds, **short), data, tmp_path / str(seeds)))
        for seeds in (
            {"seed": 7, "train__seed": None},
            {"seed": 7, "train__seed": 8},
            {"seed": 8, "train__seed": None},
        )
    )
    assert other == same
    assert other != first


def test_chunks_of_a_batch_train_as_the_whole_does(data: TrainingData, tmp_path: Path) -> None:
    """With frozen batch norm, whose statistics would be those of a chunk."""
    options = {"train__freeze": "batch_norm", "train__epochs": 1, "optimizer__name": "sgd"}
    whole, chunked = (
        run(make_params(train__chunk_size=chunk, **options), data, tmp_path / str(chunk))
        for chunk in (None, 7)
    )
    assert chunked.history[1]["loss"] == pytest.approx(whole.history[1]["loss"], rel=1e-4)
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(chunked.model.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_head_on_embeddings_is_trained_as_by_images_that_stay_as_they_are(
    head: str, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = {"train__augment__crop": None, "train__augment__hflip": 0.0}
    params = make_params(head__name=head, train__freeze="backbone", train__epochs=2, **augment)
    options: dict[str, Any] = {"head_input": "embedding", "network": NETWORK}
    by_images = run(params, data, tmp_path / "images", **options)
    baseline = build_baseline(NETWORK, image_size=32, pooling="avg", weights=None, seed=1)
    train_vectors, val_vectors = embed_groups(
        *(baseline, data.images, [data.train_ids, data.val.ids]),
        batch_size=8,
        precision=torch.float32,
        workers=0,
        device=torch.device("cpu"),
    )
    monkeypatch.setattr(PackedImages, "read", None)  # no image is read
    embedded = replace(data, embedded=Embedded(train_vectors, val_vectors))
    by_embeddings = run(params, embedded, tmp_path / "embeddings", **options)
    assert [row["loss"] for row in by_embeddings.history[1:]] == pytest.approx(
        [row["loss"] for row in by_images.history[1:]], rel=1e-3
    )
    np.testing.assert_allclose(by_embeddings.val_vectors, by_images.val_vectors, atol=1e-3)
    for name, weight in by_images.model.state_dict().items():
        torch.testing.assert_close(
            by_embeddings.model.state_dict()[name], weight, rtol=1e-2, atol=1e-3
        )


def test_a_head_is_validated_as_it_is_used(data: TrainingData) -> None:
    """A layer that is random in training is not in validation."""
    params = make_params(train__freeze="backbone")
    model = make_model(params, NETWORK, "embedding")
    model.head = torch.nn.Sequential(model.head, torch.nn.Dropout(0.5))
    rng = np.random.default_rng(0)
    parts = [len(data.train_ids), len(data.val.ids)]
    dim = model.backbone.feature_dim
    vectors = [rng.standard_normal((rows, dim), dtype=np.float32) for rows in parts]
    trainer = Trainer(model, replace(data, embedded=Embedded(*vectors)), params)
    trainer.begin_epoch(0)
    assert np.array_equal(trainer.embed_validation(), trainer.embed_validation())


@pytest.mark.parametrize(
    ("changes", "hflip", "allowed"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"train__precision": "bf16"}, False, False),
        ({"train__freeze": "batch_norm"}, False, False),
        ({"train__augment__crop": [0.5, 1.0]}, False, False),
        ({"train__augment__hflip": 0.5}, False, False),
        ({"train__augment__jitter": [0.1, 0.1, 0.1, 0.1]}, False, False),
    ],
)
def test_embeddings_replace_images_where_these_would_always_be_embedded_as_they_were(
    changes: dict[str, Any], hflip: bool, allowed: bool
) -> None:
    frozen = {"train__freeze": "backbone", "train__precision": "fp32"}
    still = {"train__augment__crop": None, "train__augment__hflip": 0.0}
    params = make_params(**(frozen | still | changes))
    lineage = Lineage("0", hflip, "fp32")
    models = [make_model(params, NETWORK, pooling=pooling) for pooling in ("avg", "gem")]
    assert [trains_on_embeddings(params, model, lineage) for model in models] == [allowed, False]
    assert not trains_on_embeddings(params, models[0], None)


def test_no_chunk_is_left_with_a_single_image(data: TrainingData, tmp_path: Path) -> None:
    """Of 18 images by 17, which trained batch norm could not take."""
    trained = run(make_params(train__chunk_size=17, train__epochs=1), data, tmp_path)
    assert np.isfinite(trained.history[1]["loss"])


def test_training_lowers_the_loss_and_finds_validation_images(
    data: TrainingData, tmp_path: Path
) -> None:
    trained = run(make_params(train__epochs=8), data, tmp_path)
    assert trained.history[-1]["loss"] < trained.history[1]["loss"]
    assert trained.best_value > 0.5  # chance is about 2/17


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train__cross_batch_memory": 36, "loss__name": "contrastive"},
        {"loss__name": "arcface", "optimizer__name": "sgd", "train__workers": 2},
        {"batches__name": "triplets", "loss__name": "triplet", "optimizer__name": "adam"},
        {"train__ema": 0.9, "optimizer__adamw__layer_decay": 0.7},
        {"mine__refresh": 1, "batches__name": "triplets", "train__ema": 0.5},
        {"mine__refresh": 2, "batches__name": "triplets", "train__epochs": 4, "train__workers": 2},
    ],
    ids=[
        *("plain", "memory", "weights-in-the-loss", "triplets", "average", "mined-by-an-average"),
        "mined-an-epoch-before",
    ],
)
def test_a_killed_run_ends_in_the_bits_of_an_undisturbed_one(
    changes: dict[str, Any], data: TrainingData, tmp_path: Path
) -> None:
    params, network = make_params(**changes), NETWORK

    def kill_before_the_last(row: EpochMetrics) -> None:
        if row["epoch"] == params.train.epochs - 1:
            raise KilledError

    undisturbed = run(params, data, tmp_path / "undisturbed", network=network)
    with pytest.raises(KilledError):
        run(params, data, tmp_path / "killed", kill_before_the_last, network)
    epochs: list[float] = []
    resumed = run(
        params, data, tmp_path / "killed", lambda row: epochs.append(row["epoch"]), network
    )
    assert resumed.history == undisturbed.history
    assert bits(resumed) == bits(undisturbed)
    assert epochs == list(range(params.train.epochs + 1))


def test_triplets_are_mined_again_by_the_model_as_it_is(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before every second epoch but the first, as the stage `mine` would of those embeddings."""
    mined, shown = {}, []
    mine, samples = Trainer.mine, Trainer._samples

    def noted(trainer: Trainer, epoch: int) -> None:
        vectors = embed_groups(
            *(trainer.model, data.images, [data.train_ids]),
            **{"batch_size": 128, "precision": torch.float32, "workers": 0},
            device=torch.device("cpu"),
        )
        by_hand = mine_by_embeddings(
            next(iter(vectors)),
            data.train_labels,
            **{"positives": "random", "negatives": "semi_hard", "per_anchor": 2},
            **{"distance": "cosine", "seed": epoch_seed(trainer.params, epoch)},
        )
        mine(trainer, epoch)
        mined[epoch] = trainer.triplets
        assert trainer.triplets.tolist() == list(
            map(list, zip(by_hand.anchors, by_hand.positives, by_hand.negatives, strict=True))
        )

    def seen(trainer: Trainer, first_epoch: int) -> Any:
        for batch in samples(trainer, first_epoch):
            shown.append([row for row, _ in batch])
            yield batch

    monkeypatch.setattr(Trainer, "mine", noted)
    monkeypatch.setattr(Trainer, "_samples", seen)
    params = make_params(mine__refresh=2, batches__name="triplets", train__epochs=5)
    trained = run(params, data, tmp_path)
    assert list(mined) == [2, 4]
    assert len(trained.history) == 6
    steps = len(shown) // 5
    for epoch, triplets in [(0, data.triplets), (1, data.triplets), *mined.items()]:
        allowed = {tuple(each) for each in triplets.tolist()}
        for rows in shown[epoch * steps : (epoch + 1) * steps]:
            assert {*zip(*np.reshape(rows, (3, -1)).tolist(), strict=True)} <= allowed
    assert {*map(tuple, mined[2].tolist())} != {*map(tuple, data.triplets.tolist())}


def test_where_too_few_triplets_are_mined_the_earlier_ones_stay(
    data: TrainingData, caplog: pytest.LogCaptureFixture
) -> None:
    params = make_params(mine__refresh=1, batches__name="triplets")
    alike = np.ones((len(data.train_ids), 4), np.float32)  # none is farther than the positive
    kept = mine_again(alike, data.train_labels, data.triplets, params, epoch=3)
    assert kept is data.triplets
    assert caplog.messages == [
        "epoch 4: the earlier triplets stay: batches.triplets.batch_size: found 6; allowed: at "
        "most 0, the number of triplets"
    ]


@pytest.mark.parametrize("part", ["model", "optimizer", "history", "all"])
def test_a_checkpoint_of_another_shape_is_set_aside_and_training_begins_anew(
    part: str, data: TrainingData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params, network = make_params(train__epochs=1), NETWORK
    undisturbed = run(params, data, tmp_path / "undisturbed", network=network)
    checkpoint = Checkpoint(tmp_path / "undisturbed", "run")
    state = checkpoint.load()
    assert state is not None
    if part == "all":
        state = {"epoch": 1}
    elif part == "history":
        state["trained"]["unknown"] = 1
    elif part == "model":
        name = next(iter(state["trainer"]["model"]))
        state["trainer"]["model"][name] = torch.zeros(3)
    else:
        state["trainer"]["optimizer"] = {"groups": 7}
    Checkpoint(tmp_path / "other", "run").save(state)
    again = run(params, data, tmp_path / "other", network=network)
    assert bits(again) == bits(undisturbed)
    assert [line.partition(" (")[0] for line in caplog.messages if "damaged" in line] == [
        f"{tmp_path}/other/run.pt: damaged"
    ]


def test_the_number_of_workers_changes_no_bit(data: TrainingData, tmp_path: Path) -> None:
    params = [make_params(train__epochs=1, train__workers=workers) for workers in (0, 2)]
    alone, helped = (
        run(each, data, tmp_path / str(number), network=NETWORK)
        for number, each in enumerate(params)
    )
    assert bits(alone) == bits(helped)


def test_another_seed_gives_another_model(data: TrainingData, tmp_path: Path) -> None:
    one = run(make_params(train__epochs=1), data, tmp_path / "7")
    other = run(make_params(train__epochs=1, seed=8), data, tmp_path / "8")
    assert bits(one) != bits(other)


def test_the_best_epoch_is_returned_not_the_last(data: TrainingData, tmp_path: Path) -> None:
    trained = run(make_params(train__epochs=4), data, tmp_path)
    values = [row["val_map_at_r"] for row in trained.history]
    assert trained.best_value == max(values)
    assert trained.best_epoch == values.index(max(values))
    state = Checkpoint(tmp_path, "run").load()
    assert state is not None
    for name, weight in trained.model.state_dict().items():
        assert torch.equal(weight.cpu(), state["trained"]["best_weights"][name])


def test_every_metric_of_the_validation_may_be_the_monitor(data: TrainingData) -> None:
    params = make_params(train__monitor="ndcg_at_5")
    measured = Trainer(make_model(params), data, params).validate()
    assert measured.keys() == {f"val_{name}" for name in VALIDATION_METRICS}
    for name in VALIDATION_METRICS:
        assert make_params(train__monitor=name).train.monitor == name


def test_patience_stops_a_run_that_no_longer_gets_better(
    data: TrainingData, tmp_path: Path
) -> None:
    # A learning rate this small changes nothing, so the model before the first stays the best.
    still = {
        "optimizer__adamw__lr": 1e-12,
        "optimizer__adamw__head_lr": None,
        "train__freeze": "batch_norm",
        "train__epochs": 9,
    }
    trained = run(make_params(train__patience=2, **still), data, tmp_path)
    assert [row["epoch"] for row in trained.history] == [0, 1, 2]


@pytest.mark.parametrize("freeze", ["none", "batch_norm", "backbone"])
def test_freeze_leaves_just_what_it_names_unchanged(
    freeze: str, data: TrainingData, tmp_path: Path
) -> None:
    params = make_params(train__freeze=freeze, train__epochs=1)
    before = {name: value.clone() for name, value in make_model(params).state_dict().items()}
    run(params, data, tmp_path)
    after = last_weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name].cpu())}
    norms = {name for name in before if ".bn" in name or "running_" in name}
    backbone = {name for name in before if name.startswith("backbone.")}
    expected_still = {"none": set(), "batch_norm": norms, "backbone": backbone}[freeze]
    assert norms
    assert not changed & expected_still
    assert any(name.startswith("head.") for name in changed)
    assert bool(changed & backbone) == (freeze != "backbone")


@pytest.mark.parametrize("freeze", ["none", "batch_norm"])
def test_in_the_first_epochs_the_head_alone_is_trained(
    freeze: str, data: TrainingData, tmp_path: Path
) -> None:
    params = make_params(train__freeze=freeze, train__head_epochs=2, train__epochs=3)
    after: dict[int, dict[str, torch.Tensor]] = {}
    model = make_model(params)

    def keep(row: dict[str, float]) -> None:
        after[int(row["epoch"])] = {name: w.clone() for name, w in model.state_dict().items()}

    train(model, data, params, checkpoint=Checkpoint(tmp_path, "run"), on_epoch=keep)
    for epoch in (1, 2, 3):
        weights = after[epoch]
        changed = {name for name in weights if not weights[name].equal(after[epoch - 1][name])}
        assert {"head.weight", "head.bias"} <= changed
        of_backbone = {name for name in changed if name.startswith("backbone.")}
        assert bool(of_backbone) == (epoch == 3)


def test_nested_embeddings_are_shorter_than_the_whole(data: TrainingData, tmp_path: Path) -> None:
    params = make_params(head__name="none", train__nested=[16, 96])
    with pytest.raises(UserError) as caught:
        run(params, data, tmp_path)
    assert str(caught.value) == (
        "train.nested: found 96; allowed: less than the length of the embedding, 96"
    )


def test_nesting_makes_the_first_numbers_a_better_embedding(
    data: TrainingData, tmp_path: Path
) -> None:
    def mean_of_two_seeds(nested: list[int]) -> float:
        found = []
        for seed in (0, 1):
            params = make_params(
                train__nested=nested, train__epochs=6, loss__name="supcon", train__seed=seed
            )
            run(params, data, tmp_path / f"{nested}{seed}")
            model = make_model(params)
            model.load_state_dict(last_weights(tmp_path / f"{nested}{seed}"))
            vectors = Trainer(model, data, params).embed_validation()[:, :2]
            roles = (data.val.labels, data.val.is_query, data.val.is_gallery)
            found.append(measure(vectors, *roles, k=(1,), distance="cosine").means["map"])
        return float(np.mean(found))

    assert mean_of_two_seeds([2]) > mean_of_two_seeds([]) + 0.1


def test_a_gradient_that_is_too_long_is_shortened(data: TrainingData) -> None:
    """Of all weights together; then a step of plain descent is as long as rate and clip say."""
    plain = {"optimizer__name": "sgd", "optimizer__sgd__lr": 0.1, "optimizer__sgd__head_lr": 0.1}
    plain |= {"optimizer__sgd__momentum": 0.0, "optimizer__sgd__weight_decay": 0.0}
    lengths = {}
    for clip in (None, 1000.0, 0.01):
        params = make_params(train__clip=clip, scheduler__name="constant", **plain)
        trainer = Trainer(make_model(params), data, params)
        before = [weight.detach().clone() for weight in trainer.model.parameters()]
        trainer.begin_epoch(0)
        trainer.loss_with_gradient(*next(iter(trainer.loader(first_epoch=0))))
        trainer.step()
        moved = zip(trainer.model.parameters(), before, strict=True)
        squares = sum(float((now.detach() - then).square().sum()) for now, then in moved)
        lengths[clip] = squares**0.5
    assert lengths[None] == lengths[1000.0]
    assert lengths[0.01] == pytest.approx(0.1 * 0.01, rel=1e-3)
    assert lengths[None] > lengths[0.01]


def test_the_first_layers_stay_as_they_are(data: TrainingData, tmp_path: Path) -> None:
    params = make_params(train__freeze_layers=3, train__epochs=1)
    model = make_model(params)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(params, data, tmp_path)
    after = last_weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name].cpu())}
    names = {id(weight): name for name, weight in model.named_parameters()}
    layers = [{names[id(weight)] for weight in layer} for layer in list_layers(model.backbone)]
    assert all(not layer & changed for layer in layers[:3])
    assert all(layer & changed for layer in layers[3:])
    # Their batch norms keep their statistics too.
    of_norms = {name.rpartition(".")[0] for name in changed if "running_mean" in name}
    norms = {name.rpartition(".")[0] for name in before if "running_mean" in name}
    still = {name.rpartition(".")[0] for layer in layers[:3] for name in layer}
    assert of_norms == norms - still
    assert norms & still


def test_nothing_is_dropped_out_in_layers_that_stay_as_they_are(data: TrainingData) -> None:
    params = make_params(train__freeze_layers=10)
    trainer = Trainer(make_model(params, "efficientnet_b0"), data, params)
    trainer.begin_epoch(0)
    modes = {name: part.training for name, part in trainer.model.named_modules()}
    random = [mode for name, mode in modes.items() if name.endswith("stochastic_depth")]
    assert random == sorted(random)
    assert {*random} == {True, False}


def test_a_network_has_no_more_layers_to_freeze_than_it_has(
    data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run(make_params(train__freeze_layers=5), data, tmp_path)
    assert str(caught.value) == (
        "train.freeze_layers: found 5; timm:test_resnet has 5 layers, so nothing of it is left to "
        "train; allowed: fewer, or train.freeze backbone"
    )


TRANSFORMER = "timm:test_vit"
LOW_RANK = {"train__lora": 2, "train__freeze": "none"}


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_change_of_low_rank_is_trained_and_merged(ema: float | None, data: TrainingData) -> None:
    params = make_params(**LOW_RANK, train__ema=ema)
    model = make_model(params, TRANSFORMER)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trainer = Trainer(model, data, params)
    trainer.begin_epoch(0)
    for images, labels in islice(trainer.loader(first_epoch=0), 2):
        trainer.loss_with_gradient(images, labels)
        trainer.step()
    trainer.forward.eval()
    vectors = trainer._by_kept(trainer.embed_validation)
    merge_low_rank(trainer.kept)
    after = trainer.kept.state_dict()
    assert set(after) == set(before)
    ranks = {
        name: int(torch.linalg.matrix_rank(after[name].cpu() - before[name], atol=1e-5))
        for name in before
        if name.startswith("backbone") and not torch.equal(before[name], after[name].cpu())
    }
    kinds = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    blocks = range(len(model.backbone.trunk.blocks))  # type: ignore[arg-type]
    names = {f"backbone.trunk.blocks.{block}.{kind}.weight" for block in blocks for kind in kinds}
    assert ranks == dict.fromkeys(names, 2)
    merged = make_model(params, TRANSFORMER)
    merged.load_state_dict(after)
    [again] = embed_groups(
        *(merged, data.images, [data.val.ids]),
        **{"batch_size": 128, "precision": torch.float32, "workers": 0},
        device=torch.device("cpu"),
    )
    np.testing.assert_allclose(again, vectors, atol=1e-6)


def test_a_killed_run_of_low_rank_ends_in_the_same_bits(data: TrainingData, tmp_path: Path) -> None:
    params = make_params(**LOW_RANK)

    def kill_before_the_last(row: EpochMetrics) -> None:
        if row["epoch"] == params.train.epochs - 1:
            raise KilledError

    undisturbed = run(params, data, tmp_path / "undisturbed", network=TRANSFORMER)
    with pytest.raises(KilledError):
        run(params, data, tmp_path / "killed", kill_before_the_last, TRANSFORMER)
    assert bits(run(params, data, tmp_path / "killed", network=TRANSFORMER)) == bits(undisturbed)


def test_layers_that_are_frozen_get_no_change_of_low_rank(data: TrainingData) -> None:
    params = make_params(**LOW_RANK, train__epochs=1, train__freeze_layers=4)
    before = make_model(params, TRANSFORMER)
    layers = list_layers(before.backbone)
    names = {id(weight): name for name, weight in before.named_parameters()}
    frozen = {names[id(weight)] for layer in layers[:4] for weight in layer}
    trainer = Trainer(make_model(params, TRANSFORMER), data, params)
    changed = {
        name.replace(".parametrizations", "").rpartition(".0.")[0]
        for name, weight in trainer.model.backbone.named_parameters(prefix="backbone")
        if weight.requires_grad
    }
    assert changed
    assert not changed & frozen


def test_attention_of_torch_gets_a_change_of_low_rank(tiny_transformer: nn.Module) -> None:
    model = Embedder.__new__(Embedder)
    nn.Module.__init__(model)
    model.backbone = tiny_transformer  # type: ignore[assignment]
    x = torch.randn(2, 3, 8)
    tiny_transformer.eval()
    before = tiny_transformer(x)
    names = list(tiny_transformer.state_dict())
    add_low_rank(model, 2)
    torch.testing.assert_close(tiny_transformer(x), before)
    for name, weight in tiny_transformer.named_parameters():
        if weight.requires_grad:
            assert name.endswith((".0.a", ".0.b"))
            nn.init.normal_(weight)
    changed = tiny_transformer(x)
    assert not torch.allclose(changed, before)
    merge_low_rank(model)
    torch.testing.assert_close(tiny_transformer(x), changed)
    assert sorted(tiny_transformer.state_dict()) == sorted(names)


@pytest.fixture
def tiny_transformer() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


def test_a_network_without_matrices_has_no_change_of_low_rank(
    data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run(make_params(train__lora=4), data, tmp_path)
    assert str(caught.value) == (
        "train.lora: found 4; timm:test_resnet has no linear or attention layers that are trained; "
        "allowed: null, or another backbone, such as a transformer"
    )


def test_what_is_validated_and_kept_is_the_moving_average(data: TrainingData) -> None:
    """As a slow one computes it: a_0 = w_0 after the first batch, then a = d a + (1 - d) w."""
    params = make_params(train__ema=0.9, train__epochs=1)
    trainer = Trainer(make_model(params), data, params)
    trainer.begin_epoch(0)
    average: dict[str, torch.Tensor] = {}
    for images, labels in trainer.loader(first_epoch=0):
        trainer.loss_with_gradient(images, labels)
        trainer.step()
        for name, weight in trainer.model.state_dict().items():
            now = weight.double()
            average[name] = 0.9 * average[name] + 0.1 * now if name in average else now.clone()
    for name, weight in trainer.kept.state_dict().items():
        if weight.is_floating_point():  # not how many batches a norm has seen
            assert torch.allclose(weight.double(), average[name], rtol=1e-4, atol=1e-6), name
    own = trainer.embed_validation()
    measured = trainer.validate()
    assert np.array_equal(trainer.embed_validation(), own)  # training goes on from its own weights
    trainer.model.load_state_dict(trainer.kept.state_dict())
    assert not np.array_equal(trainer.embed_validation(), own)
    assert measured == trainer._measure(trainer.embed_validation())


def test_a_loss_that_is_not_a_number_stops_with_the_key_to_change(
    data: TrainingData, tmp_path: Path
) -> None:
    wild = make_params(
        optimizer__name="sgd", optimizer__sgd__lr=1e30, head__normalize=False, loss__name="triplet"
    )
    with pytest.raises(UserError) as error:
        run(wild, data, tmp_path)
    assert "the loss is nan; try a smaller optimizer.sgd.lr (now 1e+30), " in str(error.value)
    assert str(error.value).endswith("or train.precision fp32")


# --- images of several labels ------------------------------------------------------------------

PAIRS = [[a, b] for a in range(CLASSES) for b in range(a + 1, CLASSES)]  # 15, of 6 directions


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Images of stripes in two directions: three of each pair to train, two to validate.

    The first label misleads: it is that of the lesser direction, whatever the other is.
    """
    directory = tmp_path_factory.mktemp("crossed")
    writer, rng = Packer(directory), np.random.default_rng(0)
    ids = [[f"{a}{b}/{n}" for n in range(5)] for a, b in PAIRS]
    for pair, of_pair in zip(PAIRS, ids, strict=True):
        for image_id in of_pair:
            writer.add(image_id, _striped(pair, rng))
    writer.close()
    val_ids = [image_id for of_pair in ids for image_id in of_pair[3:]]
    return TrainingData(
        images=PackedImages(directory),
        train_ids=[image_id for of_pair in ids for image_id in of_pair[:3]],
        train_labels=from_lists([pair for pair in PAIRS for _ in range(3)]),
        val=Validation(
            ids=val_ids,
            labels=from_lists([[int(image_id[0]), int(image_id[1])] for image_id in val_ids]),
            is_query=np.ones(len(val_ids), dtype=bool),
            is_gallery=np.ones(len(val_ids), dtype=bool),
        ),
        triplets=_disjoint_triplets(),
    )


def _disjoint_triplets() -> np.ndarray[Any, np.dtype[np.int64]]:
    """The anchor, another of its pair, and one of a pair without either direction."""
    apart = [[n for n, other in enumerate(PAIRS) if not {*pair} & {*other}] for pair in PAIRS]
    rows = [
        [3 * n + i, 3 * n + (i + 1) % 3, 3 * apart[n][(n + i) % len(apart[n])] + i]
        for n in range(len(PAIRS))
        for i in range(3)
    ]
    return np.array(rows, dtype=np.int64)


SEVERAL: dict[str, dict[str, Any]] = {
    "supcon-pk": {"loss__name": "supcon", "batches__pk": {"classes": 5, "per_class": 3}},
    "triplet-random": {
        "loss__name": "triplet",
        "batches__name": "random",
        "batches__random__batch_size": 15,
    },
    "triplet-mined": {
        "loss__name": "triplet",
        "loss__triplet__margin": 0.5,
        "batches__name": "triplets",
        "batches__triplets__batch_size": 15,
    },
}


@pytest.mark.parametrize(
    "name",
    [
        "triplet-random",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("supcon-pk", "triplet-mined")),
    ],
)
def test_training_with_several_labels_lowers_the_loss_and_ranks_validation_better(
    name: str, crossed: TrainingData, tmp_path: Path
) -> None:
    params = make_params(train__epochs=8, train__monitor="map", **SEVERAL[name])
    untrained = Trainer(make_model(params), crossed, params).validate()
    trained = run(params, crossed, tmp_path)
    assert trained.best_value > untrained["val_map"] + 0.03
    # The mean over the few of 15 mined triplets that are still violated goes up and down.
    if name != "triplet-mined":
        assert trained.history[-1]["loss"] < trained.history[1]["loss"]


def test_a_single_label_run_builds_no_matrix_of_labels(data: TrainingData) -> None:
    params = make_params()
    assert Trainer(make_model(params), data, params).objective.members is None


def test_a_loss_that_sees_one_label_is_refused_for_images_of_several(
    crossed: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        run(make_params(loss__name="arcface"), crossed, tmp_path)
    assert str(error.value) == (
        "loss.name: found 'arcface'; the images have several labels; allowed: supcon, triplet"
    )
    with pytest.raises(UserError) as error:
        run(make_params(loss__name="contrastive", miner__name="batch_hard"), crossed, tmp_path)
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [
        "loss.name",
        "miner.name",
    ]
