"""Weights from a file into a network: tensors only, never code, and every key is checked."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import UserError, one_line

StateDict = dict[str, Tensor]

WRAPPER_KEYS = ("state_dict", "model")  # under which training scripts save the tensors
KEYS_SHOWN = 3  # in an error text


def read_weights(path: Path) -> StateDict:
    """Return the tensors of a .safetensors, .pt or .pth file by name.

    Wrappers (`{"state_dict": …}`) and the prefix "module." are removed.

    Raises:
        UserError: the file is missing or damaged, has another suffix, or holds code or no tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; pass a .safetensors or .pt file of weights")
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise UserError(f"{path}: found suffix '{path.suffix}'; allowed: .safetensors, .pt, .pth")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in WRAPPER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path}: holds no table of tensors; save model.state_dict() there")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({one_line(error)})") from None


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path}: holds code or objects beside tensors, or is damaged, and was not loaded; "
            "save model.state_dict() alone, or as .safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path}: not a whole torch file ({one_line(error)})") from None


def load_weights(
    network: nn.Module, state: StateDict, *, optional: Sequence[str] = (), where: str
) -> None:
    """Copy `state` into `network`, in place.

    Args:
        optional: names of modules (the classifier) whose keys may be missing, unknown or of
            another shape; the network keeps its own weights for them.

    Raises:
        UserError: another key is missing, unexpected or of another shape.
    """
    expected = {k: v for k, v in network.state_dict().items() if not _is_inside(k, optional)}
    given = {k: v for k, v in state.items() if not _is_inside(k, optional)}
    # Old files lack the batch counters of BatchNorm, which nothing uses.
    missing = [k for k in expected if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in expected]
    misshaped = [k for k in expected if k in given and expected[k].shape != given[k].shape]
    if missing or unexpected or misshaped:
        counts = (
            _format_count("missing", missing),
            _format_count("unexpected", unexpected),
            _format_count("of another shape", misshaped),
        )
        raise UserError(
            f"{where}: the weights do not fit: {'; '.join(filter(None, counts))}; "
            "they are of another architecture"
        )
    network.load_state_dict(given, strict=False)


def _is_inside(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(module + ".") for module in modules)


def _format_count(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = ", …" if len(keys) > KEYS_SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:KEYS_SHOWN])}{more})"
