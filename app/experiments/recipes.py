"""Recipes: published experiments, each an overlay of params.yaml in recipes/<name>.yaml.

A recipe begins with a comment: what the experiment is, its source, the reported metrics, the
command and the expected time. The values that it sets follow, nested as in params.yaml. `sweep` may
list dotted keys, each with the values to try, in all combinations; or a list of such grids, where
not all combinations were tried. `tune` may describe a space to search: see search_spaces.py.
"""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pipeline.config.dotted_keys import flatten, show_value
from pipeline.config.load import NOT_YAML, check_params, check_values, read_yaml
from pipeline.config.schema import Params
from pipeline.errors import UserError, name_choices

SWEEP, TUNE = "sweep", "tune"


@dataclass(frozen=True)
class Recipe:
    """The content of recipes/<name>.yaml.

    header: its comment, without the "#". settings: dotted key -> value. sweep: grids, each of
    dotted key -> the values to try; empty for an experiment of one run. tune: its search space, as
    in the file; None without one. overridden: the keys of `settings` that the user has set.
    """

    path: Path
    header: str
    settings: dict[str, Any]
    sweep: Sequence[Mapping[str, list[Any]]] = ()
    tune: Any = None
    overridden: Collection[str] = ()

    @property
    def where(self) -> str:
        """What its values come from, for messages: its file, and what the user has set."""
        set_by_user = [f" -S {key}={show_value(self.settings[key])}" for key in self.overridden]
        return f"{self.path}{' with' if set_by_user else ''}{''.join(set_by_user)}"

    @property
    def title(self) -> str:
        """The first line of the header."""
        return self.header.partition("\n")[0]

    def combinations(self) -> list[dict[str, Any]]:
        """Return each combination of `sweep`, dotted key -> value; one empty {} without a sweep."""
        return [
            dict(zip(grid, values, strict=True))
            for grid in self.sweep or [{}]
            for values in product(*grid.values())
        ]


def list_names(folder: Path) -> list[str]:
    """Return the names of the recipes in `folder`, sorted.

    Raises:
        UserError: there are none.
    """
    found = sorted(path.stem for path in folder.glob("*.yaml") if path.is_file())
    if not found:
        raise UserError(f"{folder}: found no recipes; run from the root of the project")
    return found


def read_recipe(folder: Path, name: str) -> Recipe:
    """Return the recipe `name` of `folder`.

    Raises:
        UserError: there is none, or its file is not a recipe.
    """
    if name not in (names := list_names(folder)):
        raise UserError(f"{folder}: {name_choices(name, names)}")
    path = folder / f"{name}.yaml"
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: found no settings; allowed: sections of params.yaml")
    sweep, tune = values.pop(SWEEP, []), values.pop(TUNE, None)
    grids = [sweep] if isinstance(sweep, dict) else sweep
    if not _are_grids(grids):
        raise UserError(
            f"{path}: {SWEEP}: found {sweep!r}; allowed: dotted keys, each with a list of values, "
            "or a list of such grids, as in loss.name: [triplet, supcon]"
        )
    return Recipe(path, _read_header(path), flatten(values), grids, tune)


def _are_grids(grids: Any) -> bool:
    return isinstance(grids, list) and all(
        isinstance(grid, dict) and grid and all(_is_swept(*item) for item in grid.items())
        for grid in grids
    )


def _is_swept(key: Any, values: Any) -> bool:
    is_list = isinstance(values, list) and bool(values)
    return isinstance(key, str) and is_list and not any(isinstance(v, dict) for v in values)


def _read_header(path: Path) -> str:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def override(recipe: Recipe, overrides: Sequence[str], params: str) -> Recipe:
    """Return `recipe` with the user's values, each "dotted.key=value" with a YAML value.

    They replace the recipe's: such a key is no longer swept or searched. params: the text of
    params.yaml, which has every known key.

    Raises:
        UserError: one of them does not have that form; or a key or value, the user's or the
            recipe's, is not allowed on its own.
    """
    overridden: dict[str, Any] = {}
    values = YAML(typ="safe").load(params)
    # The user's come first, so that a mistake in them is not reported as the recipe's.
    for assignment in overrides:
        settings = _read_assignment(assignment)
        _check_each(values, settings, where=f"-S {assignment}")
        overridden |= settings
    _check_each(values, recipe.settings, where=str(recipe.path))
    grids = [
        {key: [overridden.get(key, value) for value in grid[key]] for key in grid}
        for grid in recipe.sweep
    ]
    tune = recipe.tune
    if isinstance(tune, dict) and isinstance(tune.get("space"), dict):
        space = {key: each for key, each in tune["space"].items() if key not in overridden}
        tune = tune | {"space": space}
    return replace(
        recipe,
        settings=recipe.settings | overridden,
        sweep=grids,
        tune=tune,
        overridden=overridden.keys(),
    )


