"""Weights from a file into a network: tensors only, never code, and every key accounted for."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import UserError

StateDict = dict[str, Tensor]

WRAPPERS = ("state_dict", "model")
SHOWN = 3


def read_weights(path: Path) -> StateDict:
    """Return the tensors of a .safetensors, .pt or .pth file by name, wrappers and "module." off.

    Raises:
        UserError: no such file, another suffix, a damaged file, code in it, or no tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; pass a .safetensors or .pt file of weights")
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise UserError(f"{path}: found suffix '{path.suffix}'; allowed: .safetensors, .pt, .pth")
    held = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(held, Mapping) and isinstance(held.get(wrapper), Mapping):
            held = held[wrapper]
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise UserError(f"{path}: holds no table of tensors; save model.state_dict() there")
    return {str(name).removeprefix("module."): value for name, value in held.items()}


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds code or objects beside tensors, or is damaged, and was not loaded; "
            "save model.state_dict() alone, or as .safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a whole torch file ({reason})") from None


def put_weights(
    network: nn.Module, state: StateDict, *, optional: Sequence[str] = (), where: str
) -> None:
    """Copy `state` into `network`, in place.

    Args:
        optional: names of modules (the classifier) whose keys may be missing, of another shape,
            or unknown; they are left as they are.

    Raises:
        UserError: another key is missing, unexpected or of another shape.
    """
    own = {k: v for k, v in network.state_dict().items() if not _inside(k, optional)}
    given = {k: v for k, v in state.items() if not _inside(k, optional)}
    # Old files lack the batch counters of BatchNorm, which nothing reads.
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in own]
    misshaped = [k for k in own if k in given and own[k].shape != given[k].shape]
    if missing or unexpected or misshaped:
        counts = (
            _count("missing", missing),
            _count("unexpected", unexpected),
            _count("of another shape", misshaped),
        )
        raise UserError(
            f"{where}: the weights do not fit: {'; '.join(filter(None, counts))}; "
            "they are of another architecture"
        )
    network.load_state_dict(given, strict=False)


def _inside(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(module + ".") for module in modules)


def _count(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = ", …" if len(keys) > SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{more})"
