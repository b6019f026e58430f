"""Recipes: each is valid, and applying one changes its values and nothing else."""

import difflib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from app.experiments.recipes import (
    Recipe,
    apply_settings,
    list_changes,
    list_names,
    override,
    read_recipe,
)
from app.experiments.search_spaces import read_space
from pipeline.errors import UserError
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_lookalike

pytestmark = pytest.mark.slow

PARAMS = (ROOT / "params.yaml").read_text()
RECIPES = [read_recipe(ROOT / "recipes", name) for name in list_names(ROOT / "recipes")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.path.stem)
def test_each_combination_of_a_recipe_is_valid_and_its_source_is_named(recipe) -> None:
    chosen = [dict(recipe.settings) | settings for settings in recipe.combinations()]
    applied = [apply_settings(PARAMS, settings, where="recipe") for settings in chosen]
    assert any(list_changes(PARAMS, each) for each in applied)
    if recipe.tune is not None:
        assert read_space(recipe, PARAMS).trials
    names = {line.partition(":")[0] for line in recipe.header.splitlines()}
    assert names >= {"source", "reported", "command", "time"}
    assert f"lookalike recipe apply {recipe.path.stem}" in recipe.header


PINNED = {
    *("data.name", "split.protocol", "split.val_by", "split.val_fraction", "backbone.name"),
    *("backbone.image_size", "head.name", "head.normalize", "loss.name", "miner.name"),
    *("batches.name", "optimizer.name", "scheduler.name", "embed.hflip", "index.distance"),
    "postprocess.name",
    *(f"train.{key}" for key in ("epochs", "steps", "patience", "monitor", "chunk_size")),
    *(
        "train.freeze",
        "train.freeze_layers",
        "train.head_epochs",
        "train.ema",
        "train.clip",
        "train.nested",
        "train.lora",
        "train.consistent_margin",
        "train.cross_batch_memory",
    ),
}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.path.stem)
def test_a_published_experiment_does_not_depend_on_what_was_applied_before(recipe) -> None:
    """The recipe of the default dataset sets only that, on purpose."""
    if recipe.settings != {"data.name": "products"}:
        decay = f"optimizer.{recipe.settings['optimizer.name']}.layer_decay"
        mined = recipe.settings["batches.name"] == "triplets"
        assert recipe.settings.keys() >= {*PINNED, decay, *({"mine.refresh"} if mined else ())}


def test_each_grid_is_combined_separately(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "seed: 1\nsweep:\n- {seed: [1, 2], head.dim: [8, 16]}\n- {seed: [3]}\n"
    )
    assert read_recipe(tmp_path, "r").combinations() == [
        {"seed": 1, "head.dim": 8},
        {"seed": 1, "head.dim": 16},
        {"seed": 2, "head.dim": 8},
        {"seed": 2, "head.dim": 16},
        {"seed": 3},
    ]


def test_the_users_values_replace_those_of_a_recipe() -> None:
    recipe = Recipe(Path("r.yaml"), "R", {"seed": 1, "head.dim": 8}, [{"train.epochs": [1, 2]}])
    changed = override(recipe, ["head.dim=16", "data.source=/a b=c", "train.epochs=3"], PARAMS)
    assert changed.settings == {
        "seed": 1,
        "head.dim": 16,
        "data.source": "/a b=c",
        "train.epochs": 3,
    }
    assert changed.combinations() == [{"train.epochs": 3}, {"train.epochs": 3}]
    overrides = ["train.augment.crop=[0.5, 1]", "train.patience=null", "loss.triplet={margin: 0.2}"]
    assert override(recipe, overrides, PARAMS).settings == {
        **recipe.settings,
        "train.augment.crop": [0.5, 1],
        "train.patience": None,
        "loss.triplet.margin": 0.2,
    }


def test_a_key_that_the_user_sets_is_not_searched() -> None:
    space = {"loss.name": ["triplet", "supcon"], "head.dim": [8, 16]}
    recipe = Recipe(Path("r.yaml"), "R", {}, tune={"trials": 3, "space": space})
    changed = override(recipe, ["loss={name: supcon}"], PARAMS)
    assert read_space(changed, PARAMS).dimensions.keys() == {"head.dim"}
    margin = replace(recipe, tune={"trials": 3, "space": space | {"loss.triplet.margin": [0.2]}})
    with pytest.raises(UserError, match=r"margin: would change nothing, since loss.name is supcon"):
        read_space(override(margin, ["loss.name=supcon"], PARAMS), PARAMS)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        *((wrong, "found no key and value; allowed: a dotted") for wrong in ("head.dim", "=3")),
        *(
            (wrong, "found a value that is not YAML; if it is text, quote it for YAML and for the")
            for wrong in ("seed=[1", "data.source=%a", "seed=2020-13-45", "seed=!!int a")
        ),
        ("loss.triplet.marginn=0.2", "loss.triplet.marginn: unknown key; found 'marginn'; "),
        ("loss.triplet=0.2", "loss.triplet: found 0.2; allowed: a mapping of keys"),
        ("train.epochs=ten", "train.epochs: found 'ten' (str); allowed: a whole number"),
    ],
)
def test_a_wrong_value_of_the_user_is_not_reported_as_the_recipes(wrong: str, line: str) -> None:
    for recipe in RECIPES:
        with pytest.raises(UserError) as error:
            override(recipe, ["seed=3", wrong], PARAMS)
        assert str(error.value).startswith(f"-S {wrong}: {line}")
        assert "\n" not in str(error.value)


