"""`lookalike register`: a real registry, and MLflow's own server of what was registered."""

import base64
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from app.commands.register import register
from app.publishing.champion import ALIAS
from app.searching.catalog import Catalog
from app.searching.model_index import ModelIndex
from app.searching.untrusted_images import decode_photo
from pipeline.config.load import read_params
from pipeline.data.lineage import digest_model
from pipeline.data.tables import QUERIES, SPLITS, read_table, write_table
from pipeline.errors import UserError
from pipeline.tracking.store import connect, find_uri
from pipeline.tracking.tracker import Tracker
from stages.mlflow_run import describe_run
from tests.helpers.clone import free_port, running, wait_until
from tests.helpers.mlflow_server import answers
from tests.helpers.mlflow_store import put_empty_store
from tests.helpers.paths import ROOT
from tests.helpers.searchable import draw, write_random_models

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
    places = {each.artifact_location for each in list_logged(project)}
    assert len(places) == 4
    assert all(place.startswith((project / "mlruns").as_uri()) for place in places)


@pytest.mark.parametrize("name", ["things/a", "a:b", "", " "])
def test_a_name_that_cannot_be_is_refused_before_anything_is_logged(
    name: str, project: Path
) -> None:
    with pytest.raises(UserError) as caught:
        register(project, name, model="finetuned")
    assert str(caught.value) == (
        f"name: found '{name}'; allowed: a name without / and :, such as products"
    )
    assert list_logged(project) == []


def test_what_is_missing_or_of_another_run_is_told_and_nothing_is_logged(project: Path) -> None:
    (project / RESULTS).unlink()
    with pytest.raises(UserError, match=r"results/finetuned/queries.parquet: no such file"):
        register(project, "things", model="finetuned")
    write_results(project, better_by=0.0)
    write_random_models(project, seed=2)  # as after `train`, before `embed`
    with pytest.raises(UserError, match=r"index/finetuned: made by another model than "):
        register(project, "things", model="finetuned")
    assert list_logged(project) == []


def test_the_run_of_a_training_stays_as_it_ended_and_gets_its_model(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(project)
    shutil.rmtree(project / "mlruns", ignore_errors=True)
    params = read_params(Path("params.yaml"))
    tracker = Tracker(describe_run(params, "d1"))
    tracker.open()
    tracker.name_model(digest_model(Path("models/finetuned")))
    tracker.finish()
    client = connect(project)
    before = client.search_runs(["1"])
    register(Path(), "things", model="finetuned")
    shutil.copytree("results/finetuned", "results/baseline")
    register(Path(), "things", model="baseline")
    after = client.search_runs(["1"])
    assert [run.info.to_proto() for run in after] == [run.info.to_proto() for run in before]
    logged = {each.name: each for each in list_logged(project)}
    assert logged["finetuned"].source_run_id == after[0].info.run_id
    assert not logged["baseline"].source_run_id
    assert "on validation finetuned is the one to use: it is a test" in caplog.messages
    versions_of = client.search_model_versions("name = 'things'")
    assert {each.tags["lookalike.model"] for each in versions_of} == {"baseline", "finetuned"}
    photo = Catalog(project).images.read("red disc/0.jpg")
    logged_files = [path for path in (project / "mlruns").rglob("*") if path.is_file()]
    assert len(logged_files) > 20
    encoded = base64.b64encode(photo)
    assert not any(photo in (each := path.read_bytes()) or encoded in each for path in logged_files)


def list_logged(root: Path) -> Any:
    return connect(root).search_logged_models(["0", "1"])


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
        refused = ask(url, b"no image", k=3)
        answer = run_documented_request(tmp_path, port)
    assert found["image_ids"] == [neighbor.image_id for neighbor in expected]
    assert found["scores"] == pytest.approx([neighbor.score for neighbor in expected], abs=1e-6)
    assert found["classes"] == [[each.rpartition("/")[0]] for each in found["image_ids"]]
    assert found["vector"] == pytest.approx(index.embed(photo).tolist(), abs=1e-6)
    assert found["match"] is None
    assert refused["error_code"] == "INVALID_PARAMETER_VALUE"
    assert refused["message"].endswith(
        "image 0: not an image; allowed: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC"
    )
    assert "Traceback" not in json.dumps(refused)
    assert len(answer["predictions"][0]["image_ids"]) == 5


def run_documented_request(folder: Path, port: int) -> Any:
    """Return what the request of docs/sharing.md answers, for a photo of more than a megabyte."""
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.jpg", quality=95)
    assert (folder / "photo.jpg").stat().st_size > 2**20 // 2
    text = (ROOT / "docs/sharing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (request,) = [each for each in blocks if "curl" in each]
    ran = subprocess.run(
        ["bash", "-c", request.replace("5001", str(port))],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(ran.stdout)


def ask(url: str, encoded: bytes, *, k: int) -> Any:
    """Return what the server at `url` answers to one encoded image."""
    image = base64.b64encode(encoded).decode()
    asked = {"dataframe_split": {"columns": ["image"], "data": [[image]]}, "params": {"k": k}}
    request = urllib.request.Request(  # noqa: S310 - of our own server
        f"{url}/invocations",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())
    except HTTPError as error:
        return json.loads(error.read())
