"""What reaches the loss: mined triplets, a miner's choice, a memory, every process's slice."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.load import check_params
from pipeline.config.schema import Params
from pipeline.data.label_sets import from_lists
from pipeline.training.graded_losses import jaccard_relevance, membership
from pipeline.training.losses import LOSSES, EmbeddingSpace, GradedLoss
from pipeline.training.miners import MINERS
from pipeline.training.objective import NestedObjective, Objective, _consistent_margin
from pipeline.training.processes import compute_once, gather_rows, own_share
from tests.helpers.overlay import overlaid

DIM, CLASSES, IMAGES = 4, 4, 3
SIZE = CLASSES * IMAGES
SPACE = EmbeddingSpace(dim=DIM, classes=CLASSES, normalize=True)
CLASSIFICATION = {name for name, loss in LOSSES.items() if loss.kind == "classification"}
ON_TRIPLETS = {name for name, loss in LOSSES.items() if loss.takes_triplets()}


def make_params(**changes: Any) -> Params:
    """The project's params with batches of 12; changes are dotted keys with __ for the dot."""
    small = {
        "batches__pk": {"classes": CLASSES, "per_class": IMAGES},
        "batches__triplets__batch_size": 4,
    }
    return check_params(overlaid(small | changes), where="params.yaml")


def make_objective(**changes: Any) -> Objective:
    torch.manual_seed(0)
    sets = changes.pop("sets", None)  # of the training images; then "labels" are rows of it
    members = None if sets is None else membership(from_lists(sets))
    return Objective(make_params(**changes), dim=DIM, classes=CLASSES, members=members).double()


def make_batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(SIZE, DIM, generator=generator, dtype=torch.float64)
    labels = torch.arange(CLASSES).repeat_interleave(IMAGES)
    return nn.functional.normalize(vectors + 2 * labels[:, None], dim=1), labels


def plain_loss(name: str) -> nn.Module:
    return LOSSES[name](**overlaid({})["loss"][name]).build(SPACE)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", ["triplet", "supcon", "proxy_anchor"])
def test_nested_it_is_the_mean_over_the_first_numbers(name: str, normalize: bool) -> None:
    params = make_params(loss__name=name, head__normalize=normalize)
    options = {"classes": CLASSES, "members": None}
    nested = NestedObjective(params, dim=DIM, lengths=[2, 3], **options).double()
    embeddings, labels = make_batch(0)
    embeddings.requires_grad_()
    found = nested(embeddings, labels)
    losses = []
    for length, objective in zip((2, 3, DIM), nested.objectives, strict=True):
        first = embeddings[:, :length]
        if normalize:
            first = first / first.norm(dim=1, keepdim=True)
        losses.append(objective(first, labels))
    assert found.item() == pytest.approx(sum(loss.item() for loss in losses) / 3)
    found.backward()
    assert embeddings.grad is not None
    assert embeddings.grad[:, :2].abs().sum() > 0


def test_alone_it_is_the_loss_of_the_whole_batch() -> None:
    found = make_objective(loss__name="triplet")(*make_batch(0))
    assert found.item() == plain_loss("triplet")(*make_batch(0), None).item() > 0


@pytest.mark.parametrize("name", ["triplet", "contrastive", "multi_similarity", "circle", "ntxent"])
def test_a_pair_loss_on_triplets_sees_the_mined_ones(name: str) -> None:
    embeddings, _ = make_batch(0)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 1, 2, 3, 0])
    mined = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5, 6, 7]), torch.tensor([8, 9, 10, 11])
    found = make_objective(loss__name=name, batches__name="triplets")(embeddings, labels)
    assert found.item() == plain_loss(name)(embeddings, labels, mined).item()
    assert found.item() != plain_loss(name)(embeddings, labels, None).item()