def test_a_wrong_key_of_a_recipe_is_not_reported_as_one_of_its_sweep() -> None:
    recipe = Recipe(Path("r.yaml"), "R", {"train.epochz": 1}, [{"head.dim": [8, 16]}])
    with pytest.raises(UserError) as error:
        override(recipe, [], PARAMS)
    assert str(error.value).startswith("r.yaml: train.epochz: unknown key; found 'epochz'")


def test_applying_changes_only_these_lines_and_keeps_every_comment() -> None:
    settings = {"loss.triplet.margin": 0.5, "evaluate.k": [1, 10], "train.patience": 5}
    applied = apply_settings(PARAMS, settings, where="recipe")
    diff = list(difflib.ndiff(PARAMS.splitlines(), applied.splitlines()))
    assert [line[2:] for line in diff if line.startswith("+ ")] == [
        "  triplet: {margin: 0.5, swap: false}",
        "  patience: 5                 # stop after this many epochs without a better `monitor`; "
        "null: never",
        "  k: [1, 10]                  # of recall, precision and ndcg",
    ]
    assert list_changes(PARAMS, applied) == [
        "loss.triplet.margin: 0.1 -> 0.5",
        "train.patience: null -> 5",
        "evaluate.k: [1, 5, 10] -> [1, 10]",
    ]
    back = {"loss.triplet.margin": 0.1, "evaluate.k": [1, 5, 10], "train.patience": None}
    assert apply_settings(applied, back, where="recipe") == PARAMS


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"loss.tripel.margin": 0.5},
            "r: loss.tripel: unknown key; found 'tripel'; allowed: arcface, circle, contrastive, "
            "cosface, cross_entropy, margin, multi_similarity, name, ntxent, proxy_anchor, "
            "proxy_nca, recall_at_k, smooth_ap, soft_triple, sub_center_arcface, supcon, "
            "triplet; did you mean 'triplet'?",
        ),
        ({"seed.x": 1}, "r: seed.x: unknown key; found 'x'; allowed: "),
        ({"loss.triplet": 1}, "r: loss.triplet: found 1; allowed: a mapping of keys"),
        ({"train.epochs": "ten"}, "r: train.epochs: found 'ten' (str); allowed: a whole number"),
        (
            {"loss.name": "smooth_ap", "batches.pk.per_class": 1},
            "r: batches.pk.per_class: found 1 with loss.name 'smooth_ap', which needs two images "
            "of a class; allowed: 2 or more",
        ),
    ],
)
def test_what_params_do_not_allow_is_one_line(settings: dict[str, object], line: str) -> None:
    with pytest.raises(UserError) as error:
        apply_settings(PARAMS, settings, where="r")
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- 1\n", "found no settings; allowed: sections of params.yaml"),
        (
            "seed: 1\nsweep: 3\n",
            "sweep: found 3; allowed: dotted keys, each with a list of values, or",
        ),
        ("sweep: [{seed: 1}]\n", "allowed: dotted keys, each with a list of values, or a list of"),
        ("sweep: {seed: []}\n", "allowed: dotted keys, each with a list of values"),
        ("sweep: {1: [2]}\n", "found {1: [2]}; allowed: dotted keys, each with a list of values"),
        (
            "sweep: {loss: [{name: supcon}]}\n",
            "list of such grids, as in loss.name: [triplet, supcon]",
        ),
        ("seed: [", "not YAML"),
        ("seed: 2020-13-45\n", "not YAML: month must be in 1..12"),
        ("seed: !!int a\n", "not YAML"),
    ],
)
def test_a_file_that_is_not_a_recipe_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml") as error:
        read_recipe(tmp_path, "mine")
    assert line in str(error.value)


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_lookalike(place, "recipe", *arguments)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/long.yaml").write_text("# Long: ten epochs\ntrain: {epochs: 10}\n")
    (tmp_path / "recipes/wrong.yaml").write_text("# Wrong\ntrain: {epochz: 10}\n")
    return tmp_path


