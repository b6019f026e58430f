"""`lookalike register`: a real registry, and MLflow's own server of what was registered."""

import base64
import json
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from app.commands.register import ALIAS, register
from app.searching.model_index import ModelIndex
from app.searching.untrusted_images import decode_photo
from pipeline.data.tables import QUERIES, SPLITS, read_table, write_table
from pipeline.errors import UserError
from pipeline.tracking.store import find_uri
from tests.helpers.clone import free_port, running, wait_until
from tests.helpers.mlflow_store import put_empty_store
from tests.helpers.searchable import draw

RESULTS = Path("results/finetuned/queries.parquet")
PHOTO = draw("green", "disc", 99)


@pytest.fixture
def project(searchable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a project, with an empty store, and results of 60 queries."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "project"
    shutil.copytree(searchable, root)
    put_empty_store(root)
    write_results(root, better_by=0.0)
    return root


def write_results(root: Path, *, better_by: float) -> None:
    """Write what `evaluate` found of the test queries; the metrics are not those of the model."""
    splits = read_table(root / "data/splits.parquet", SPLITS).to_pandas()
    ids = sorted(splits.loc[splits["is_query"], "image_id"])
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"image_id": ids, "positives": 3, "first_hit_rank": 1})
    for name in ("average_precision", "recall_at_1"):
        table[name] = rng.uniform(0.2, 0.4, len(ids)) + better_by
    (root / RESULTS).parent.mkdir(parents=True, exist_ok=True)
    kinds = {"image_id": pa.string(), "positives": pa.int32(), "first_hit_rank": pa.int32()}
    columns = {name: pa.array(values, kinds.get(name)) for name, values in table.items()}
    write_table(pa.table(columns), root / RESULTS, QUERIES)


def versions(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(find_uri(root)).get_registered_model("things")


def test_the_champion_is_the_first_and_then_what_is_clearly_better(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for better_by in (0.0, 0.0, 0.3):
        write_results(project, better_by=better_by)
        register(project, "things", model="best")
        said.append(capsys.readouterr().out.strip())
    splits = read_table(project / "data/splits.parquet", SPLITS)
    fewer = splits.filter(
        pc.not_equal(splits["image_id"], splits.filter(splits["is_gallery"])["image_id"][0])
    )
    write_table(fewer, project / "data/splits.parquet", SPLITS)
    register(project, "things", model="best")
    said.append(capsys.readouterr().out.strip())
    assert said[:3] == [
        "champion: version 1, the first",
        "champion: stays as it is, compared with version 1: no difference (map +0.000)",
        "champion: version 3, compared with version 1: better (map +0.300)",
    ]
    assert said[3].startswith(
        "champion: stays as it is, version 3, as the two cannot be compared: version 3 and "
        "finetuned: found two galleries, "
    )
    assert versions(project).aliases == {ALIAS: 3}


def test_what_is_missing_is_told_and_nothing_is_registered(project: Path) -> None:
    (project / RESULTS).unlink()
    with pytest.raises(UserError, match=r"results/finetuned/queries.parquet: no such file"):
        register(project, "things", model="finetuned")
    write_results(project, better_by=0.0)
    with pytest.raises(UserError, match="things/a: MLflow does not take it: "):
        register(project, "things/a", model="finetuned")


@pytest.mark.slow
def test_mlflow_serves_what_a_search_finds(project: Path, tmp_path: Path) -> None:
    register(project, "things", model="finetuned")
    index = ModelIndex(project, "finetuned")
    photo = decode_photo(PHOTO, name="photo")
    expected = index.search(index.embed(photo), 3)
    shutil.rmtree(project / "models")  # it has all that it needs
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", "models:/things@champion", "--host", "127.0.0.1"]
    command += ["--port", str(port)]
    with running(tmp_path, *command, MLFLOW_TRACKING_URI=find_uri(project)):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/ping"))
        (found,) = ask(url, PHOTO, k=3)["predictions"]
    assert found["image_ids"] == [neighbor.image_id for neighbor in expected]
    assert found["scores"] == pytest.approx([neighbor.score for neighbor in expected], abs=1e-6)
    assert found["classes"] == [[each.rpartition("/")[0]] for each in found["image_ids"]]
    assert found["vector"] == pytest.approx(index.embed(photo).tolist(), abs=1e-6)
    assert found["match"] is None


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=60):  # noqa: S310 - of our own server
            return True
    except OSError:
        return False


def ask(url: str, encoded: bytes, *, k: int) -> Any:
    """Return what the server at `url` answers to one encoded image."""
    image = base64.b64encode(encoded).decode()
    asked = {"dataframe_split": {"columns": ["image"], "data": [[image]]}, "params": {"k": k}}
    request = urllib.request.Request(  # noqa: S310 - of our own server
        f"{url}/invocations",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.loads(answer.read())