@pytest.mark.parametrize(("least", "most"), [(0.9, 0.5), (0.99, -1.0), (-0.9, -0.95), (0.5, 0.9)])
def test_the_consistent_margin_is_added_to_the_loss(least: float, most: float) -> None:
    """By its formula, over all ordered pairs; where no pair is beyond a margin, nothing."""
    embeddings, labels = make_batch(0)
    embeddings = (3 * embeddings).requires_grad_()  # cosines, of any length
    below, above = [], []
    for i in range(SIZE):
        for j in range(SIZE):
            s = torch.cosine_similarity(embeddings[i], embeddings[j], dim=0).item()
            if i != j and labels[i] == labels[j] and s <= least:
                below.append(least - s)
            if labels[i] != labels[j] and s >= most:
                above.append(s - most)
    added = sum(sum(each) / len(each) for each in (below, above) if each)
    plain = make_objective(loss__name="triplet")(embeddings, labels).item()
    objective = make_objective(loss__name="triplet")
    objective.consistent_margin = _consistent_margin([least, most])
    loss = objective(embeddings, labels)
    loss.backward()
    assert loss.item() == pytest.approx(plain + added)
    assert added or (least, most) == (-0.9, -0.95)
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(ON_TRIPLETS))
def test_labels_of_mined_triplets_are_not_used(name: str) -> None:
    """Mining decides what is relevant; equal or different first labels change nothing."""
    objective, (embeddings, _) = (
        make_objective(loss__name=name, batches__name="triplets"),
        make_batch(0),
    )
    alike = torch.zeros(SIZE, dtype=torch.int64)
    found = {objective(embeddings, labels).item() for labels in (alike, torch.arange(SIZE))}
    assert len(found) == 1
    assert found.pop() > 0


def test_the_triplet_loss_of_mined_triplets_is_that_of_their_distances() -> None:
    embeddings, _ = make_batch(0)
    anchors, positives, negatives = embeddings.chunk(3)
    by = (anchors - positives).norm(dim=1) - (anchors - negatives).norm(dim=1) + 0.1
    found = make_objective(loss__name="triplet", batches__name="triplets")(
        embeddings, torch.zeros(SIZE, dtype=torch.int64)
    )
    assert found.item() == pytest.approx(by[by > 0].mean().item())


# Five images of several labels; the "labels" of a batch are rows of them.
SETS = [[0, 1], [1, 2], [2], [0, 3], [3, 4, 5]]


@pytest.mark.parametrize("name", ["supcon", "triplet"])
def test_rows_of_label_sets_become_the_relevance_of_the_batch(name: str) -> None:
    objective, (embeddings, rows) = make_objective(loss__name=name, sets=SETS), make_batch(0)
    relevance = jaccard_relevance(membership(from_lists([SETS[row] for row in rows.tolist()])))
    loss = LOSSES[name](**overlaid({})["loss"][name])
    assert isinstance(loss, GradedLoss)
    wanted = loss.build_graded(SPACE)(embeddings, relevance)
    assert objective(embeddings, rows).item() == wanted.item() > 0


def test_label_sets_are_data_and_not_kept_in_a_checkpoint() -> None:
    with_sets, without = make_objective(sets=SETS, loss__name="supcon"), make_objective()
    assert with_sets.state_dict().keys() == without.state_dict().keys()


@pytest.mark.parametrize("name", ["supcon", "cross_entropy"])
def test_other_losses_on_triplets_see_the_labels_of_the_whole_batch(name: str) -> None:
    objective = make_objective(loss__name=name, batches__name="triplets")
    assert objective(*make_batch(0)).item() == objective.loss(*make_batch(0), None).item()


@pytest.mark.parametrize("miner", ["batch_hard", "multi_similarity", "pair_margin"])
def test_a_named_miner_chooses_what_the_loss_sees(miner: str) -> None:
    embeddings, labels = make_batch(0)
    chooser = MINERS[miner](**overlaid({})["miner"][miner]).build(normalize=True)
    assert chooser is not None
    wanted = plain_loss("triplet")(embeddings, labels, chooser(embeddings, labels))
    found = make_objective(loss__name="triplet", miner__name=miner)(embeddings, labels)
    assert found.item() == wanted.item() != plain_loss("triplet")(embeddings, labels, None).item()


