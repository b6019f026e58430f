"""The plot stage, on twelve images of one color and three classes."""

import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.data import tables
from pipeline.data.embeddings import write_embeddings
from pipeline.data.training_record import TrainingRecord, write_record
from pipeline.figures import projection_figures
from pipeline.figures.projection_figures import draw_projection
from stages import plot as stage
from tests.helpers.dataset_tables import (
    build_catalog,
    build_classes,
    build_health,
    build_splits,
    write_dataset_tables,
)
from tests.helpers.packer import Packer
from tests.helpers.paths import ROOT
from tests.helpers.pools import pools_here
from tests.helpers.processes import run_stage

IDS = [f"p{i:02d}" for i in range(12)]
LABELS = [i % 3 for i in range(12)]
METRICS = {"recall_at_1": 0.5475, "recall_at_1_low": 0.5, "recall_at_1_high": 0.6, "queries": 12}
FIGURES = {
    *("projection_pca", "projection_tsne", "projection_umap"),
    *("successes", "failures", "near_duplicates", "confusions", "duplicates"),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    _write_data(tmp_path / "data")
    rng = np.random.default_rng(0)
    for model, size in (("baseline", 32), ("finetuned", 4)):
        vectors = rng.normal(size=(12, size)).astype(np.float32)
        write_embeddings(tmp_path / f"embeddings/{model}", IDS, vectors)
        _write_results(tmp_path / "results" / model)
    (tmp_path / "history.csv").write_text("epoch,loss,val_recall_at_1\n1,2.0,0.5\n2,1.0,0.7\n")
    (tmp_path / "data/rejected.csv").write_text("path,reason\n")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "model").mkdir()
    write_record(tmp_path / "model", TrainingRecord("finetuned", "it is a test", 3, {}))
    for stem, values in (("baseline", METRICS), ("finetuned", METRICS), ("train", {"epochs": 2})):
        (tmp_path / f"metrics/{stem}.json").write_text(json.dumps(values))
    return tmp_path


def plot(project: Path) -> subprocess.CompletedProcess[str]:
    data = "--catalog data/catalog.parquet --classes data/classes.parquet --images data/images"
    made = "--splits data/splits.parquet --embeddings embeddings --results results"
    rest = "--history history.csv --curves plots/curves --figures plots/figures"
    numbers = (
        "--model model --metrics metrics --rejected data/rejected.csv --health data/health.parquet"
    )
    pages = "--report plots/report.html --projector plots/projector"
    return run_stage(project, "plot", *f"{data} {made} {rest} {numbers} {pages}".split())


@pytest.mark.slow
def test_every_file_is_written_and_a_second_run_writes_the_same_bytes(project: Path) -> None:
    runs = []
    for _ in range(2):
        done = plot(project)
        assert done.returncode == 0, done.stderr
        made = sorted((project / "plots").rglob("*.*"))
        runs.append({path.relative_to(project): path.read_bytes() for path in made})
    assert runs[0] == runs[1]
    assert {path.stem for path in runs[0] if path.parent.name == "figures"} == FIGURES
    at_k = pd.read_csv(project / "plots/curves/recall_at_k.csv")
    assert at_k.to_dict("list") == {"k": [1, 5], "baseline": [0.5, 1.0], "finetuned": [0.5, 1.0]}
    for distance in ("cosine", "euclidean"):
        knn = (project / f"plots/curves/knn_accuracy_{distance}.csv").read_text()
        assert knn.splitlines() == [
            "k,baseline,finetuned,baseline_val,finetuned_val,baseline_chosen,finetuned_chosen",
            "1,0.25,0.25,0.75,0.75,0.25,0.25",
            "20,0.5,0.5,,,,",
        ]
    assert {path.name for path in runs[0] if path.parent.name == "projector"} == {
        *("vectors_baseline.tsv", "vectors_finetuned.tsv", "metadata.tsv", "sprite.png"),
        "projector_config.pbtxt",
    }
    page = (project / "plots/report.html").read_text()
    assert 'data-metric="finetuned/recall_at_1"><b>0.547</b>' in page
    assert all(f'id="sheet-{name}"' in page for name in ("successes", "failures", "duplicates"))
    assert re.findall('data-finding="(.*?)">(.*?)<', page) == [
        ("exact duplicates", "2"),
        ("exact duplicates across classes", "2"),
        ("very small (a side under 32 px)", "12"),
        ("blurred", "1"),
    ]


