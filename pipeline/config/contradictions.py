"""Values of params.yaml that are allowed alone and not together; refused before any work."""

from collections.abc import Iterator

from pipeline.config.schema import Params
from pipeline.errors import UserError
from pipeline.models.packaged_weights import PACKAGED, WEIGHTS_FILES, refuse_packaged
from pipeline.training.batches import PKBatches, RandomBatches
from pipeline.training.losses import LOSSES, TripletLoss


def find_contradictions(params: Params) -> list[str]:
    """Return what cannot work, one line each: the key, what was found, what is allowed."""
    return [
        *_in_backbone(params),
        *_in_mine(params),
        *_in_miner(params),
        *_in_batches(params),
        *_in_memory(params),
        *_in_train(params),
        *_in_plot(params),
    ]


def refuse_label_sets(params: Params) -> None:
    """Raise a UserError, one line for each reason, if images of several labels cannot train."""
    if problems := find_label_set_contradictions(params):
        raise UserError(*problems)


def find_label_set_contradictions(params: Params) -> list[str]:
    """Return what cannot train images of several labels, one line each.

    It would see the first label of each image and ignore the others. A loss on mined triplets sees
    no labels, so every such loss is allowed.
    """
    mined = params.batches.options.mined
    losses = {
        name
        for name, loss in LOSSES.items()
        if (loss.takes_triplets() if mined else loss.takes_label_sets())
    }
    why = "the images have several labels"
    problems = []
    if params.loss.name not in losses:
        found = f"'{params.loss.name}'" + (" with batches.name 'triplets'" if mined else "")
        problems.append(f"loss.name: found {found}; {why}; allowed: {', '.join(sorted(losses))}")
    if params.miner.name != "none":
        problems.append(f"miner.name: found '{params.miner.name}'; {why}; allowed: none")
    if margin := params.train.consistent_margin:
        problems.append(f"train.consistent_margin: found {margin}; {why}; allowed: null")
    if memory := params.train.cross_batch_memory:
        problems.append(f"train.cross_batch_memory: found {memory}; {why}; allowed: 0")
    if anchors := params.batches.options.anchor_count:
        problems.append(f"batches.random.anchors: found {anchors}; {why}; allowed: null")
    return problems


def _in_backbone(params: Params) -> Iterator[str]:
    if params.backbone.weights == PACKAGED and params.backbone.name not in WEIGHTS_FILES:
        yield refuse_packaged(params.backbone.name)


