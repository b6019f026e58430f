"""The seed of a training."""

from pipeline.config.schema import Params


def training_seed(params: Params) -> int:
    """Return what the head, the batches and the augmentation are sampled from."""
    return params.seed if params.train.seed is None else params.train.seed