@pytest.mark.slow
def test_of_more_test_images_than_plot_points_a_sample_is_shown_and_the_page_says_so(
    project: Path,
) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("points: 3000", "points: 9"))
    done = plot(project)
    assert done.returncode == 0, done.stderr
    assert (
        "Shown: a random sample of 9 of 12 test images."
        in (project / "plots/report.html").read_text()
    )
    lines = (project / "plots/projector/metadata.tsv").read_text().splitlines()
    assert len(lines) == 10
    assert (project / "plots/projector/vectors_baseline.tsv").read_text().count("\n") == 9


@pytest.mark.slow
def test_labels_move_no_point(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs draw; a wrapper records what the drawing function gets."""
    seen = []

    def record(title: str, points: Any, coloring: Any, *rest: Any) -> Any:
        seen.append((points, list(coloring.keys)))
        return draw_projection(title, points, coloring, *rest)

    monkeypatch.chdir(project)
    monkeypatch.setattr(projection_figures, "draw_projection", record)
    for labels in (LABELS, LABELS[::-1]):
        _write_catalog(project / "data", [[0, label] if label else [0] for label in labels])
        with pools_here():
            stage.main(
                *(Path(f"data/{name}") for name in ("catalog.parquet", "classes.parquet")),
                *(Path(f"data/{name}") for name in ("splits.parquet", "images")),
                *(Path(name) for name in ("embeddings", "results", "history.csv")),
                *(Path(f"plots/{name}") for name in ("curves", "images")),
                *(Path(name) for name in ("model", "metrics")),
                *(Path(f"data/{name}") for name in ("rejected.csv", "health.parquet")),
                *(Path(f"plots/{name}") for name in ("report.html", "projector")),
            )
    before, after = seen[:3], seen[3:]
    assert len(before) == len(after) == 3
    for (points, keys), (same, other_keys) in zip(before, after, strict=True):
        assert keys != other_keys
        assert all(np.array_equal(points[model], same[model]) for model in points)


def test_a_test_image_without_embedding_is_one_line(project: Path) -> None:
    write_embeddings(project / "embeddings/finetuned", IDS[1:], np.ones((11, 4), np.float32))
    done = plot(project)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "plot: data/splits.parquet: 1 of 12 image_ids are not in embeddings/finetuned, the "
        "first is 'p00'; both must come from one run: dvc repro"
    ]


@pytest.mark.slow
def test_an_index_that_found_nothing_still_gives_sheets(project: Path) -> None:
    found = project / "results/finetuned/neighbors.parquet"
    nothing = tables.read_table(found, tables.NEIGHBORS).slice(0, 0)
    tables.write_table(nothing, found, tables.NEIGHBORS)
    done = plot(project)
    assert done.returncode == 0, done.stderr
    assert (project / "plots/figures/failures.png").is_file()


@pytest.mark.slow
def test_names_are_text_in_every_output_and_what_no_font_has_is_told_once(project: Path) -> None:
    names = ["$\\frac$\n日本語", "_قطة 🐱", "<b>\U00013000</b>"]
    write_dataset_tables(project / "data", classes=build_classes(names))
    done = plot(project)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "font" in line.lower()] == [
        "plot: figures: no font here has 1 of the characters, which are drawn as boxes: "
        "\U00013000 (U+13000)"
    ]
    curves = pd.read_csv(project / "plots/curves/precision_recall_classes.csv")
    assert curves["class"].unique().tolist() == ["$\\frac$ 日本語"]
    page = (project / "plots/report.html").read_text()
    assert '<th scope="row">&lt;b&gt;\U00013000&lt;/b&gt;</th>' in page
    assert "<b>\U00013000" not in page


def _write_data(data: Path) -> None:
    writer = Packer(data / "images")
    for place, image_id in enumerate(IDS):
        encoded = io.BytesIO()
        Image.new("RGB", (20 + place, 30), (20 * place, 90, 90)).save(encoded, "PNG")
        writer.add(image_id, encoded.getvalue())
    writer.close()
    _write_catalog(data, [[label] for label in LABELS])
    write_dataset_tables(
        data,
        classes=build_classes(["cup", "jug", "pot"]),
        splits=build_splits(dict.fromkeys(IDS, "test")),
        health=build_health(IDS, exact=[IDS[1:3]], blurred=IDS[5:6]),
    )


def _write_catalog(data: Path, labels: list[list[int]]) -> None:
    catalog = build_catalog(dict(zip(IDS, labels, strict=True)))
    write_dataset_tables(data, catalog=catalog)


def _write_cases(results: Path) -> None:
    """Every query of class 0 fails; its hit is another class's, the first the same image."""
    rows = [
        {"image_id": IDS[i], "top_hit": IDS[i + 1], "label": 0, "other": 1, "queries": 4.0}
        | {"positives": 3, "first_hit_rank": 11, "average_precision": 0.1, "share": 1.0}
        | {"score": 0.95, "cosine": 0.95, "bits": 2, "near_duplicate": i == 0, "failure": True}
        for i in (0, 3, 6, 9)
    ]
    for name, kind, chosen in (
        ("failures", tables.FAILURES, rows),
        ("near_duplicates", tables.NEAR_DUPLICATES, rows[:1]),
        ("confusions", tables.CONFUSIONS, rows[:1]),
        ("successes", tables.SUCCESSES, []),
    ):
        wanted = [{field.name: row[field.name] for field in kind.columns} for row in chosen]
        table = pa.Table.from_pylist(wanted, pa.schema(kind.columns))
        tables.write_table(table, results / f"{name}.parquet", kind)


def _write_results(results: Path) -> None:
    _write_cases(results)
    neighbors = [
        {"query": query, "rank": rank, "image_id": found, "score": 1 / rank, "relevant": rank == 2}
        for query in IDS
        for rank, found in enumerate([other for other in IDS if other != query][:3], start=1)
    ]
    types = {field.name: field.type for field in tables.NEIGHBORS.columns}
    table = pa.Table.from_pylist(neighbors, pa.schema(types.items()))
    tables.write_table(table, results / "neighbors.parquet", tables.NEIGHBORS)
    queries = {
        "image_id": IDS,
        "positives": pa.array([3] * 12, pa.int32()),
        "first_hit_rank": pa.array([2] * 12, pa.int32()),
        "average_precision": [0.5] * 12,
    }
    tables.write_table(pa.table(queries), results / "queries.parquet", tables.QUERIES)
    curves = [("precision_recall", label, x, 0.5) for label in (None, 0) for x in (0.0, 1.0)]
    curves += [("recall_at_k", None, 1.0, 0.5), ("recall_at_k", None, 5.0, 1.0)]
    curves += [(f"similarity_{sign}", None, 0.1, 1.0) for sign in ("positive", "negative")]
    named = [dict(zip(("curve", "label", "x", "y"), row, strict=True)) for row in curves]
    types = {field.name: field.type for field in tables.CURVES.columns}
    table = pa.Table.from_pylist(named, pa.schema(types.items()))
    tables.write_table(table, results / "curves.parquet", tables.CURVES)
    knn = [
        {"distance": distance, "k": k, "val_accuracy": val, "test_accuracy": test, "chosen": k == 1}
        for distance in ("euclidean", "cosine")
        for k, val, test in ((1, 0.75, 0.25), (20, None, 0.5))
    ]
    table = pa.Table.from_pylist(knn, pa.schema(tables.KNN.columns))
    tables.write_table(table, results / "knn.parquet", tables.KNN)
    classes = {
        "label": pa.array([0, 1, 2], pa.int32()),
        "queries": pa.array([4, 4, 4], pa.int64()),
        "map": [0.5, 0.25, 0.75],
    }
    tables.write_table(pa.table(classes), results / "classes.parquet", tables.CLASS_RESULTS)


def test_what_fails_in_the_end_leaves_none_of_the_outputs(project: Path) -> None:
    (project / "history.csv").write_text("")  # the report is written last
    assert plot(project).returncode == 2
    assert not (project / "plots").exists() or list((project / "plots").iterdir()) == []
