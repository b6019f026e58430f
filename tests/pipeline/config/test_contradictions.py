"""Every contradiction is refused, word for word; what works together is allowed."""

from collections.abc import Callable
from typing import Any

import pytest
from pytorch_metric_learning.losses import CrossBatchMemory

from pipeline.config.contradictions import find_contradictions, find_label_set_contradictions
from pipeline.config.schema import Params
from pipeline.training.losses import LOSSES, Loss
from pipeline.training.miners import MINERS
from tests.helpers.overlay import overlaid

PROXIES = {"arcface", "cosface", "sub_center_arcface", "proxy_nca", "proxy_anchor", "soft_triple"}
CLASSIFICATION = PROXIES | {"cross_entropy"}
WITHOUT_PAIRS = CLASSIFICATION | {"smooth_ap", "recall_at_k"}
ON_TRIPLETS = {"triplet", "contrastive", "multi_similarity", "circle", "ntxent", "margin"}
ON_LABEL_SETS = {"supcon", "triplet"}


def make_params(**changes: Any) -> Params:
    """The project's params, contradictions not yet checked; __ in a key means a dot."""
    return Params.model_validate(overlaid(changes))


def test_every_loss_is_of_one_kind() -> None:
    def found(takes: Callable[[type[Loss]], bool]) -> set[str]:
        return {name for name, loss in LOSSES.items() if takes(loss)}

    assert found(lambda loss: not loss.needs_positives()) == CLASSIFICATION
    assert found(lambda loss: not loss.takes_pairs()) == WITHOUT_PAIRS
    assert found(lambda loss: loss.takes_triplets()) == ON_TRIPLETS
    assert found(lambda loss: loss.takes_label_sets()) == ON_LABEL_SETS
    assert LOSSES.keys() == WITHOUT_PAIRS | ON_TRIPLETS | ON_LABEL_SETS


def test_a_memory_takes_every_loss_on_pairs() -> None:
    takes = set(CrossBatchMemory.supported_losses())
    own = {"smooth_ap", "recall_at_k", "cross_entropy"}
    of_library = {name for name in LOSSES.keys() - own if LOSSES[name].library_class in takes}
    assert of_library == LOSSES.keys() - WITHOUT_PAIRS


