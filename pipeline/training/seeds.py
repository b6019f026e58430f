"""The seeds of a training."""

from pipeline.config.schema import Params


def training_seed(params: Params) -> int:
    """Return what the head, the batches and the augmentation are sampled from."""
    return params.seed if params.train.seed is None else params.train.seed


def epoch_seed(params: Params, epoch: int) -> int:
    """Return that of an epoch, by its number from 0."""
    return (training_seed(params) * 1_000_003 + epoch) % 2**32
