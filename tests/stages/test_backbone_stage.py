"""A relative weights file is found from the project and from a copy of it; image sizes of auto."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.data.tables import CATALOG, write_table
from pipeline.models.embedder import load_embedder
from stages import backbone
from stages.backbone import find_weights
from tests.helpers.dataset_tables import build_catalog
from tests.helpers.overlay import overlaid

pytestmark = pytest.mark.slow


def test_a_relative_file_that_is_missing_here_is_taken_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    for directory in (root, copy):
        directory.mkdir()
    (root / "w.pt").touch()
    monkeypatch.chdir(copy)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert find_weights("w.pt") == "w.pt"
    monkeypatch.setenv("DVC_ROOT", str(root))
    assert find_weights("w.pt") == str(root / "w.pt")
    assert find_weights("/elsewhere/w.pt") == "/elsewhere/w.pt"
    assert find_weights("imagenet") == "imagenet"
    assert find_weights(None) is None
    (copy / "w.pt").touch()
    assert find_weights("w.pt") == "w.pt"


@pytest.mark.parametrize(
    ("network", "side", "size"),
    [
        ("shufflenet_v2_x0_5", 100, 128),
        ("vit_b_32", 100, 128),
        ("timm:efficientformer_l1", 100, 224),
    ],
)
def test_auto_takes_a_size_that_suits_the_images_where_the_network_takes_it(
    network: str, side: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = {"backbone.name": network, "backbone.weights": None, "backbone.image_size": "auto"}
    with open("params.yaml", "w") as out:
        YAML().dump(overlaid(params), out)
    catalog = build_catalog({"a": [0]}, side=side)
    write_table(catalog, tmp_path / "catalog.parquet", CATALOG)
    backbone.main(catalog=tmp_path / "catalog.parquet", out=tmp_path / "model")
    assert load_embedder(tmp_path / "model").spec.image_size == size
