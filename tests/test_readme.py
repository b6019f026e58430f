"""The README is true: its settings are valid, its commands exist, its figures are those in git."""

import json
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.config.dotted_keys import flatten
from pipeline.config.load import check_params, read_yaml
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]

# The columns of the README's tables.
NAMES = ("recall_at_1", "precision_at_5", "map")


def changes(text: str) -> dict[str, Any]:
    """Return the settings of `-S key=value`, as DVC reads them."""
    found = re.findall(r"-S ([a-z_.]+)=([^\s`]+)", text)
    return {key: YAML(typ="safe").load(value) for key, value in found if "$" not in value}


@pytest.mark.parametrize("text", [README, *COMMANDS], ids=lambda text: text[:40])
def test_every_setting_the_readme_shows_is_one_of_params_yaml(text: str) -> None:
    params = read_yaml(ROOT / "params.yaml")
    for key, value in changes(text).items():
        assert key in flatten(params), key
        check_params(overlaid({key: value}), where=f"README: {key}")


def test_every_make_target_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    assert named == {"repro", "test"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


@pytest.mark.parametrize("model", ["baseline", "finetuned"])
def test_the_default_figures_in_the_readme_are_those_in_metrics(model: str) -> None:
    row = re.search(rf"^\| default, {model} \|(.*)\|$", README, flags=re.MULTILINE)
    assert row, "the table 'What was measured' has no such row"
    figures = json.loads((ROOT / f"metrics/{model}.json").read_text())
    shown = [cell.split()[0] for cell in row[1].split("|")]
    assert shown == [f"{figures[name]:.3f}" for name in NAMES]


def test_the_default_row_of_the_sweep_is_the_default() -> None:
    row = re.search(r"^\| `multi_similarity` \(the default\) \|(.*)\|$", README, flags=re.MULTILINE)
    assert row, "the table of the sweep has no such row"
    dim, *shown = [cell.strip() for cell in row[1].split("|")]
    figures, trained = (
        json.loads((ROOT / f"metrics/{name}.json").read_text()) for name in ("finetuned", "train")
    )
    values = [trained["val_map_at_r"], *(figures[name] for name in NAMES)]
    assert int(dim) == read_yaml(ROOT / "params.yaml")["head"]["dim"]
    assert shown == [f"{value:.3f}" for value in values]
