"""The embed stage where there is nothing to embed: only labels were packed."""

from pathlib import Path

import pytest

from pipeline.data.embeddings import read_embeddings
from pipeline.datasets.source_image import SourceImage
from pipeline.models.embedder import build_baseline, save_embedder
from pipeline.packing.packing import Outputs, pack
from stages.embed import main
from tests.helpers.paths import ROOT


def test_a_catalog_without_images_gives_an_empty_table_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    names = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
    to = Outputs(*map(Path, names))
    unread = [SourceImage(path=f"{n}.jpg", labels=("a",), read=None, size=(8, 6)) for n in range(3)]
    pack(unread, to, max_side=None, max_rejected=0.0)
    model = build_baseline("shufflenet_v2_x0_5", image_size=32, pooling="avg", weights=None, seed=1)
    save_embedder(model, Path("model"))
    out = Path("embeddings.parquet")
    main("baseline", model_dir=Path("model"), images=to.images, catalog=to.catalog, out=out)
    ids, vectors = read_embeddings(out)
    assert (ids, vectors.shape) == ([], (0, model.dim))
    assert caplog.messages == [
        "no images were packed, only their labels: embeddings.parquet is empty"
    ]