def test_the_commands_list_show_and_apply(place: Path) -> None:
    assert run(place, "list").stdout == "long   Long: ten epochs\nwrong  Wrong\n"
    shown = run(place, "show", "long").stdout
    assert "train: {epochs: 10}" in shown
    assert shown.endswith("params.yaml: 1 value would change\n  train.epochs: 5 -> 10\n")
    assert (place / "params.yaml").read_text() == PARAMS
    (place / "recipes/tuned.yaml").write_text("# Tuned\ntune: {trials: 3, space: {seed: [1]}}\n")
    assert "tune.space: seed: cannot be searched" in run(place, "show", "tuned").stderr
    applied = run(place, "apply", "long")
    assert applied.stdout == "params.yaml: 1 value changed\n  train.epochs: 5 -> 10\n"
    assert (place / "params.yaml").read_text() == PARAMS.replace("  epochs: 5\n", "  epochs: 10\n")


def test_a_value_of_the_user_is_applied_and_a_wrong_one_is_one_line(place: Path) -> None:
    assert run(place, "apply", "long", "-S", "train.epochs=12", "-S", "seed=8").returncode == 0
    assert list_changes(PARAMS, (place / "params.yaml").read_text()) == [
        "seed: 7 -> 8",
        "train.epochs: 5 -> 12",
    ]
    wrong = run(place, "apply", "long", "-S", "train.epochz=12")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("lookalike: -S train.epochz=12: train.epochz: unknown key; ")


def test_a_value_of_the_user_that_changes_nothing_is_a_warning(place: Path) -> None:
    (place / "recipes/supcon.yaml").write_text("# Supcon\nloss: {name: supcon}\n")
    warning = run(place, "show", "supcon", "-S", "loss.triplet.margin=0.2").stderr
    assert warning == "recipe: -S loss.triplet.margin: changes nothing, since loss.name is supcon\n"
    assert run(place, "show", "supcon", "-S", "loss.supcon.temperature=0.2").stderr == ""


def test_without_git_a_recipe_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    ran = run(place, "apply", "long")
    assert ran.returncode == 2
    assert ran.stderr == "lookalike: git: found no such command; install git, or add it to PATH\n"


def test_list_names_a_broken_recipe_among_the_others(place: Path) -> None:
    (place / "recipes/broken.yaml").write_text("seed: [")
    listed = run(place, "list").stdout.splitlines()
    assert listed[0].startswith("broken  recipes/broken.yaml: not YAML")
    assert listed[1] == "long    Long: ten epochs"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: [", "params.yaml: not YAML: "),
        (PARAMS.replace("seed: 7 ", "sed: 7 "), "params.yaml: sed: unknown key; "),
        (None, "params.yaml: no such file; run from the root of the project"),
    ],
)
def test_a_wrong_params_file_is_not_reported_as_a_wrong_recipe(
    text: str | None, line: str, place: Path
) -> None:
    (place / "params.yaml").unlink() if text is None else (place / "params.yaml").write_text(text)
    ran = run(place, "apply", "long")
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"lookalike: {line}")
    assert ran.stderr.count("\n") == 1


def test_a_link_stays_a_link_and_its_file_keeps_its_mode(place: Path) -> None:
    (place / "params.yaml").rename(place / "own.yaml")
    (place / "own.yaml").chmod(0o600)
    (place / "params.yaml").symlink_to("own.yaml")
    assert run(place, "apply", "long").returncode == 0
    assert (place / "params.yaml").is_symlink()
    assert "  epochs: 10\n" in (place / "own.yaml").read_text()
    assert (place / "own.yaml").stat().st_mode & 0o777 == 0o600


def test_changes_that_are_not_in_git_are_a_warning(place: Path) -> None:
    for command in ("init --quiet", "add .", "-c user.name=a -c user.email=a@b.c commit -qm a"):
        subprocess.run(["git", *command.split()], cwd=place, check=True)
    assert run(place, "apply", "long").stderr == ""
    warning = run(place, "show", "long").stderr
    assert warning.startswith("recipe: params.yaml has changes that are not in git; values that")


def test_a_wrong_recipe_is_one_line_and_changes_nothing(place: Path) -> None:
    for name, line in (
        ("wrong", "lookalike: recipes/wrong.yaml: train.epochz: unknown key; found 'epochz'; "),
        ("lnog", "lookalike: recipes: found 'lnog'; allowed: long, wrong; did"),
    ):
        ran = run(place, "apply", name)
        assert ran.returncode == 2
        assert ran.stderr.startswith(line)
        assert ran.stderr.count("\n") == 1
        assert (place / "params.yaml").read_text() == PARAMS
