"""A loss is added as docs/extending.md says: a class, a line of LOSSES, a block in params.yaml.

In a copy of the project, so that the files are read as they would be with that loss in them.
"""

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers.extending import apply_example, insert
from tests.helpers.paths import ROOT

LIFTED_CLASS = """\
class LiftedLoss(Loss):
    kind = "pairs"
    library_class = "GeneralizedLiftedStructureLoss"
    neg_margin: float
    pos_margin: float


"""
LIFTED_LINE = '    "lifted": LiftedLoss,\n'
LIFTED_BLOCK = "  lifted: {neg_margin: 1.0, pos_margin: 0.0}\n"
TABLE = "LOSSES: dict[str, type[Loss]] = {"

# Reads cases from stdin, each with changes of params.yaml; "train" ones compute a loss too.
SCRIPT = """
import json, sys
from pathlib import Path

from pipeline.config.contradictions import find_contradictions, find_label_set_contradictions
from pipeline.config.load import check_values
from tests.helpers.overlay import overlaid

def loss_of(params, vectors, labels):
    import torch
    from pipeline.training.objective import Objective
    torch.manual_seed(0)
    objective = Objective(params, dim=4, classes=4).double()
    vectors = torch.tensor(vectors, dtype=torch.float64, requires_grad=True)
    loss = objective(vectors, torch.tensor(labels))
    loss.backward()
    moved = [row for row in range(len(labels)) if vectors.grad[row].abs().sum() > 0]
    return loss.item(), moved, sum(weight.numel() for weight in objective.parameters())

found = []
for case in json.load(sys.stdin):
    params = check_values(overlaid(case["changes"]), where="params.yaml")
    assert "torch" not in sys.modules or found, "params are read without torch"
    refused, of_sets = find_contradictions(params), find_label_set_contradictions(params)
    trained = loss_of(params, case["vectors"], case["labels"]) if "labels" in case else None
    found.append({"refused": refused, "of_sets": of_sets, "trained": trained})
json.dump(found, sys.stdout)
"""

SOFTMAX = {"loss.name": "normalized_softmax"}
LIFTED = {"loss.name": "lifted"}
TRIPLETS = {"batches.name": "triplets", "batches.triplets.batch_size": 2}
RANDOM = {"batches.name": "random", "batches.random": {"batch_size": 8, "anchors": 2}}
# As two triplets: [a1 a2 p1 p2 n1 n2].
VECTORS = [
    [1.0, 0.1, 0.0, 0.2],
    [0.0, 1.0, 0.3, 0.0],
    [0.5, 0.2, 0.9, 0.1],
    [0.1, 0.4, 0.2, 0.9],
    [0.9, 0.3, 0.1, 0.0],
    [0.2, 0.9, 0.0, 0.1],
]
CASES: dict[str, dict[str, Any]] = {
    "softmax": {"changes": SOFTMAX, "vectors": VECTORS, "labels": [0, 1, 2, 3, 0, 1]},
    "softmax, one image of a class": {"changes": SOFTMAX | {"batches.pk.per_class": 1}},
    "softmax, mined triplets": {"changes": SOFTMAX | TRIPLETS},
    "softmax, miner": {"changes": SOFTMAX | {"miner.name": "batch_hard"}},
    "softmax, memory": {"changes": SOFTMAX | {"train.cross_batch_memory": 64}},
    "softmax, anchors": {"changes": SOFTMAX | RANDOM},
    "lifted": {"changes": LIFTED, "vectors": VECTORS, "labels": [0, 1, 0, 1, 2, 3]},
    "lifted, one image of a class": {"changes": LIFTED | {"batches.pk.per_class": 1}},
    "lifted, miner": {"changes": LIFTED | {"miner.name": "batch_hard"}},
    "lifted, memory": {"changes": LIFTED | {"train.cross_batch_memory": 64}},
    "lifted, anchors": {"changes": LIFTED | RANDOM},
    # By these labels every image is of one class, so only the mining can say what is negative.
    "lifted, mined triplets": {"changes": LIFTED | TRIPLETS, "vectors": VECTORS, "labels": [0] * 6},
    "lifted, mined triplets of others": {
        "changes": LIFTED | TRIPLETS,
        "vectors": VECTORS[:4] + VECTORS[:3:-1],  # the two negatives in exchanged places
        "labels": [0] * 6,
    },
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each case with what the project that has the two losses makes of it."""
    place = tmp_path_factory.mktemp("project")
    for folder in ("pipeline", "tests/helpers"):
        shutil.copytree(ROOT / folder, place / folder)
    for file in ("params.yaml", "tests/pipeline/training/test_losses.py"):
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, place / file)
    apply_example("Example: a loss", place)
    losses = place / "pipeline/training/losses.py"
    insert(losses, LIFTED_CLASS, side="above", line=TABLE)
    insert(losses, LIFTED_LINE, side="below", line=TABLE)
    insert(place / "params.yaml", LIFTED_BLOCK, side="above", line="proxy_nca: {")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=place,
        env={"PYTHONPATH": str(place)},
        input=json.dumps(list(CASES.values())),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return dict(zip(CASES, json.loads(run.stdout), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "softmax",
        "softmax, one image of a class",
        "softmax, mined triplets",
        "lifted",
        "lifted, miner",
        "lifted, memory",
        "lifted, anchors",
        "lifted, mined triplets",
    ],
)
def test_an_added_loss_is_allowed_where_it_works(case: str, found: dict[str, Any]) -> None:
    assert found[case]["refused"] == []


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (
            "softmax, miner",
            "miner.name: found 'batch_hard' with loss.name 'normalized_softmax', which takes no "
            "pairs; allowed: none",
        ),
        (
            "softmax, memory",
            "train.cross_batch_memory: found 64 with loss.name 'normalized_softmax', which takes "
            "no pairs; allowed: 0",
        ),
        (
            "softmax, anchors",
            "batches.random.anchors: found 2 with loss.name 'normalized_softmax', which has no "
            "anchors; allowed: null",
        ),
        (
            "lifted, one image of a class",
            "batches.pk.per_class: found 1 with loss.name 'lifted', which needs two images of a "
            "class; allowed: 2 or more",
        ),
    ],
)
def test_an_added_loss_is_refused_for_a_true_reason(
    case: str, line: str, found: dict[str, Any]
) -> None:
    assert found[case]["refused"] == [line]


def test_an_added_classification_loss_trains_a_weight_for_each_class(found: dict[str, Any]) -> None:
    loss, moved, weights = found["softmax"]["trained"]
    assert loss > 0
    assert moved == list(range(6))
    assert weights == 4 * 4


def test_an_added_loss_on_pairs_sees_the_mined_triplets(found: dict[str, Any]) -> None:
    loss, moved, _ = found["lifted, mined triplets"]["trained"]
    assert loss > 0
    assert moved == list(range(6))
    assert found["lifted, mined triplets of others"]["trained"][0] != loss


def test_an_added_loss_trains_label_sets_by_mined_triplets_if_it_is_on_pairs(
    found: dict[str, Any],
) -> None:
    assert found["lifted, mined triplets"]["of_sets"] == []
    assert found["lifted"]["of_sets"] == [
        "loss.name: found 'lifted'; the images have several labels; allowed: supcon, triplet"
    ]
    assert found["softmax, mined triplets"]["of_sets"] == [
        "loss.name: found 'normalized_softmax' with batches.name 'triplets'; the images have "
        "several labels; allowed: circle, contrastive, lifted, margin, multi_similarity, ntxent, "
        "triplet"
    ]
