"""Weights from a file into a network: tensors only, never code, and every key is checked."""

import argparse
import logging
import pickle
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import UserError, one_line

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

# Of copies that fit alike, that of an averaged network: it is what such a training is for.
AVERAGED = {"ema", "teacher"}
KEYS_SHOWN = 3  # in an error text
ZIP, PICKLE = b"PK", b"\x80"  # how a file of torch.save begins: today's format, and the old one


def read_weights(path: Path) -> StateDict:
    """Return all tensors of a safetensors file or of one by torch.save, whatever its suffix.

    A tensor of a table in a table is named with both: "state_dict/conv1.weight".

    Raises:
        UserError: the file is missing, damaged or of another format, or holds code or no tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; pass a .safetensors or .pt file of weights")
    tensors = dict(_list_tensors(_read_content(path)))
    if not tensors:
        raise UserError(f"{path}: holds no table of tensors; save model.state_dict() there")
    return tensors


def _read_content(path: Path) -> object:
    with path.open("rb") as file:
        begin = file.read(9)
    if begin.startswith((ZIP, PICKLE)):
        return _read_torch(path)
    # A safetensors file is the length of its header, in eight bytes, and the header, as JSON.
    if begin.endswith(b"{"):
        return _read_safetensors(path)
    if begin.startswith(b"version "):
        raise UserError(f"{path}: only the pointer of Git LFS; fetch the file: git lfs pull")
    found = "neither a safetensors file nor one of torch.save" if begin else "an empty file"
    raise UserError(f"{path}: {found}; save model.state_dict() there")


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({one_line(error)})") from None


def _read_torch(path: Path) -> object:
    try:
        # Namespace: the options of a training, beside its weights; it holds values alone. Opened
        # here, since torch.load would read a file by its suffix.
        with torch.serialization.safe_globals([argparse.Namespace]), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Several paragraphs of advice about loading it all the same, and among them the reason.
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise _holds_code(path, code[1]) from None
        reason = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        raise UserError(
            f"{path}: damaged, or not written by torch.save "
            f"({reason[1] if reason else one_line(error)}), and was not loaded; "
            "save model.state_dict() there"
        ) from None
    except PermissionError:
        raise
    except Exception as error:  # a damaged file gives any; a MemoryError, where a length is wrong
        if "TorchScript" in str(error):
            raise _holds_code(path, "TorchScript") from None
        raise UserError(f"{path}: not a whole torch file ({one_line(error)})") from None


def _holds_code(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: holds code or objects beside tensors ({what}), and was not loaded; "
        "save model.state_dict() alone, or as .safetensors"
    )


def _list_tensors(content: object, above: str = "") -> Iterator[tuple[str, Tensor]]:
    if not isinstance(content, Mapping):
        return
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{above}{name}", value
        else:
            yield from _list_tensors(value, f"{above}{name}/")


def select_weights(
    state: StateDict, network: nn.Module, *, optional: Sequence[str] = ()
) -> StateDict:
    """Return the tensors under the one prefix where most names are the network's, without it.

    So "state_dict/", "module.", "teacher/backbone." and any others are understood alike. Of equal
    ones, an averaged network's comes first. Where less than half of the network is found, those of
    the largest table are returned: they have other names, and the caller may know them.

    optional: names of modules (the classifier) that do not count.
    """
    expected = {key for key in network.state_dict() if not _is_inside(key, optional)}
    found = Counter(
        prefix for key in state for prefix in _prefixes(key) if key[len(prefix) :] in expected
    )
    best = max(found, key=lambda prefix: (found[prefix], _is_averaged(prefix)), default="")
    if found[best] * 2 < len(expected):
        best = _prefix_of_the_largest_table(state)
    if best:
        logger.info("backbone.weights: the tensors are those named %s…", best)
    names = {key: key.removeprefix(best) for key in state if key.startswith(best)}
    return {name: state[key] for key, name in names.items() if "/" not in name}


def _prefixes(key: str) -> list[str]:
    return ["", *(key[: mark.end()] for mark in re.finditer(r"[./]", key))]


def _is_averaged(prefix: str) -> bool:
    return not AVERAGED.isdisjoint(re.split(r"[./_]", prefix))


def _prefix_of_the_largest_table(state: StateDict) -> str:
    sizes = Counter(key[: key.rfind("/") + 1] for key in state)
    table = max(sizes, key=lambda prefix: (sizes[prefix], _is_averaged(prefix)))
    keys = [key for key in state if key.startswith(table)]
    return next(p for p in reversed(_prefixes(keys[0])) if all(k.startswith(p) for k in keys))


def load_weights(
    network: nn.Module, state: StateDict, *, optional: Sequence[str] = (), where: str
) -> None:
    """Copy `state` into `network`, in place.

    Args:
        optional: names of modules (the classifier) whose keys may be missing, unknown or of
            another shape; the network keeps its own weights for them.

    Raises:
        UserError: another key is missing, unexpected or of another shape, or holds anything but
            finite floating-point numbers.
    """
    expected = {k: v for k, v in network.state_dict().items() if not _is_inside(k, optional)}
    given = {k: v for k, v in state.items() if not _is_inside(k, optional)}
    _check_fit(expected, given, where=where)
    _check_numbers(expected, given, where=where)
    network.load_state_dict(given, strict=False)


def _check_fit(expected: StateDict, given: StateDict, *, where: str) -> None:
    # Old files lack the batch counters of BatchNorm, which nothing uses.
    missing = [k for k in expected if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in expected]
    common = [k for k in expected if k in given]
    misshaped = [
        f"{k}: {list(given[k].shape)} for {list(expected[k].shape)}"
        for k in common
        if expected[k].shape != given[k].shape
    ]
    faults = _join_counts(
        {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    )
    if not faults:
        return
    reason = "they are of another architecture"
    if not missing and not unexpected:
        reason = "the layers are the same, but of another width, patch or image size"
    elif (fitting := len(common) - len(misshaped)) * 2 > len(expected):
        reason = f"the other {fitting} fit: they are of another variant of this architecture"
    raise UserError(f"{where}: the weights do not fit: {faults}; {reason}")


def _check_numbers(expected: StateDict, given: StateDict, *, where: str) -> None:
    floats = {k: v for k, v in given.items() if expected[k].is_floating_point()}
    others = [f"{k}: {v.dtype}" for k, v in floats.items() if not v.is_floating_point()]
    infinite = [
        k for k, v in floats.items() if v.is_floating_point() and not v.float().isfinite().all()
    ]
    faults = _join_counts({"with NaN or infinity": infinite, "not of floating point": others})
    if faults:
        raise UserError(
            f"{where}: of {len(given)} tensors, {faults}; "
            "pass weights of finite floating-point numbers"
        )


def _is_inside(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(module + ".") for module in modules)


def _join_counts(faults: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:KEYS_SHOWN])}{', …' * (len(keys) > KEYS_SHOWN)})"
        for what, keys in faults.items()
        if keys
    )