@pytest.mark.parametrize("name", ["triplet", "contrastive", "supcon", "margin", "circle", "ntxent"])
def test_without_a_mined_pair_the_loss_is_zero_and_still_has_a_gradient(name: str) -> None:
    apart = torch.eye(DIM, dtype=torch.float64).repeat_interleave(IMAGES, dim=0).requires_grad_()
    kind = {"margin": 0.2, "type_of_triplets": "hard"}
    objective = make_objective(
        loss__name=name, miner__name="triplet_margin", miner__triplet_margin=kind
    )
    loss = objective(apart, make_batch(0)[1])
    loss.backward()
    assert loss.item() == 0
    assert apart.grad is not None
    assert apart.grad.abs().sum() == 0


@pytest.mark.parametrize("name", ["contrastive", "triplet", "supcon"])
def test_a_memory_compares_with_the_batches_before(name: str) -> None:
    """With room for two batches the loss of the second is over all pairs (anchor, remembered)."""
    objective = make_objective(loss__name=name, train__cross_batch_memory=2 * SIZE)
    first = objective(*make_batch(1))
    second = objective(*make_batch(2))
    assert first.item() == pytest.approx(plain_loss(name)(*make_batch(1), None).item())
    remembered = torch.cat([make_batch(1)[0], make_batch(2)[0]])
    labels = torch.cat([make_batch(1)[1], make_batch(2)[1]])
    positive = labels[SIZE:, None] == labels[None, :]
    itself = torch.arange(SIZE)[:, None] + SIZE == torch.arange(2 * SIZE)[None, :]
    pairs = (*torch.where(positive & ~itself), *torch.where(~positive))
    wanted = plain_loss(name)(make_batch(2)[0], make_batch(2)[1], pairs, remembered, labels)
    assert second.item() == pytest.approx(wanted.item())
    assert second.item() != pytest.approx(plain_loss(name)(*make_batch(2), None).item())


def test_a_memory_forgets_the_oldest() -> None:
    one, other = (
        make_objective(loss__name="contrastive", train__cross_batch_memory=SIZE) for _ in range(2)
    )
    one(*make_batch(1))
    assert one(*make_batch(2)).item() == other(*make_batch(2)).item()


def test_a_memory_mines_among_what_it_remembers() -> None:
    objective = make_objective(
        loss__name="triplet", miner__name="batch_hard", train__cross_batch_memory=2 * SIZE
    )
    objective(*make_batch(1))
    found = objective(*make_batch(2))
    everything = torch.cat([make_batch(1)[0], make_batch(2)[0]])
    labels = torch.cat([make_batch(1)[1], make_batch(2)[1]])
    apart = torch.cdist(make_batch(2)[0], everything)
    same = make_batch(2)[1][:, None] == labels[None, :]
    by = apart.masked_fill(~same, -1).amax(1) - apart.masked_fill(same, 9).amin(1) + 0.1
    assert found.item() == pytest.approx(by[by > 0].mean().item())


