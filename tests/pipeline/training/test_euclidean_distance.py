"""Which losses and miners measure Euclidean distances, and by what."""

import pytest
import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.distances import LpDistance

from pipeline.config.load import read_yaml
from pipeline.training.distances import EuclideanDistance
from pipeline.training.losses import LOSSES, EmbeddingSpace, TripletLoss
from pipeline.training.miners import MINERS
from tests.helpers.paths import ROOT

PARAMS = read_yaml(ROOT / "params.yaml")
SPACE = EmbeddingSpace(dim=5, classes=4, normalize=False)
BUILT = {
    **{
        f"loss {name}": (
            getattr(losses, kind.library_class),
            kind(**PARAMS["loss"][name]).build(SPACE),
        )
        for name, kind in LOSSES.items()
        if hasattr(kind, "library_class")
    },
    **{
        f"miner {name}": (
            getattr(miners, kind.library_class),
            kind(**PARAMS["miner"][name]).build(normalize=False),
        )
        for name, kind in MINERS.items()
        if kind.library_class
    },
}


@pytest.mark.parametrize("what", BUILT)
def test_where_the_library_measures_euclidean_distances_ours_are_used(what: str) -> None:
    library_class, built = BUILT[what]
    own = library_class.get_default_distance(None)
    assert isinstance(own, LpDistance) == isinstance(built.distance, EuclideanDistance)
    if isinstance(own, LpDistance):
        assert own.p == 2 == built.distance.p
        assert own.power == built.distance.power


def test_some_of_each_kind_do() -> None:
    euclidean = {
        what for what, (_, built) in BUILT.items() if isinstance(built.distance, LpDistance)
    }
    assert {"loss triplet", "loss contrastive", "loss margin"} <= euclidean
    assert {"miner triplet_margin", "miner batch_hard", "miner distance_weighted"} <= euclidean


def test_the_triplet_loss_of_label_sets_does() -> None:
    built = TripletLoss(**PARAMS["loss"]["triplet"]).build_graded(SPACE)
    assert isinstance(built.distance, EuclideanDistance)


def test_near_points_keep_their_digits() -> None:
    """A matrix product would lose them; above 25 points, torch takes one of itself."""
    points = 1000 + torch.arange(60.0)[:, None].repeat(1, 3) / 64
    found = EuclideanDistance(normalize_embeddings=False)(points)
    exact = torch.cdist(
        points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert torch.allclose(found.double(), exact, rtol=1e-6)
