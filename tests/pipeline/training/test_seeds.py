"""A training has a seed of its own, where params.yaml gives one."""

from pipeline.config.load import check_params
from pipeline.training.seeds import training_seed
from tests.helpers.overlay import overlaid


def test_a_training_is_sampled_from_its_own_seed_or_else_from_that_of_all() -> None:
    for own, wanted in ((None, 7), (8, 8), (0, 0)):
        params = check_params(overlaid({"seed": 7, "train__seed": own}), where="params.yaml")
        assert training_seed(params) == wanted