@pytest.mark.parametrize("batches", [1, 2, 3, 5])
def test_a_restored_memory_continues_without_a_difference(batches: int, tmp_path: Path) -> None:
    """The queue of 30 wraps in the middle of the third batch of 12."""
    memory = {"loss__name": "contrastive", "train__cross_batch_memory": 30}
    undisturbed, resumed = make_objective(**memory), make_objective(**memory)
    for seed in range(batches):
        undisturbed(*make_batch(seed))
    torch.save(undisturbed.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for seed in range(10, 14):
        assert resumed(*make_batch(seed)).item() == undisturbed(*make_batch(seed)).item()


def test_the_weights_of_a_loss_are_saved_and_trained() -> None:
    objective, other = make_objective(loss__name="arcface"), make_objective(loss__name="arcface")
    objective(*make_batch(0)).backward()
    assert all(weight.grad is not None for weight in objective.parameters())
    torch.nn.init.normal_(objective.loss.W)
    assert other(*make_batch(0)).item() != objective(*make_batch(0)).item()
    other.load_state_dict(objective.state_dict())
    assert other(*make_batch(0)).item() == objective(*make_batch(0)).item()


# --- two processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - CLASSIFICATION))
def test_only_the_first_images_are_anchors(name: str) -> None:
    """The loss is that of all pairs whose anchor is one of the first images."""
    embeddings, labels = make_batch(0)
    shuffled = torch.tensor([0, 3, 1, 4, 6, 9, 2, 5, 7, 8, 10, 11])  # the first two: classes 0, 1
    embeddings, labels = embeddings[shuffled].requires_grad_(), labels[shuffled]
    random = {"batches__name": "random", "batches__random": {"batch_size": SIZE, "anchors": 2}}
    objective = make_objective(loss__name=name, **random)
    found = objective(embeddings, labels)
    pairs = [(a, b) for a in range(2) for b in range(SIZE) if a != b]
    near, far = (
        torch.tensor([pair for pair in pairs if (labels[pair[0]] == labels[pair[1]]) == same]).T
        for same in (True, False)
    )
    assert found.item() == plain_loss(name)(embeddings, labels, (*near, *far)).item()
    assert found.item() != plain_loss(name)(embeddings, labels, None).item()
    alone = torch.arange(SIZE)
    assert objective(embeddings, alone).isfinite()


def test_a_miner_chooses_for_the_first_images_alone() -> None:
    random = {"batches__name": "random", "batches__random": {"batch_size": SIZE, "anchors": 2}}
    embeddings, labels = make_batch(0)
    for miner in ("triplet_margin", "pair_margin"):
        objective = make_objective(loss__name="contrastive", miner__name=miner, **random)
        chosen = objective._chosen(embeddings, labels)
        assert chosen is not None
        anchors = torch.cat([chosen[0], *chosen[2:-1]] if len(chosen) == 4 else [chosen[0]])
        assert len(anchors) > 0
        assert anchors.max() < 2


SHARED: list[dict[str, Any]] = [
    {"loss__name": "supcon"},
    {"loss__name": "contrastive", "train__cross_batch_memory": 2 * SIZE},
    {"loss__name": "triplet", "batches__name": "triplets"},
    {"loss__name": "triplet", "miner__name": "batch_hard"},
    {"loss__name": "smooth_ap"},
    {"loss__name": "proxy_anchor"},
    {"loss__name": "supcon", "sets": SETS},
    {"loss__name": "triplet", "sets": SETS},
]


def learn(changes: dict[str, Any], *, rank: int, share: int) -> tuple[list[Tensor], list[Tensor]]:
    """The losses of two batches; and the encoder's gradient, averaged as DistributedDataParallel
    does, then that of the loss's own weights, as each process has it."""
    objective = make_objective(**changes)
    torch.manual_seed(1)
    encoder = nn.Linear(DIM, DIM, dtype=torch.float64)
    losses = []
    for seed in (1, 2):
        inputs, labels = (part.chunk(share)[rank] for part in make_batch(seed))
        losses.append(objective(encoder(inputs), labels))
        losses[-1].backward()
    gradients = [weight.grad for weight in encoder.parameters() if weight.grad is not None]
    if share > 1:
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
            gradient.div_(share)
    own = [weight.grad for weight in objective.parameters() if weight.grad is not None]
    return [loss.detach() for loss in losses], gradients + own


def _work(rank: int, share: int, place: str) -> None:
    torch.set_num_threads(1)
    torchrun = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost"}
    os.environ |= torchrun | {"WORLD_SIZE": str(share)}
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{place}/meeting",
        rank=rank,
        world_size=share,
        timeout=timedelta(seconds=600),
    )
    torch.save([learn(each, rank=rank, share=share) for each in SHARED], f"{place}/{rank}.pt")
    rows = np.arange(300 * 2, dtype=np.float32).reshape(300, 2)
    gathered = gather_rows(rows[own_share(300, batch_size=128)])
    assert np.array_equal(gathered, rows)
    assert compute_once(lambda: {"rank": rank}) == {"rank": 0}
    torch.distributed.barrier()  # no process leaves while the other still communicates
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_work, args=(2, str(tmp_path)), nprocs=2)
    for rank in range(2):
        for changes, found in zip(SHARED, torch.load(tmp_path / f"{rank}.pt"), strict=True):
            for mine, alone in zip(found, learn(changes, rank=0, share=1), strict=True):
                assert len(mine) == len(alone) > 0
                for one, other in zip(mine, alone, strict=True):
                    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12), changes
                    assert other.abs().sum() > 0, changes
