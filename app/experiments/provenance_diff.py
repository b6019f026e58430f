"""How two trainings differ by their provenance: code, data and settings, or only their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.experiments.dvc_adapter.lock import CODE_FOLDERS, Provenance
from pipeline.config.dotted_keys import show_value

SEEDS = ("seed", "train.seed")
# Neither the number of processes nor the way a model is measured makes it another model.
IGNORED_KEYS = ("train.workers", "embed.workers", "evaluate.")


def are_one_setting(trainings: Sequence[Provenance]) -> bool:
    """Return whether all have the same code, data and params, except for seeds."""
    first = trainings[0]
    return all(
        _select_settings(each) == _select_settings(first) and each.sources == first.sources
        for each in trainings
    )


def find_training_seed(training: Provenance) -> Any:
    """Return the seed of a training, as `training.seeds.training_seed`."""
    seed = training.settings.get("train.seed")
    return training.settings.get("seed") if seed is None else seed


def list_differences(a: Provenance, b: Provenance, *, one_model: bool) -> list[str]:
    """Return a line for each setting that differs, one for code, and one for data.

    one_model: both are, say, `finetuned`, so a setting that only one has is a difference too. An
    untrained model just has no settings of training.
    """
    lines = []
    for key in _list_keys(a.settings, b.settings, both=not one_model):
        before, after = (_show_setting(each.settings, key) for each in (a, b))
        if before != after:
            lines.append(f"{key}: {before} -> {after}")
    changed = [
        path
        for path in _list_keys(a.sources, b.sources, both=not one_model)
        if a.sources.get(path) != b.sources.get(path)
    ]
    code = [path for path in changed if _is_code(path)]
    data = [path for path in changed if not _is_code(path)]
    for kind, paths in (("code", code), ("data", data)):
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            lines.append(f"{kind}: {paths[0]}{more}")
    return lines


def list_setting_differences(a: Provenance, b: Provenance) -> list[str]:
    """Return the lines of `list_differences` because of which two are not `are_one_setting`."""
    a, b = (replace(each, settings=_select_settings(each)) for each in (a, b))
    return list_differences(a, b, one_model=True)


def _select_settings(training: Provenance) -> dict[str, Any]:
    """Return the settings that make another model."""
    return {
        key: value
        for key, value in training.settings.items()
        if key not in SEEDS and not key.startswith(IGNORED_KEYS)
    }


def _is_code(path: str) -> bool:
    return path.endswith(".py") or Path(path).parts[0] in CODE_FOLDERS


def _list_keys(a: Mapping[str, Any], b: Mapping[str, Any], *, both: bool) -> list[str]:
    """Return the keys that are in both, or else those in either."""
    if both:
        return [key for key in a if key in b]
    return list(dict.fromkeys([*a, *b]))


def _show_setting(settings: Mapping[str, Any], key: str) -> str:
    # A dvc.lock from before `train.seed` existed was made as with null.
    if key not in settings and key != "train.seed":
        return "-"
    return show_value(settings.get(key))
