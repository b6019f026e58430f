"""Runs: their names, what is queued of them, and why they failed."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.experiments.queued_runs import (
    Origin,
    make_run,
    name_run,
    read_origin,
    shorten_keys,
)
from app.experiments.recipes import Recipe
from pipeline.errors import UserError
from tests.helpers.clone import git
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"margin": 0.3, "epochs": 10}, "tiny_margin=0.3_epochs=10_1a2b3c4"),
        ({"lr": 2e-05, "weights": None}, "tiny_lr=2e-05_weights=null_1a2b3c4"),
        ({"k": [1, 5], "source": "../a b:c~^?*.lock"}, "tiny_k=-1-5-_source=.-a-b-c-.lock_1a2b3c4"),
        ({"lr": 0.0012345678}, "tiny_lr=0.001235_1a2b3c4"),
        ({"factory": "é@{x}" * 50}, None),
    ],
)
def test_git_takes_every_name(values: dict[str, Any], name: str | None) -> None:
    found = name_run("tiny", values, "1a2b3c4")
    assert name is None or found == name
    assert len(found) <= 108
    assert "/" not in found
    assert git(ROOT, "check-ref-format", f"refs/exps/{found}") == ""


def test_keys_are_as_short_as_they_can_be_and_differ() -> None:
    keys = ["loss.triplet.margin", "loss.margin.margin", "train.epochs", "loss.name"]
    assert list(shorten_keys(keys).values()) == [
        "triplet.margin",
        "margin.margin",
        "epochs",
        "loss.name",
    ]


def test_a_key_that_is_the_end_of_another_stays_whole() -> None:
    keys = ["seed", "train.seed", "name", "loss.name"]
    assert shorten_keys(keys) == {key: key for key in keys}


@pytest.mark.parametrize("name", ["sop", "fashion_mnist"])
def test_a_fetched_dataset_does_not_need_the_images_at_the_source(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether archives or files are fetched: images that are not in git are not read."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    Path("images").mkdir()
    Path("images/README.md").touch()
    git(tmp_path, "add", "images")
    Path("images/mine.png").touch()
    origin = Origin("abc", "", (ROOT / "params.yaml").read_text())
    for official in (True, False):
        settings = {"data.name": name, f"data.{name}.official": official}
        recipe = Recipe(Path("recipes/r.yaml"), "R", settings, ())
        with nullcontext() if official else pytest.raises(UserError, match="finds only what is in"):
            make_run(recipe, {"seed": 1}, origin, short={"seed": "seed"})


def test_changed_images_that_dvc_tracks_make_another_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "images.dvc", "dvc.lock"):
        Path(name).write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a")
    before = read_origin(Path("params.yaml"))
    Path("dvc.lock").write_text("2")
    assert read_origin(Path("params.yaml")) == before
    Path("images.dvc").write_text("2")
    assert read_origin(Path("params.yaml")).digest() != before.digest()


def test_changed_images_in_git_make_another_origin_and_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("photos", "other"):
        Path(place).mkdir()
        Path(place, "a.png").write_bytes(b"\x00 before")
    text = (ROOT / "params.yaml").read_text().replace("source: images", "source: photos", 1)
    Path("params.yaml").write_text(text)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a")
    origin = read_origin(Path("params.yaml"))

    def name_of(settings: dict[str, Any]) -> str:
        recipe = Recipe(Path("recipes/r.yaml"), "R", settings, ())
        return make_run(recipe, {"seed": 1}, origin, short={"seed": "seed"}).name

    own, others = name_of({}), name_of({"data.source": "other"})
    Path("other/a.png").write_bytes(b"\x00 after.")
    assert read_origin(Path("params.yaml")) == origin
    assert (name_of({}), name_of({"data.source": "other"}) == others) == (own, False)
    Path("photos/a.png").write_bytes(b"\x00 after.")
    assert read_origin(Path("params.yaml")).digest() != origin.digest()