def _read_assignment(assignment: str) -> dict[str, Any]:
    key, equals, value = assignment.partition("=")
    if not key or not equals:
        raise UserError(
            f"-S {assignment}: found no key and value; allowed: a dotted key of params.yaml, "
            "an equals sign and a value, as in -S loss.triplet.margin=0.2"
        )
    try:
        return flatten({key: YAML(typ="safe").load(value)})
    except NOT_YAML:
        raise UserError(
            f"-S {assignment}: found a value that is not YAML; if it is text, quote it for YAML "
            f"and for the shell: -S '{key}=\"…\"'"
        ) from None


def _check_each(params: dict[str, Any], settings: Mapping[str, Any], *, where: str) -> None:
    """Set `settings` in `params`; raise a UserError if a key or value is not allowed on its own."""
    for key, value in settings.items():
        _set(params, key.split("."), value, where=where)
    check_values(params, where=where)


def find_unused(
    key: str, points: Iterable[Mapping[str, Any]], params: Mapping[str, Any]
) -> str | None:
    """Return why a key changes nothing, as "loss.name is supcon"; None where it does.

    It changes nothing if it is in a block that no point chooses. points: dotted key -> value of
    each. params: plain values, for the keys that a point does not set.
    """
    section, _, rest = key.partition(".")
    block, _, option = rest.partition(".")
    if not option or "name" not in params[section]:
        return None
    name = f"{section}.name"
    chosen = dict.fromkeys(point.get(name, params[section]["name"]) for point in points)
    return None if block in chosen else f"{name} is {', '.join(chosen)}"


def check_settings(
    params: str, settings: Mapping[str, Any], *, where: str
) -> tuple[dict[str, Any], Params]:
    """Return a params.yaml with `settings` as plain values, and as checked ones.

    params: its text. Raises as `apply_settings`.
    """
    values: dict[str, Any] = YAML(typ="safe").load(params)
    for key, value in settings.items():
        _set(values, key.split("."), value, where=where)
    return values, check_params(values, where=where)


def apply_settings(params: str, settings: Mapping[str, Any], *, where: str) -> str:
    """Return the text of a params.yaml with `settings` (dotted key -> value), comments included.

    Its form is that of params.yaml in git: indented by two, null for nothing.

    Raises:
        UserError: a key is not in params.yaml, or the values are not allowed, alone or together.
            The text begins with `where`.
    """
    yaml = _round_trip_yaml()
    values = yaml.load(params)
    for key, value in settings.items():
        _set(values, key.split("."), value, where=where)
    out = io.StringIO()
    yaml.dump(values, out)
    check_params(YAML(typ="safe").load(out.getvalue()), where=where)
    return out.getvalue()


def _set(params: dict[str, Any], keys: list[str], value: Any, *, where: str) -> None:
    section: Any = params
    for depth, key in enumerate(keys):
        if not isinstance(section, dict) or key not in section:
            known = section if isinstance(section, dict) else ()
            path = ".".join(keys[: depth + 1])
            raise UserError(f"{where}: {path}: unknown key; {name_choices(key, known)}")
        if depth < len(keys) - 1:
            section = section[key]
    if isinstance(section[keys[-1]], dict):
        raise UserError(f"{where}: {'.'.join(keys)}: found {value!r}; allowed: a mapping of keys")
    if isinstance(value, list) and isinstance(section, CommentedMap):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    section[keys[-1]] = value


def _round_trip_yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # keeps long lines whole
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def list_changes(before: str, after: str) -> list[str]:
    """Return "key: old -> new" for each value that differs between two params.yaml."""
    old, new = (flatten(YAML(typ="safe").load(text)) for text in (before, after))
    return [
        f"{key}: {show_value(old[key])} -> {show_value(new[key])}"
        for key in old
        if old[key] != new[key]
    ]