@pytest.mark.parametrize(("name", "images"), [("pk", 64), ("triplets", 96), ("random", 64)])
def test_a_batch_is_counted_in_images(name: str, images: int) -> None:
    assert make_params(batches__name=name).batches.options.images == images


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"train__freeze": "backbone", "head__name": "linear", "train__lora": 8},
        "train.lora: found 8 with train.freeze 'backbone', where no layer of the backbone is "
        "trained; allowed: null",
    ),
    (
        {"train__freeze": "backbone", "head__name": "linear", "train__freeze_layers": 2},
        "train.freeze_layers: found 2 with train.freeze 'backbone', where no layer of the backbone "
        "is trained; allowed: 0",
    ),
    (
        {
            **{"train__epochs": 3, "train__head_epochs": 3, "head__name": "linear"},
            "optimizer__adamw__layer_decay": 0.5,
        },
        "optimizer.adamw.layer_decay: found 0.5 with train.head_epochs 3, all of train.epochs, "
        "where no layer of the backbone is trained; allowed: 1",
    ),
    (
        {"mine__hard": True},
        "mine.hard: found True with mine.method 'embeddings', which has mine.positives and "
        "mine.negatives for that; allowed: False, or mine.method labels",
    ),
    (
        {"mine__method": "labels", "mine__candidates": 5},
        "mine.candidates: found 5 with mine.method 'labels', which has mine.pool for that; "
        "allowed: null, or mine.method embeddings",
    ),
    (
        {"mine__method": "labels", "mine__refresh": 2},
        "mine.refresh: found 2 with mine.method 'labels', which training does not change; "
        "allowed: null, or mine.method embeddings",
    ),
    (
        {"mine__negatives": "random", "mine__candidates": 5},
        "mine.candidates: found 5 with mine.negatives 'random', where nothing is compared; "
        "allowed: null, or mine.negatives hard or semi_hard",
    ),
    (
        {"mine__method": "labels", "mine__pool": 5},
        "mine.pool: found 5 with mine.hard False, where nothing is compared; "
        "allowed: null, or mine.hard true",
    ),
    *(
        (
            {"loss__name": loss, "miner__name": "batch_hard"},
            f"miner.name: found 'batch_hard' with loss.name '{loss}', which takes no pairs; "
            "allowed: none",
        )
        for loss in sorted(WITHOUT_PAIRS)
    ),
    (
        {"loss__name": "triplet", "miner__name": "pair_margin", "batches__name": "triplets"},
        "miner.name: found 'pair_margin' with batches.name 'triplets', which are mined already; "
        "allowed: none",
    ),
    (
        {"train__head_epochs": 1, "head__name": "none"},
        "train.head_epochs: found 1 with head.name 'none', where there are no two parts to train "
        "one before the other; allowed: 0",
    ),
    (
        {"train__head_epochs": 1, "head__name": "linear", "train__freeze": "backbone"},
        "train.head_epochs: found 1 with train.freeze 'backbone', where there are no two parts to "
        "train one before the other; allowed: 0",
    ),
    (
        {"train__head_epochs": 6, "head__name": "linear", "train__epochs": 5},
        "train.head_epochs: found 6; allowed: at most train.epochs, which is 5",
    ),
    (
        {"train__nested": [32, 128], "head__name": "linear", "head__dim": 128},
        "train.nested: found 128; allowed: less than head.dim, which is 128",
    ),
    (
        {"train__consistent_margin": [0.5, 0.9]},
        "train.consistent_margin: found [0.5, 0.9]; allowed: the first greater than the second, "
        "such as [0.9, 0.5]",
    ),
    (
        {"train__chunk_size": 1, "train__freeze": "none"},
        "train.chunk_size: found 1 with train.freeze 'none'; batch norm needs several images; "
        "allowed: 2 or more, or train.freeze batch_norm or backbone",
    ),
    (
        {"batches__name": "random", "batches__random": {"batch_size": 8, "anchors": 9}},
        "batches.random.anchors: found 9; allowed: at most batches.random.batch_size, 8",
    ),
    *(
        (
            {
                "loss__name": loss,
                "batches__name": "random",
                "batches__random": {"batch_size": 8, "anchors": 2},
            },
            f"batches.random.anchors: found 2 with loss.name '{loss}', which has no anchors; "
            "allowed: null",
        )
        for loss in sorted(CLASSIFICATION)
    ),
    (
        {
            "batches__name": "random",
            "batches__random": {"batch_size": 8, "anchors": 2},
            "train__cross_batch_memory": 8,
        },
        "batches.random.anchors: found 2 with train.cross_batch_memory, where every image is an "
        "anchor; allowed: null",
    ),
    *(
        (
            {"loss__name": loss, "batches__pk": {"classes": 64, "per_class": 1}},
            f"batches.pk.per_class: found 1 with loss.name '{loss}', which needs two images of a "
            "class; allowed: 2 or more",
        )
        for loss in sorted(LOSSES.keys() - CLASSIFICATION)
    ),
    *(
        (
            {
                "loss__name": loss,
                "batches__name": "random",
                "batches__random": {"batch_size": 1, "anchors": None},
            },
            f"batches.random.batch_size: found 1 with loss.name '{loss}', which needs pairs of "
            "images; allowed: 2 or more",
        )
        for loss in sorted(LOSSES.keys() - CLASSIFICATION)
    ),
    *(
        (
            {"loss__name": loss, "train__cross_batch_memory": 640},
            f"train.cross_batch_memory: found 640 with loss.name '{loss}', which takes no pairs; "
            "allowed: 0",
        )
        for loss in sorted(WITHOUT_PAIRS)
    ),
    *(
        (
            {"loss__name": loss, "train__cross_batch_memory": 960, "batches__name": "triplets"},
            f"train.cross_batch_memory: found 960 with batches.name 'triplets', where loss.name "
            f"'{loss}' sees the mined triplets alone; allowed: 0",
        )
        for loss in sorted(ON_TRIPLETS)
    ),
    (
        {"loss__name": "triplet", "loss__triplet__swap": True, "train__cross_batch_memory": 640},
        "train.cross_batch_memory: found 640 with loss.triplet.swap true, which needs whole "
        "triplets; allowed: 0",
    ),
    (
        {"train__cross_batch_memory": 63},
        "train.cross_batch_memory: found 63, less than the 64 images of a batch; allowed: 0, "
        "or 64 and more",
    ),
    (
        {"train__freeze": "backbone", "head__name": "none"},
        "train.freeze: found 'backbone' with head.name 'none', so nothing is left to train",
    ),
    (
        {"train__augment__crop": [0.9, 0.5]},
        "train.augment.crop: found [0.9, 0.5]; allowed: least <= most, both from 0 to 1",
    ),
    (
        {"plot__columns": 21},
        "plot.columns: found 21; allowed: at most evaluate.neighbors, which is 20",
    ),
]


