"""Training by several processes: what is shared out, and what is refused. See also test_objective,
where two processes run."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.models.embedder import attach_head, build_baseline
from pipeline.training.processes import (
    batch_norms,
    count_processes,
    own_share,
    refuse_uneven,
    share_batch_norm,
    trained_batch_norms,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def model(name: str = "shufflenet_v2_x0_5") -> nn.Module:
    baseline = build_baseline(name, image_size=32, pooling="avg", weights=None, seed=1)
    return attach_head(baseline, name="linear", dim=4, hidden=1, normalize=True, seed=1)


@pytest.fixture(autouse=True)
def _started_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "0")


def test_a_number_of_processes_that_torchrun_did_not_set_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR")
    with pytest.raises(UserError) as caught:
        count_processes()
    assert str(caught.value) == (
        "WORLD_SIZE: found 2 in the environment, without MASTER_ADDR; allowed: what torchrun sets; "
        "unset it, or set launch: python -m stages.torchrun …"
    )
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert count_processes() == 1


def test_batches_that_cannot_be_shared_out_evenly_are_refused() -> None:
    batches = [np.arange(12), np.arange(9), np.arange(10), np.arange(9)]
    refuse_uneven(batches[:1], processes=4)
    with pytest.raises(UserError) as caught:
        refuse_uneven(batches, processes=4)
    assert str(caught.value) == (
        "batches: found 9, 10 images a batch for 4 processes; allowed: a multiple of 4"
    )


def test_batch_norm_is_trained_unless_it_is_frozen() -> None:
    whole = model()
    whole.head.norm = nn.BatchNorm1d(4)
    count = {what: len(trained_batch_norms(whole, what)) for what in ("none", "batch_norm")}
    assert count == {"none": len(list(batch_norms(whole))), "batch_norm": 0}
    assert trained_batch_norms(whole, "backbone") == [whole.head.norm]


def test_trained_batch_norm_is_refused_on_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    share_batch_norm(model(), "none", device=CPU)  # one process
    monkeypatch.setenv("WORLD_SIZE", "2")
    share_batch_norm(model(), "batch_norm", device=CPU)
    share_batch_norm(model(), "backbone", device=CPU)
    share_batch_norm(model("vit_b_32"), "none", device=CPU)
    with pytest.raises(UserError) as caught:
        share_batch_norm(model(), "none", device=CPU)
    assert str(caught.value) == (
        "train.freeze: found none with 2 processes, so that batch norm would be trained on shares "
        "of a batch, which on a processor cannot be put together; allowed: batch_norm, or one "
        "process (launch: python)"
    )


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "timm:tf_efficientnet_lite0"])
def test_on_gpus_batch_norm_is_shared_and_the_model_stays_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the layers then compute needs GPUs; in eval mode they are as before."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    whole, images = model(name).eval(), torch.rand(2, 3, 32, 32)
    before, names = whole(images), list(whole.state_dict())
    count = len(list(batch_norms(whole)))
    share_batch_norm(whole, "none", device=CUDA)
    assert sum(isinstance(each, nn.SyncBatchNorm) for each in whole.modules()) == count > 0
    assert list(whole.state_dict()) == names
    assert torch.equal(whole(images), before)


@pytest.mark.parametrize("count", [0, 1, 128, 129, 1000])
def test_shares_are_whole_batches_in_order(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(range(count))
    for processes in (1, 2, 3, 9):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        shares = []
        for rank in range(processes):
            monkeypatch.setenv("RANK", str(rank))
            share = own_share(count, batch_size=128)
            assert share.start % 128 == 0 or share.start == share.stop
            shares.append(rows[share])
        assert [row for share in shares for row in share] == rows
        assert shares[0] or not rows
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 2 * 128
