"""Read and check params.yaml. Every mistake in it is reported before any work begins."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.config.contradictions import find_contradictions
from pipeline.config.schema import CHOICES, Params
from pipeline.config.variants import apply_variant, find_wrong_variants
from pipeline.errors import UserError, closest, name_choices
from pipeline.options import VALUE

# A YAML of a kilobyte can name a list ten times in a list that is named ten times, and so on, which
# is read in an instant and fills all memory when it is printed.
MOST_VALUES = 100_000
# What the reader raises: for "2020-13-45" a plain ValueError, for "!!bool a" a KeyError.
NOT_YAML = (YAMLError, ValueError, KeyError)
DEEPEST = 100  # brackets in each other


def read_params(path: Path, *, variant: str | None = None) -> Params:
    """Return the checked params in the YAML file at `path`; with what a variant changes, if named.

    Raises:
        UserError: the file is missing or is not YAML, a key is unknown or missing, a value has the
            wrong type or range, or choices contradict each other. The text has one line for each
            mistake: the key, what was found and what is allowed.
    """
    values = read_yaml(path)
    params = check_params(values, where=path.name)
    if variant is None:
        return params
    if variant not in params.variants:
        raise UserError(f"variants: {name_choices(variant, params.variants)}")
    return check_values(apply_variant(values, variant), where=path.name)


def read_trained(path: Path) -> dict[str, Params]:
    """Return the checked params of each model that is trained: of `finetuned` and of each variant.

    Raises as `read_params` does.
    """
    params = read_params(path)
    variants = {name: read_params(path, variant=name) for name in params.variants}
    return {"finetuned": params, **variants}


def read_yaml(path: Path) -> Any:
    """Return the plain values of a YAML 1.2 file, as DVC reads it (so 1e-3 is a number)."""
    try:
        text = path.read_text(encoding="utf-8")
        # Its reader takes time by the square of the depth, and then reaches Python's limit.
        if max(accumulate((c in "[{") - (c in "]}") for c in text), default=0) > DEEPEST:
            raise RecursionError
        values = YAML(typ="safe").load(text)
        if _count_values(values, {}) > MOST_VALUES:
            raise UserError(
                f"{path}: has more than {MOST_VALUES:,} values, or one that contains itself; "
                "allowed: fewer; write them without aliases (*name)"
            )
        return values
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; run from the root of the project") from None
    except NOT_YAML as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: lists or mappings in each other, too deep to be read") from None


def _count_values(values: Any, known: dict[int, float]) -> float:
    """Return how many values there are, an alias counted as what it stands for.

    known: id of a value -> its count, of those that were counted before.
    """
    if not isinstance(values, dict | list | set):
        return 1
    if id(values) not in known:
        known[id(values)] = float("inf")  # while it is counted: it contains itself
        inner = values.values() if isinstance(values, dict) else values
        known[id(values)] = 1 + sum(_count_values(value, known) for value in inner)
    return known[id(values)]


def check_params(values: Any, *, where: str) -> Params:
    """Return `values` (plain, as read from YAML) as Params; raises as `read_params` does."""
    params = check_values(values, where=where)
    if problems := [*find_contradictions(params), *find_wrong_variants(params)]:
        raise _mistakes(problems, where=where)
    for name in params.variants:
        of_variant = f"{where}: variants.{name}"
        changed = check_values(apply_variant(values, name), where=of_variant)
        if problems := [*find_contradictions(changed), *_unmined(changed, params)]:
            raise _mistakes(problems, where=of_variant)
    return params


def _unmined(changed: Params, params: Params) -> Iterator[str]:
    if changed.batches.options.mined and not params.batches.options.mined:
        yield (
            f"batches.name: found '{changed.batches.name}', and none are mined for the "
            f"batches.name '{params.batches.name}' of params.yaml; allowed: mined ones there too"
        )


def check_values(values: Any, *, where: str) -> Params:
    """Like `check_params`, but check each value alone: contradictions are allowed."""
    try:
        return Params.model_validate(values)
    except ValidationError as failure:
        problems = [_format_error(error) for error in _without_repeats(failure.errors())]
        raise _mistakes(problems, where=where) from None


def _mistakes(problems: Sequence[str], *, where: str) -> UserError:
    return UserError(*(f"{where}: {problem}" for problem in problems))


def _without_repeats(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the errors, unknown keys first; a misspelled key also makes the right key missing."""
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    meant = [(*each["loc"][:-1], _meant_key(list(each["loc"]))) for each in unknown]
    others = [
        error
        for error in errors
        if error not in unknown and not (error["type"] == "missing" and error["loc"] in meant)
    ]
    return unknown + others


_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping of keys",
}


def _format_error(error: ErrorDetails) -> str:
    place = list(error["loc"])
    if place[-1:] == [VALUE]:  # of a key that may be `auto` too
        text = _format_error(error | {"loc": tuple(place[:-1])})  # type: ignore[arg-type]
        return text.replace("; allowed: ", "; allowed: auto, or ", 1)
    key = ".".join(str(part) for part in place) or "the whole file"
    found = f"found {error['input']!r}"
    match error["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {_keys_beside(place)}"
        case "missing":
            return f"{key}: missing; every key of params.yaml must have a value"
        case "message":
            return f"{key}: {error['msg']}"
        case "literal_error":
            return f"{key}: {name_choices(error['input'], _quoted(error['ctx']['expected']))}"
        case "too_short":
            return f"{key}: {found}; allowed: at least {_items(error['ctx']['min_length'])}"
        case "too_long":
            return f"{key}: {found}; allowed: at most {_items(error['ctx']['max_length'])}"
        case kind if kind in _KINDS:
            return f"{key}: {found} ({type(error['input']).__name__}); allowed: {_KINDS[kind]}"
    return f"{key}: {found}; {error['msg'].removeprefix('Input ').replace('should be', 'allowed:')}"


def _items(count: int) -> str:
    return f"{count} item{'' if count == 1 else 's'}"


def _quoted(expected: str) -> list[str]:
    return [name.strip("'") for name in expected.replace(" or ", ", ").split(", ")]


def _keys_beside(place: list[int | str]) -> str:
    return name_choices(str(place[-1]), _keys_of(place[:-1]))


def _meant_key(place: list[int | str]) -> str | None:
    return closest(str(place[-1]), _keys_of(place[:-1]))


def _keys_of(place: list[int | str]) -> Iterable[str]:
    model: Any = Params
    for part in place:
        model = CHOICES.get(str(part)) or model.model_fields[part].annotation
    return list(model.model_fields)
