"""What two trainings were made of: whether they are of one setting, and else what differs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.experiments.dvc_lock import Provenance
from pipeline.config.dotted_keys import show_value

SEEDS = ("seed", "train.seed")
# Neither the number of processes nor how a model is measured makes it another one.
WITHOUT_EFFECT = ("train.workers", "embed.workers", "evaluate.")


def are_one_setting(made: Sequence[Provenance]) -> bool:
    """Whether all were made by the same code from the same data and params, but for seeds."""
    return all(
        _essence(each) == _essence(made[0]) and each.sources == made[0].sources for each in made
    )


def training_seed(made: Provenance) -> Any:
    """Return what the training was drawn from, as `training.seeds.training_seed`."""
    own = made.settings.get("train.seed")
    return made.settings.get("seed") if own is None else own


def list_differences(a: Provenance, b: Provenance, *, one_model: bool) -> list[str]:
    """Return a line for each setting that differs, and one each for code and for data.

    one_model: both are, say, `finetuned`, so that what only one has differs too; a model that was
    not trained just has no settings of training.
    """
    lines = []
    for key in _keys(a.settings, b.settings, both=not one_model):
        before, after = (_show(made.settings, key) for made in (a, b))
        if before != after:
            lines.append(f"{key}: {before} -> {after}")
    changed = [
        path
        for path in _keys(a.sources, b.sources, both=not one_model)
        if a.sources.get(path) != b.sources.get(path)
    ]
    code = [path for path in changed if path.endswith(".py")]
    data = [path for path in changed if not path.endswith(".py")]
    for kind, paths in (("code", code), ("data", data)):
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            lines.append(f"{kind}: {paths[0]}{more}")
    return lines


def list_what_divides(a: Provenance, b: Provenance) -> list[str]:
    """Return the differences, as `list_differences`, for which two are not `are_one_setting`."""
    a, b = (replace(made, settings=_essence(made)) for made in (a, b))
    return list_differences(a, b, one_model=True)


def _essence(made: Provenance) -> dict[str, Any]:
    return {
        key: value
        for key, value in made.settings.items()
        if key not in SEEDS and not key.startswith(WITHOUT_EFFECT)
    }


def _keys(a: Mapping[str, Any], b: Mapping[str, Any], *, both: bool) -> list[str]:
    if both:
        return [key for key in a if key in b]
    return list(dict.fromkeys([*a, *b]))


def _show(settings: Mapping[str, Any], key: str) -> str:
    # A lock that is older than `train.seed` was made as if it were null.
    if key not in settings and key != "train.seed":
        return "-"
    return show_value(settings.get(key))
