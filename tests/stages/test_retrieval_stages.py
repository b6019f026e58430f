"""The stages index, evaluate and mine: from files to files."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal
from PIL import Image

from pipeline.data.embeddings import write_embeddings
from pipeline.data.tables import (
    CLASS_RESULTS,
    CONFUSIONS,
    CURVES,
    FAILURES,
    KNN,
    NEAR_DUPLICATES,
    NEIGHBORS,
    QUERIES,
    SPLITS,
    SUCCESSES,
    TRIPLETS,
    read_table,
    write_table,
)
from tests.helpers.dataset_tables import build_catalog, build_splits, write_dataset_tables
from tests.helpers.packer import Packer
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_stage

pytestmark = pytest.mark.slow

N = 60
IDS = [f"p{i:02d}" for i in range(N)]
# Twelve classes: four for training, two for validation, the others for test. p59 is alone in its
# class.
CLASS = [i % 12 for i in range(N - 1)] + [99]
SPLIT = ["train" if label < 4 else "val" if label < 6 else "test" for label in CLASS]
TRAIN = {image_id for image_id, split in zip(IDS, SPLIT, strict=True) if split == "train"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    set_param(tmp_path, "  name: pk\n", "  name: triplets\n")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(100, 8))
    vectors = (centres[CLASS] + rng.normal(size=(N, 8))).astype(np.float32)
    # In another order than the splits, because the order of files may differ.
    write_embeddings(tmp_path / "embeddings", IDS[::-1], vectors[::-1])
    write_embeddings(tmp_path / "added", [], vectors[:0])
    write_splits(tmp_path, SPLIT)
    labels = {image_id: [label] for image_id, label in zip(IDS, CLASS, strict=True)}
    write_dataset_tables(tmp_path, catalog=build_catalog(labels))
    write_images(tmp_path, make_images())
    return tmp_path


def make_images() -> dict[str, Image.Image]:
    pixels = np.random.default_rng(1).integers(0, 256, (N, 6, 6, 3), np.uint8)
    return {
        image_id: Image.fromarray(noise).resize((48, 48), Image.Resampling.BICUBIC)
        for image_id, noise in zip(IDS, pixels, strict=True)
    }


def write_images(project: Path, images: dict[str, Image.Image]) -> None:
    writer = Packer(project / "images")
    for image_id, image in images.items():
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=90)
        writer.add(image_id, encoded.getvalue())
    writer.close()


def write_splits(project: Path, split: list[str]) -> None:
    write_dataset_tables(project, splits=build_splits(dict(zip(IDS, split, strict=True))))


def set_param(project: Path, before: str, after: str) -> None:
    path = project / "params.yaml"
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


SHARED = ("--embeddings", "embeddings", "--splits", "splits.parquet")


def index(project: Path) -> subprocess.CompletedProcess[str]:
    options = (*SHARED, "--model", "m", "--out", "index/m")
    options += ("--added", "added", "--added-out", "index/added/m", "--catalog", "catalog.parquet")
    return run_stage(project, "index", *options)


def evaluate(project: Path) -> subprocess.CompletedProcess[str]:
    options = ["--model", "m", "--catalog", "catalog.parquet", "--images", "images"]
    options += ["--index", "index/m", "--metrics", "metrics/m.json", "--results", "results/m"]
    options += ["--headline", "headline/m.json"]
    return run_stage(project, "evaluate", *SHARED, *options)


def mine(project: Path) -> subprocess.CompletedProcess[str]:
    options = ("--catalog", "catalog.parquet", "--out", "triplets.parquet")
    return run_stage(project, "mine", *SHARED, *options)


def error_of(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 2
    return run.stderr


def test_index_and_evaluate_write_consistent_metrics_and_tables(project: Path) -> None:
    for run in (index(project), evaluate(project)):
        assert run.returncode == 0, run.stderr
    metrics = json.loads((project / "metrics/m.json").read_text())
    assert list(metrics.items())[:2] == [
        ("dataset", "products"),
        ("fingerprint", "0123456789abcdef"),
    ]
    count = SPLIT.count("test")
    assert (metrics["queries"], metrics["gallery"]) == (count, count)
    assert metrics["queries_without_positives"] == 1
    assert metrics["index_recall_at_10"] == 1
    assert metrics["intervals_over"] == "classes"  # of the test images, none is in training
    means = [name for name in metrics if f"{name}_low" in metrics]
    assert means == [
        *(f"{name}_at_{k}" for name in ("recall", "precision", "ndcg") for k in (1, 5, 10)),
        *("map", "map_at_r", "r_precision", "mrr", "knn_accuracy"),
        *("triplet_accuracy", "cosine_positive", "cosine_negative"),
        *(f"index_recall_at_{k}" for k in (1, 5, 10)),
        *("macro_map", "macro_knn_accuracy"),
    ]
    for name in means:
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
        assert metrics[name] == round(metrics[name], 6)
    results = project / "results/m"
    queries = read_table(results / "queries.parquet", QUERIES).to_pandas().set_index("image_id")
    neighbors = read_table(results / "neighbors.parquet", NEIGHBORS).to_pandas()
    assert set(read_table(results / "curves.parquet", CURVES)["curve"].to_pylist()) == {
        *("precision_recall", "recall_at_k", "similarity_positive", "similarity_negative")
    }
    # The tables agree: first_hit_rank is the rank of the first relevant neighbor.
    assert not (neighbors["query"] == neighbors["image_id"]).any()
    assert neighbors.groupby("query").size().eq(20).all()
    class_of = dict(zip(IDS, CLASS, strict=True))
    same = neighbors["query"].map(class_of) == neighbors["image_id"].map(class_of)
    assert (same == neighbors["relevant"]).all()
    first = neighbors[neighbors["relevant"]].groupby("query")["rank"].min()
    assert (queries.loc[first.index, "first_hit_rank"] == first).all()
    assert queries["recall_at_1"].mean() == pytest.approx(metrics["recall_at_1"], abs=1e-6)
    assert queries.loc["p59"].drop("positives").isna().all()
    classes = read_table(results / "classes.parquet", CLASS_RESULTS).to_pandas().set_index("label")
    recalls = [f"recall_at_{k}" for k in (1, 5, 10)]
    assert list(classes.columns) == ["queries", "map", *recalls, "knn_accuracy"]
    # Every test class except that of p59, which no other image has.
    by_class = queries.drop("p59").groupby(class_of)
    assert list(classes.index) == list(range(6, 12))
    assert (classes["queries"] == by_class.size()).all()
    expected = by_class["average_precision"].mean()
    assert classes["map"].to_numpy() == pytest.approx(expected.to_numpy())
    for name in ("map", "knn_accuracy"):
        assert metrics[f"macro_{name}"] == pytest.approx(classes[name].mean(), abs=1e-6)


def test_sampled_queries_are_measured_as_among_all(project: Path) -> None:
    """Against the whole gallery, and always the same ones: here by another order of the images."""
    for run in (index(project), evaluate(project)):
        assert run.returncode == 0, run.stderr
    results, count = project / "results/m", SPLIT.count("test")
    every = read_table(results / "queries.parquet", QUERIES).to_pandas().set_index("image_id")
    all_neighbors = read_table(results / "neighbors.parquet", NEIGHBORS).to_pandas()
    set_param(project, "  queries: null", "  queries: 12")
    ran = evaluate(project)
    assert ran.stderr.startswith(
        f"evaluate: evaluate.queries: 12 of the {count} queries are measured\n"
    )
    metrics = json.loads((project / "metrics/m.json").read_text())
    assert (metrics["queries"], metrics["gallery"]) == (12, count)
    sampled = read_table(results / "queries.parquet", QUERIES).to_pandas().set_index("image_id")
    assert set(sampled.index) == set(sorted(every.index, key=query_digest)[:12])
    of_triplets = {"triplet_accuracy", "cosine_positive", "cosine_negative"}  # which are sampled
    same = [name for name in sampled if name not in of_triplets]
    expected = every.loc[sampled.index, same]
    assert_frame_equal(sampled[same], expected, check_dtype=False, check_exact=True)
    neighbors = read_table(results / "neighbors.parquet", NEIGHBORS).to_pandas()
    of_sampled = all_neighbors[all_neighbors["query"].isin(sampled.index)]
    assert neighbors.equals(of_sampled.reset_index(drop=True))
    assert metrics["recall_at_1"] == pytest.approx(sampled["recall_at_1"].mean(), abs=1e-6)


def test_sampled_queries_without_anything_to_find_are_refused(project: Path) -> None:
    tests = [each for each, split in zip(IDS, SPLIT, strict=True) if split == "test"]
    first = min(tests, key=query_digest)
    labels = {each: [label] for each, label in zip(IDS, CLASS, strict=True)} | {first: [77]}
    write_dataset_tables(project, catalog=build_catalog(labels))
    set_param(project, "  queries: null", "  queries: 1")
    assert index(project).returncode == 0
    assert error_of(evaluate(project)) == (
        "evaluate: evaluate.queries: found 1, and none of the queries sampled has another image of "
        "its class in the gallery; allowed: more, or null for all\n"
    )


def query_digest(image_id: str) -> bytes:
    return hashlib.blake2b(b"queries\0" + image_id.encode(), digest_size=8).digest()


def test_the_k_of_the_knn_accuracy_is_chosen_on_validation(project: Path) -> None:
    for run in (index(project), evaluate(project)):
        assert run.returncode == 0, run.stderr
    metrics = json.loads((project / "metrics/m.json").read_text())
    table = read_table(project / "results/m/knn.parquet", KNN).to_pandas()
    assert list(table["distance"]) == ["cosine"] * 5 + ["euclidean"] * 5
    assert list(table["k"]) == [1, 3, 5, 10, 20] * 2
    # Each of the ten validation images has nine others in its gallery.
    assert (table["val_accuracy"].isna() == (table["k"] > 9)).all()
    for _, rows in table.groupby("distance"):
        best = rows["val_accuracy"].max()
        assert rows["chosen"].sum() == 1
        assert rows["chosen"].idxmax() == (rows["val_accuracy"] == best).idxmax()
    used = table[table["chosen"] & (table["distance"] == "cosine")].iloc[0]
    assert metrics["knn_k"] == used["k"]
    assert metrics["knn_accuracy"] == pytest.approx(used["test_accuracy"], abs=1e-6)


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(project: Path) -> None:
    outputs = ["index/m/index.faiss", "metrics/m.json", "headline/m.json", "triplets.parquet"]
    outputs += [
        f"results/m/{name}.parquet"
        for name in (
            *("neighbors", "queries", "classes", "curves", "knn"),
            *("failures", "successes", "near_duplicates", "confusions"),
        )
    ]
    runs = []
    for _ in range(2):
        for run in (index(project), evaluate(project), mine(project)):
            assert run.returncode == 0, run.stderr
        runs.append([(project / name).read_bytes() for name in outputs])
    assert runs[0] == runs[1]


def test_tables_and_metrics_are_written_together_or_not_at_all(project: Path) -> None:
    assert index(project).returncode == 0
    (project / "metrics").touch()  # where a folder should be
    run = evaluate(project)
    assert (run.returncode, run.stderr.splitlines()[-1]) == (
        1,
        "evaluate: metrics: file exists; a file is where a folder is needed; move it away",
    )
    assert not (project / "results/m").exists()


def test_metrics_of_another_dataset_beside_its_own_are_told(project: Path) -> None:
    """Those of a stage that did not run: `dvc metrics show` has both."""
    (project / "metrics").mkdir()
    other = {"dataset": "folder", "fingerprint": "0123456789abcdef", "map": 0.5}
    (project / "metrics/train.json").write_text(json.dumps(other))
    assert index(project).returncode == 0
    run = evaluate(project)
    assert run.returncode == 0, run.stderr
    assert "not to be compared with train.json of folder 0123456" in run.stderr


def test_an_approximate_index_reports_its_recall(project: Path) -> None:
    set_param(project, "factory: auto", "factory: PQ2x2")
    assert index(project).returncode == 0
    run = evaluate(project)
    assert run.returncode == 0, run.stderr
    metrics = json.loads((project / "metrics/m.json").read_text())
    assert 0 < metrics["index_recall_at_5"] < 1


def test_every_query_is_a_failure_a_success_or_neither(project: Path) -> None:
    set_param(project, "failure_k: 10", "failure_k: 3")
    for run in (index(project), evaluate(project)):
        assert run.returncode == 0, run.stderr
    metrics = json.loads((project / "metrics/m.json").read_text())
    results = project / "results/m"
    queries = read_table(results / "queries.parquet", QUERIES).to_pandas().set_index("image_id")
    first = queries["first_hit_rank"].dropna()
    failures = read_table(results / "failures.parquet", FAILURES).to_pandas()
    successes = read_table(results / "successes.parquet", SUCCESSES).to_pandas()
    assert failures["image_id"].tolist() == first.index[first > 3].tolist()
    assert successes["image_id"].tolist() == first.index[first == 1].tolist()
    assert 0 < metrics["failures"] == len(failures) < (first > 1).sum()
    assert metrics["recall_at_1"] == round(len(successes) / len(first), 6)
    # No two images here are near-duplicates.
    assert metrics["label_noise"] == metrics["failures_label_noise"] == 0
    assert metrics["recall_at_1_without_label_noise"] == metrics["recall_at_1"]
    # The top hits are those of the index, which is exact.
    neighbors = read_table(results / "neighbors.parquet", NEIGHBORS).to_pandas()
    top = neighbors[neighbors["rank"] == 1].set_index("query")
    for table in (failures, successes):
        assert (table["top_hit"] == top.loc[table["image_id"], "image_id"].to_numpy()).all()
        assert (table["score"] == top.loc[table["image_id"], "score"].to_numpy()).all()
    confusions = read_table(results / "confusions.parquet", CONFUSIONS).to_pandas()
    assert confusions["queries"].sum() == (first > 1).sum()
    class_of = dict(zip(IDS, CLASS, strict=True))
    assert (confusions["image_id"].map(class_of) == confusions["label"]).all()
    assert (confusions["top_hit"].map(class_of) == confusions["other"]).all()


def test_planted_wrong_labels_are_found(project: Path) -> None:
    """Three test images have smaller, darker copies with another label; a fourth has a grey one."""
    copies = {"p06": "p07", "p08": "p09", "p10": "p11", "p18": "p31"}
    grey = "p18"
    images = make_images()
    table = pq.read_table(project / "embeddings/00000.parquet")
    vectors = dict(zip(table["image_id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    noise = np.random.default_rng(2).normal(0, 0.01, (4, 8))
    for (image_id, copy), change in zip(copies.items(), noise, strict=True):
        darker = images[image_id].resize((40, 40)).point(lambda value: int(value * 0.95))
        images[copy] = darker if image_id != grey else darker.convert("L").convert("RGB")
        vectors[copy] = list(np.array(vectors[image_id]) + change)
    write_images(project, images)
    write_embeddings(project / "embeddings", IDS, np.array([vectors[i] for i in IDS], np.float32))
    for run in (index(project), evaluate(project)):
        assert run.returncode == 0, run.stderr
    metrics = json.loads((project / "metrics/m.json").read_text())
    near = read_table(project / "results/m/near_duplicates.parquet", NEAR_DUPLICATES).to_pandas()
    del copies[grey]
    both = copies | {copy: image_id for image_id, copy in copies.items()}
    assert dict(zip(near["image_id"], near["top_hit"], strict=True)) == both
    assert (near["cosine"] > 0.99).all()
    assert (near["bits"] <= 10).all()
    assert metrics["label_noise"] == 6
    queries = read_table(project / "results/m/queries.parquet", QUERIES).to_pandas()
    left = queries[(queries["positives"] > 0) & ~queries["image_id"].isin(list(both))]
    without = (left["first_hit_rank"] == 1).mean()
    assert metrics["recall_at_1_without_label_noise"] == round(without, 6)
    assert without > metrics["recall_at_1"]


def test_the_error_names_an_image_to_be_compared_that_was_not_packed(project: Path) -> None:
    set_param(project, "cosine: 0.9 ", "cosine: -1.0 ")
    images = make_images()
    for image_id in [each for each, split in zip(IDS, SPLIT, strict=True) if split == "test"]:
        del images[image_id]
    write_images(project, images)
    assert index(project).returncode == 0
    last = error_of(evaluate(project)).splitlines()[-1]
    assert re.fullmatch(r"evaluate: images: no image has image_id 'p\d\d'; run: dvc repro", last)
    assert not (project / "metrics").exists()
    assert not (project / "results").exists()


def test_triplets_are_of_training_images(project: Path) -> None:
    run = mine(project)
    assert run.returncode == 0, run.stderr
    table = read_table(project / "triplets.parquet", TRIPLETS).to_pandas()
    class_of = dict(zip(IDS, CLASS, strict=True))
    for column in ("anchor", "positive", "negative"):
        assert set(table[column]) <= TRAIN
    assert (table["anchor"].map(class_of) == table["positive"].map(class_of)).all()
    assert (table["anchor"].map(class_of) != table["negative"].map(class_of)).all()
    assert "0 without a positive" in run.stderr


@pytest.mark.parametrize("name", ["pk", "random"])
def test_batches_of_another_kind_have_an_empty_table_at_once(project: Path, name: str) -> None:
    set_param(project, "  name: triplets\n", f"  name: {name}\n")
    shutil.rmtree(project / "embeddings")  # it is not even read
    run = mine(project)
    assert run.returncode == 0, run.stderr
    assert len(read_table(project / "triplets.parquet", TRIPLETS)) == 0
    assert f"mine: no triplets, because batches.name is {name}\n" in run.stderr


@pytest.mark.parametrize("how", ["sampled", "hard", "pool"])
def test_triplets_by_labels(project: Path, how: str) -> None:
    set_param(project, "method: embeddings", "method: labels")
    if how == "sampled":
        shutil.rmtree(project / "embeddings")  # only labels are needed
    else:
        set_param(project, "hard: false", "hard: true")
    if how == "pool":
        set_param(project, "pool: null", "pool: 3")
    run = mine(project)
    assert run.returncode == 0, run.stderr
    table = read_table(project / "triplets.parquet", TRIPLETS).to_pandas()
    class_of = dict(zip(IDS, CLASS, strict=True))
    assert set(table["anchor"]) == TRAIN
    assert (table["anchor"].map(class_of) == table["positive"].map(class_of)).all()
    assert (table["anchor"].map(class_of) != table["negative"].map(class_of)).all()
    assert (table["shared"] == 1).all()
    assert not table.duplicated().any()
    assert f"mine: {len(table)} triplets for 20 of 20 training images" in run.stderr


def test_a_k_larger_than_the_gallery_writes_nothing(project: Path) -> None:
    assert index(project).returncode == 0
    set_param(project, "k: [1, 5, 10]", "k: [500]")
    assert error_of(evaluate(project)) == (
        "evaluate: evaluate.k: found 500; the gallery has 30 images, one fewer for a query that "
        "is in it; allowed: 1 to 29\n"
    )
    assert not (project / "metrics").exists()
    assert not (project / "results").exists()


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            "knn: [1, 3, 5, 10, 20]",
            "knn: [30]",
            "evaluate.knn: found 30; the gallery has 30 images, one fewer for a query that is "
            "in it; allowed: 1 to 29",
        ),
        (
            "knn: [1, 3, 5, 10, 20]",
            "knn: [20, 10]",
            "evaluate.knn: found [20, 10], of which validation chooses; its images find 9 "
            "others; allowed: at least one of 1 to 9; add a smaller one, or change split.val_by or "
            "split.val_fraction",
        ),
    ],
    ids=["test gallery", "validation gallery"],
)
def test_a_k_of_the_vote_larger_than_its_gallery_is_refused(
    before: str, after: str, line: str, project: Path
) -> None:
    assert index(project).returncode == 0
    set_param(project, before, after)
    assert error_of(evaluate(project)) == f"evaluate: {line}\n"
    assert not (project / "metrics").exists()
    assert not (project / "results").exists()


def test_a_k_of_the_vote_that_the_gallery_does_not_allow_is_skipped(project: Path) -> None:
    assert index(project).returncode == 0
    set_param(project, "knn: [1, 3, 5, 10, 20]", "knn: [1, 3, 30]")
    assert evaluate(project).returncode == 0
    table = read_table(project / "results/m/knn.parquet", KNN)
    assert table["k"].to_pylist() == [1, 3, 1, 3]


def test_without_validation_images_no_k_and_no_threshold_are_chosen(project: Path) -> None:
    write_splits(project, ["train" if split == "val" else split for split in SPLIT])
    assert index(project).returncode == 0
    assert evaluate(project).returncode == 0
    metrics = json.loads((project / "metrics/m.json").read_text())
    assert not {"knn_k", "knn_accuracy", "match_threshold"} & metrics.keys()
    assert 0 < metrics["map"] < 1
    assert len(read_table(project / "results/m/knn.parquet", KNN)) == 0


def test_a_k_that_the_gallery_does_not_allow_is_skipped_and_told(project: Path) -> None:
    set_param(project, "k: [1, 5, 10]", "k: [1, 500]")
    assert index(project).returncode == 0
    ran = evaluate(project)
    assert ran.returncode == 0
    assert "evaluate.k: the gallery has 30 images, so that only 1 are measured" in ran.stderr
    metrics = json.loads((project / "metrics/m.json").read_text())
    assert {name for name in metrics if name.startswith("recall_at_")} == {
        "recall_at_1", "recall_at_1_low", "recall_at_1_high", "recall_at_1_without_label_noise",
    }  # fmt: skip


def test_a_wrong_factory_writes_nothing(project: Path) -> None:
    set_param(project, "factory: auto", "factory: Flt")
    assert error_of(index(project)) == (
        "index: index.factory: found 'Flt' (could not parse index string Flt); allowed: auto, or "
        "a faiss factory string for vectors of length 8, such as Flat, HNSW32 or IVF64,Flat\n"
    )
    assert not (project / "index").exists()


def test_tables_of_two_runs_are_refused(project: Path) -> None:
    assert index(project).returncode == 0
    splits = pq.read_table(project / "splits.parquet")
    write_table(splits.slice(1), project / "splits.parquet", SPLITS)
    for stage, name in ((index, "index"), (evaluate, "evaluate"), (mine, "mine")):
        assert error_of(stage(project)) == (
            f"{name}: embeddings: 1 of 60 image_ids are not in splits.parquet, the first "
            "is 'p00'; both must come from one run: dvc repro\n"
        )


def test_a_table_without_vectors_is_refused(project: Path) -> None:
    write_embeddings(project / "embeddings", [], np.empty((0, 8), np.float32))
    for run, name in ((index(project), "index"), (mine(project), "mine")):
        assert error_of(run) == (
            f"{name}: embeddings: holds no vectors, because no images were packed, only "
            "their labels; allowed here: vectors; set data.<name>.images: true\n"
        )


def test_none_of_these_stages_imports_torch() -> None:
    code = "import sys, stages.index, stages.evaluate, stages.mine; print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"
