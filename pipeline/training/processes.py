"""Training by several processes, as torchrun starts them: what they share, and what is refused."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from pipeline.data.arrays import Ints, Vectors
from pipeline.errors import UserError

T = TypeVar("T")


def count_processes() -> int:
    """Return how many processes train, as torchrun tells each of them.

    Raises:
        UserError: the environment says so without saying where they meet.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    lacking = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR") if name not in os.environ]
    if count != "1" and lacking:
        raise UserError(
            f"WORLD_SIZE: found {count} in the environment, without {', '.join(lacking)}; allowed: "
            "what torchrun sets; unset it, or set launch: python -m stages.torchrun …"
        )
    return int(count)


def join_processes(device: torch.device) -> None:
    """Let the processes find each other, each with its own GPU where there are some."""
    if count_processes() > 1:
        PartialState(cpu=device.type == "cpu")


def refuse_uneven(batches: Sequence[Ints], *, processes: int) -> None:
    """Raise UserError unless each batch can be shared out evenly, as the loss of a batch needs."""
    uneven = sorted({len(rows) for rows in batches if len(rows) % processes})
    if uneven:
        raise UserError(
            f"batches: found {', '.join(map(str, uneven))} images a batch for {processes} "
            f"processes; allowed: a multiple of {processes}"
        )


def share_batch_norm(model: nn.Module, freeze: str, *, device: torch.device) -> None:
    """Let the batch norms that are trained see the whole batch of all processes, or refuse that.

    Each process would normalize by the statistics of its slice, which is another training: its loss
    is not that of one process.

    Raises:
        UserError: there are some, and the device has no batch norm over several processes.
    """
    if count_processes() == 1 or not trained_batch_norms(model, freeze):
        return
    if device.type != "cuda":
        raise UserError(
            f"train.freeze: found {freeze} with {count_processes()} processes, so that batch norm "
            "would be trained on shares of a batch, which on a processor cannot be put together; "
            "allowed: batch_norm, or one process (launch: python)"
        )
    from timm.layers import convert_sync_batchnorm  # torch's own drops timm's activations

    for name, child in model.named_children():
        setattr(model, name, convert_sync_batchnorm(child))


def trained_batch_norms(model: nn.Module, freeze: str) -> list[nn.Module]:
    """Return the batch norms that train with `train.freeze`, one of none, batch_norm, backbone."""
    if freeze == "batch_norm":
        return []
    frozen = set(batch_norms(model.get_submodule("backbone"))) if freeze == "backbone" else set()
    return [module for module in batch_norms(model) if module not in frozen]


def batch_norms(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the batch norms of a model."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
    return (module for module in model.modules() if isinstance(module, kinds))


def own_share(count: int, *, batch_size: int) -> slice:
    """Return which of `count` rows this process embeds: whole batches, so that the bits are those
    of one process."""
    batches = -(-count // batch_size)
    rank, processes = _rank(), count_processes()
    # Rounded up, so that of few batches the first process, which tells of it, has the first.
    first, end = (-(-batches * each // processes) * batch_size for each in (rank, rank + 1))
    return slice(min(first, count), min(end, count))


def gather_rows(rows: Vectors) -> Vectors:
    """Return float32 [N, D], the rows of all processes' shares; called by all of them."""
    if count_processes() == 1:
        return rows
    shares: list[Vectors] = [rows] * count_processes()
    torch.distributed.all_gather_object(shares, rows)
    return np.concatenate(shares)


def compute_once(compute: Callable[[], T]) -> T:
    """Return what `compute` returns in the first process, in all of them."""
    if count_processes() == 1:
        return compute()
    found = [compute() if _rank() == 0 else None]
    torch.distributed.broadcast_object_list(found, 0)
    return found[0]  # type: ignore[return-value]


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