def _in_mine(params: Params) -> Iterator[str]:
    mine = params.mine
    if mine.hard and mine.method != "labels":
        yield (
            f"mine.hard: found True with mine.method '{mine.method}', which has mine.positives and "
            "mine.negatives for that; allowed: False, or mine.method labels"
        )
    if mine.candidates is not None and mine.method != "embeddings":
        yield (
            f"mine.candidates: found {mine.candidates} with mine.method '{mine.method}', which has "
            "mine.pool for that; allowed: null, or mine.method embeddings"
        )
    elif mine.candidates is not None and mine.negatives == "random":
        yield (
            f"mine.candidates: found {mine.candidates} with mine.negatives 'random', where nothing "
            "is compared; allowed: null, or mine.negatives hard or semi_hard"
        )
    if mine.refresh is not None and mine.method != "embeddings":
        yield (
            f"mine.refresh: found {mine.refresh} with mine.method '{mine.method}', which training "
            "does not change; allowed: null, or mine.method embeddings"
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
    if not params.loss.options.takes_pairs():
        yield f"{found} loss.name '{params.loss.name}', which takes no pairs; allowed: none"
    if params.batches.options.mined:
        yield f"{found} batches.name 'triplets', which are mined already; allowed: none"


def _in_batches(params: Params) -> Iterator[str]:
    loss, batches = params.loss, params.batches.options
    if anchors := batches.anchor_count:
        found = f"batches.random.anchors: found {anchors}"
        if anchors > batches.images:
            yield f"{found}; allowed: at most batches.random.batch_size, {batches.images}"
        if not loss.options.needs_positives():
            yield f"{found} with loss.name '{loss.name}', which has no anchors; allowed: null"
        if params.train.cross_batch_memory:
            yield (
                f"{found} with train.cross_batch_memory, where every image is an anchor; "
                "allowed: null"
            )
    alone = isinstance(batches, PKBatches) and batches.per_class == 1
    if alone and loss.options.needs_positives():
        yield (
            f"batches.pk.per_class: found 1 with loss.name '{loss.name}', which needs two images "
            "of a class; allowed: 2 or more"
        )
    alone = isinstance(batches, RandomBatches) and batches.batch_size < 2
    if alone and loss.options.needs_positives():
        yield (
            f"batches.random.batch_size: found 1 with loss.name '{loss.name}', which needs pairs "
            "of images; allowed: 2 or more"
        )


def _in_memory(params: Params) -> Iterator[str]:
    memory, loss, batches = params.train.cross_batch_memory, params.loss, params.batches.options
    if not memory:
        return
    found = f"train.cross_batch_memory: found {memory}"
    if not loss.options.takes_pairs():
        yield f"{found} with loss.name '{loss.name}', which takes no pairs; allowed: 0"
    if batches.mined and loss.options.takes_triplets():
        yield (
            f"{found} with batches.name 'triplets', where loss.name '{loss.name}' sees the mined "
            "triplets alone; allowed: 0"
        )
    if isinstance(loss.options, TripletLoss) and loss.options.swap:
        # With a memory, the distance of a positive to a negative is looked up among the distances
        # to the memory, where it is not (KevinMusgrave/pytorch-metric-learning#748).
        yield f"{found} with loss.triplet.swap true, which needs whole triplets; allowed: 0"
    if memory < batches.images:
        yield (
            f"{found}, less than the {batches.images} images of a batch; allowed: 0, or "
            f"{batches.images} and more"
        )


def _in_train(params: Params) -> Iterator[str]:
    train = params.train
    if train.freeze == "backbone" and params.head.name == "none":
        yield "train.freeze: found 'backbone' with head.name 'none', so nothing is left to train"
    if train.head_epochs and (params.head.name == "none" or train.freeze == "backbone"):
        found = "head.name 'none'" if params.head.name == "none" else "train.freeze 'backbone'"
        yield (
            f"train.head_epochs: found {train.head_epochs} with {found}, where there are no two "
            "parts to train one before the other; allowed: 0"
        )
    elif train.head_epochs > train.epochs:
        yield (
            f"train.head_epochs: found {train.head_epochs}; allowed: at most train.epochs, which "
            f"is {train.epochs}"
        )
    if train.freeze == "backbone":
        yield from _of_layers(params, "with train.freeze 'backbone'")
    elif train.head_epochs == train.epochs:
        yield from _of_layers(params, f"with train.head_epochs {train.epochs}, all of train.epochs")
    if (margin := train.consistent_margin) and margin[0] <= margin[1]:
        yield (
            f"train.consistent_margin: found {margin}; allowed: the first greater than the second, "
            "such as [0.9, 0.5]"
        )
    longest, head = max(train.nested, default=0), params.head
    if head.name != "none" and longest >= head.dim:
        yield f"train.nested: found {longest}; allowed: less than head.dim, which is {head.dim}"
    if train.chunk_size == 1 and train.freeze == "none":
        yield (
            "train.chunk_size: found 1 with train.freeze 'none'; batch norm needs several images; "
            "allowed: 2 or more, or train.freeze batch_norm or backbone"
        )
    if train.augment.crop and train.augment.crop[0] > train.augment.crop[1]:
        yield (
            f"train.augment.crop: found {train.augment.crop}; allowed: least <= most, both from 0 "
            "to 1"
        )


def _of_layers(params: Params, where: str) -> Iterator[str]:
    where = f"{where}, where no layer of the backbone is trained"
    if layers := params.train.freeze_layers:
        yield f"train.freeze_layers: found {layers} {where}; allowed: 0"
    if (rank := params.train.lora) is not None:
        yield f"train.lora: found {rank} {where}; allowed: null"
    if (decay := params.optimizer.options.layer_decay) != 1:
        key = f"optimizer.{params.optimizer.name}.layer_decay"
        yield f"{key}: found {decay} {where}; allowed: 1"


def _in_plot(params: Params) -> Iterator[str]:
    if params.plot.columns > params.evaluate.neighbors:
        yield (
            f"plot.columns: found {params.plot.columns}; allowed: at most evaluate.neighbors, "
            f"which is {params.evaluate.neighbors}"
        )