@pytest.mark.parametrize(("changes", "text"), CONTRADICTIONS)
def test_a_contradiction_is_refused(changes: dict[str, Any], text: str) -> None:
    assert find_contradictions(make_params(**changes)) == [text]


def test_every_contradiction_is_reported() -> None:
    found = find_contradictions(make_params(plot__columns=21, train__cross_batch_memory=63))
    assert [line.partition(":")[0] for line in found] == [
        "train.cross_batch_memory",
        "plot.columns",
    ]


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_works_with_pk_batches(loss: str) -> None:
    assert find_contradictions(make_params(loss__name=loss)) == []


@pytest.mark.parametrize("miner", sorted(MINERS))
def test_every_miner_works_with_a_loss_on_pairs(miner: str) -> None:
    for loss in ON_TRIPLETS | {"supcon"}:
        assert find_contradictions(make_params(loss__name=loss, miner__name=miner)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"loss__name": "arcface", "batches__pk": {"classes": 64, "per_class": 1}},
        {"loss__name": "supcon", "batches__name": "triplets", "train__cross_batch_memory": 96},
        {"loss__name": "triplet", "miner__name": "batch_hard", "train__cross_batch_memory": 64},
        {"loss__name": "contrastive", "loss__triplet__swap": True, "train__cross_batch_memory": 64},
        {"train__freeze": "batch_norm", "head__name": "none"},
        {"train__augment__crop": [0.5, 0.5]},
        {"plot__columns": 20},
    ],
)
def test_what_works_together_is_allowed(changes: dict[str, Any]) -> None:
    assert find_contradictions(make_params(**changes)) == []


@pytest.mark.parametrize("batches", ["pk", "random", "triplets"])
@pytest.mark.parametrize("loss", LOSSES)
def test_images_of_several_labels_train_no_loss_that_sees_the_first_alone(
    loss: str, batches: str
) -> None:
    takes = ON_TRIPLETS if batches == "triplets" else ON_LABEL_SETS
    problems = find_label_set_contradictions(make_params(loss__name=loss, batches__name=batches))
    assert (problems == []) == (loss in takes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"loss__name": "arcface"},
            "loss.name: found 'arcface'; the images have several labels; allowed: supcon, triplet",
        ),
        (
            {"loss__name": "supcon", "batches__name": "triplets"},
            "loss.name: found 'supcon' with batches.name 'triplets'; the images have several "
            "labels; allowed: circle, contrastive, margin, multi_similarity, ntxent, triplet",
        ),
        (
            {"loss__name": "triplet", "miner__name": "batch_hard"},
            "miner.name: found 'batch_hard'; the images have several labels; allowed: none",
        ),
        (
            {"loss__name": "supcon", "train__cross_batch_memory": 128},
            "train.cross_batch_memory: found 128; the images have several labels; allowed: 0",
        ),
        (
            {"loss__name": "supcon", "train__consistent_margin": [0.9, 0.5]},
            "train.consistent_margin: found [0.9, 0.5]; the images have several labels; allowed: "
            "null",
        ),
    ],
)
def test_what_would_see_the_first_label_alone_is_refused(
    changes: dict[str, Any], problem: str
) -> None:
    assert find_label_set_contradictions(make_params(**changes)) == [problem]
