"""Choices that are each allowed and cannot go together; told before any work begins."""

from collections.abc import Iterator
from typing import Any

from pipeline.config.choices import Choice
from pipeline.config.schema import Params
from pipeline.training.losses import TAKES_LABEL_SETS, TAKES_TRIPLETS

# Losses that look at single images, so that positives in the batch are not needed.
CLASSIFYING = {"arcface", "proxy_anchor", "soft_triple", "cross_entropy"}
# Losses to which chosen pairs or a memory of earlier images mean nothing.
WITHOUT_PAIRS = CLASSIFYING | {"smooth_ap"}


def batch_size_of(batches: Choice[Any]) -> int:
    """Return how many images one batch holds."""
    options = batches.options
    match batches.name:
        case "pk":
            return int(options["classes"] * options["per_class"])
        case "triplets":
            return int(options["size"] * 3)
    return int(options["size"])


def anchor_count(batches: Choice[Any]) -> int | None:
    """Return how many images of a batch look for others; None where all do."""
    anchors: int | None = batches.options.get("anchors")
    return anchors


def find_contradictions(params: Params) -> list[str]:
    """Return what cannot work, one line each: the key, what was found, what is allowed."""
    return [
        *_in_mine(params),
        *_in_miner(params),
        *_in_batches(params),
        *_in_memory(params),
        *_in_train(params),
        *_in_plot(params),
    ]


def find_label_set_contradictions(params: Params) -> list[str]:
    """Return what cannot train images of several labels, one line each.

    It would look at the first label of each image and leave out the others. Of mined triplets
    no label is looked at, so all losses on triplets can.
    """
    loss, miner, memory = params.loss.name, params.miner.name, params.train.cross_batch_memory
    losses = TAKES_TRIPLETS if params.batches.name == "triplets" else TAKES_LABEL_SETS
    why = "the images have several labels"
    problems = []
    if loss not in losses:
        triplets = " with batches.name 'triplets'" if losses is TAKES_TRIPLETS else ""
        allowed = ", ".join(sorted(losses))
        problems.append(f"loss.name: found '{loss}'{triplets}; {why}; allowed: {allowed}")
    if miner != "none":
        problems.append(f"miner.name: found '{miner}'; {why}; allowed: none")
    if memory:
        problems.append(f"train.cross_batch_memory: found {memory}; {why}; allowed: 0")
    if anchors := anchor_count(params.batches):
        problems.append(f"batches.random.anchors: found {anchors}; {why}; allowed: null")
    return problems


def _in_mine(params: Params) -> Iterator[str]:
    mine = params.mine
    if mine.hard and mine.method != "labels":
        yield (
            f"mine.hard: found True with mine.method '{mine.method}', which has mine.positives and "
            "mine.negatives for that; allowed: False, or mine.method labels"
        )
    if mine.pool is not None and not mine.hard:
        yield (
            f"mine.pool: found {mine.pool} with mine.hard False, where nothing is compared; "
            "allowed: null, or mine.hard true"
        )


def _in_miner(params: Params) -> Iterator[str]:
    if params.miner.name == "none":
        return
    found = f"miner.name: found '{params.miner.name}' with"
    if params.loss.name in WITHOUT_PAIRS:
        yield f"{found} loss.name '{params.loss.name}', which takes no pairs; allowed: none"
    if params.batches.name == "triplets":
        yield f"{found} batches.name 'triplets', which are mined already; allowed: none"


def _in_batches(params: Params) -> Iterator[str]:
    loss, batches = params.loss.name, params.batches
    if anchors := anchor_count(batches):
        found = f"batches.random.anchors: found {anchors}"
        if anchors > batches.options["size"]:
            yield f"{found}; allowed: at most batches.random.size, {batches.options['size']}"
        if loss in CLASSIFYING:
            yield f"{found} with loss.name '{loss}', where none looks for others; allowed: null"
        if params.train.cross_batch_memory:
            yield f"{found} with train.cross_batch_memory, which all look into; allowed: null"
    if batches.name == "pk" and batches.options["per_class"] < 2 and loss not in CLASSIFYING:
        yield (
            f"batches.pk.per_class: found 1 with loss.name '{loss}', which needs two images of a "
            "class; allowed: 2 or more"
        )


def _in_memory(params: Params) -> Iterator[str]:
    memory, loss, images = (
        params.train.cross_batch_memory,
        params.loss,
        batch_size_of(params.batches),
    )
    if not memory:
        return
    found = f"train.cross_batch_memory: found {memory}"
    if loss.name in WITHOUT_PAIRS:
        yield f"{found} with loss.name '{loss.name}', which takes no pairs; allowed: 0"
    if loss.name in TAKES_TRIPLETS and params.batches.name == "triplets":
        yield (
            f"{found} with batches.name 'triplets', where loss.name '{loss.name}' looks at nothing "
            "but the mined ones; allowed: 0"
        )
    if loss.name == "triplet" and loss.options["swap"]:
        # The negative of a positive is sought among distances to the memory; the positive's own
        # are not there (KevinMusgrave/pytorch-metric-learning#748).
        yield f"{found} with loss.triplet.swap true, which needs whole triplets; allowed: 0"
    if memory < images:
        yield (
            f"{found}, less than the {images} images of a batch; allowed: 0, or {images} and more"
        )


def _in_train(params: Params) -> Iterator[str]:
    train = params.train
    if train.freeze == "backbone" and params.head.name == "none":
        yield "train.freeze: found 'backbone' with head.name 'none', so nothing is left to train"
    if train.chunk_size == 1 and train.freeze == "none":
        yield (
            "train.chunk_size: found 1 with train.freeze 'none'; batch norm needs several images; "
            "allowed: 2 or more, or train.freeze batch_norm or backbone"
        )
    if train.augment.crop and train.augment.crop[0] > train.augment.crop[1]:
        yield f"train.augment.crop: found {train.augment.crop}; allowed: [least, most]"


def _in_plot(params: Params) -> Iterator[str]:
    if params.plot.columns > params.evaluate.neighbors:
        yield (
            f"plot.columns: found {params.plot.columns}; allowed: at most evaluate.neighbors, "
            f"which is {params.evaluate.neighbors}"
        )
