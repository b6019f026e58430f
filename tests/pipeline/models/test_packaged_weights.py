"""The weights that are installed with the project, real ones."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.models import packaged_weights
from pipeline.models.backbones import build_backbone
from pipeline.models.packaged_weights import WEIGHTS_FILES, load_packaged


@pytest.mark.parametrize("name", WEIGHTS_FILES)
def test_the_installed_weights_fill_all_of_the_backbone(name: str) -> None:
    built = build_backbone(name, 64, pooling="avg", weights="packaged")
    random = build_backbone(name, 64, pooling="avg")
    given, before = built.state_dict(), random.state_dict()
    counters = {key for key in given if key.endswith("num_batches_tracked")}
    kept = {key for key in given if torch.equal(given[key], before[key])} - counters
    assert kept == set()
    # A scale that lands on another tensor of the same shape would give huge or vanishing values.
    with torch.no_grad():
        features = built(torch.rand(1, 3, 64, 64))
    assert 0.1 < features.std() < 1


def test_another_backbone_has_none() -> None:
    with pytest.raises(UserError) as error:
        load_packaged("resnet18", torch.nn.Identity())
    assert str(error.value) == (
        "backbone.weights: found 'packaged' with backbone.name 'resnet18'; allowed: imagenet, a "
        "file, null, or backbone.name timm:tf_efficientnet_lite0 | timm:tf_efficientnet_lite1 | "
        "timm:tf_efficientnet_lite2"
    )


def test_altered_and_missing_packages_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "timm:tf_efficientnet_lite0"
    file = WEIGHTS_FILES[name]
    spec = find_spec(file.package)
    assert spec is not None
    assert spec.origin is not None
    copy = tmp_path / "altered_package"
    shutil.copytree(Path(spec.origin).parent, copy)
    with (copy / file.path).open("ab") as out:
        out.write(b"more")
    monkeypatch.syspath_prepend(tmp_path)

    def fail(package: str) -> str:
        changed = {name: replace(file, package=package)}
        monkeypatch.setattr(packaged_weights, "WEIGHTS_FILES", changed)
        with pytest.raises(UserError) as error:
            load_packaged(name, torch.nn.Identity())
        return str(error.value)

    assert fail("altered_package") == (
        f"{copy / file.path}: found other bytes than were published; run: make clean install"
    )
    assert fail("no_such_package") == (
        "backbone.weights: found 'packaged', and the package no_such_package is not installed; "
        "run: make install"
    )
