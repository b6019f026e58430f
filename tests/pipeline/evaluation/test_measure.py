"""Every metric of `measure` against its definition in plain Python."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.data.label_sets import from_lists
from pipeline.data.tables import CLASS_RESULTS, read_table, write_table
from pipeline.errors import UserError
from pipeline.evaluation.measure import measure
from pipeline.evaluation.metrics_report import report_metrics
from pipeline.evaluation.retrieval_metrics import MEAN_NAMES, RetrievalMetrics
from pipeline.evaluation.retrieval_task import Searched
from pipeline.index import query_blocks
from tests.helpers.naive_ranking import Case, cases, naive_class, naive_interpolated, naive_metrics

pytestmark = pytest.mark.slow


def evaluate(case: Case, *, k: int, **options: object) -> RetrievalMetrics:
    return measure(
        case.vectors,
        case.labels,
        case.is_query,
        case.is_gallery,
        k=[k],
        distance=case.distance,
        searched=Searched(rerank=case.neighbors),
        **options,
    )


def queries_with_relevant(case: Case) -> list[int]:
    return [query for query in case.queries if case.hits(query)]


@settings(deadline=None)
@given(cases(), st.integers(1, 24), st.integers(1, 24), st.sampled_from([0, 2, 5]))
def test_every_metric_equals_its_definition(case: Case, k: int, knn: int, neighbors: int) -> None:
    case.neighbors = neighbors
    assume(queries_with_relevant(case))
    most = len(case.gallery) - any(query in case.gallery for query in case.queries)
    assume(most)
    k, knn = min(k, most), min(knn, most)
    metrics = evaluate(case, k=k, knn=knn)
    for q, query in enumerate(case.queries):
        found = {name: values[q] for name, values in metrics.per_query.items()}
        if not case.hits(query):
            assert all(math.isnan(value) for value in found.values())
            assert metrics.positives[q] == 0
            assert math.isnan(metrics.first_hit_rank[q])
            continue
        assert found == pytest.approx(naive_metrics(case, query, k=k, knn=knn), abs=1e-12)
        assert metrics.positives[q] == len(case.hits(query))
        assert metrics.first_hit_rank[q] == case.hits(query)[0][0]
    assert metrics.queries_without_positives == len(case.queries) - len(queries_with_relevant(case))
    rows = [naive_metrics(case, query, k=k, knn=knn) for query in queries_with_relevant(case)]
    for name in rows[0]:
        mean = sum(row[name] for row in rows) / len(rows)
        assert metrics.means[MEAN_NAMES.get(name, name)] == pytest.approx(mean, abs=1e-12)


# Two classes; the query's ranking is: hit, miss, hit, miss (distances 1, 2, 3, 4).
HAND = Case(
    np.array([[1], [4], [3], [2], [1]], np.float32),
    [[7], [7], [8], [7], [8]],
    np.array([True, False, False, False, False]),
    np.array([False, True, True, True, True]),
    "euclidean",
)


def test_a_case_computed_by_hand() -> None:
    HAND.vectors[:, 0] = [0, 1, 2, 3, 4]
    means = evaluate(HAND, k=3, knn=3).means
    assert means == pytest.approx(
        {
            "recall_at_3": 1,
            "precision_at_3": 2 / 3,
            # DCG = 1 / log2(2) + 1 / log2(4) = 1.5; ideal = 1 / log2(2) + 1 / log2(3).
            "ndcg_at_3": 1.5 / (1 + 1 / math.log2(3)),
            "map": (1 / 1 + 2 / 3) / 2,
            "map_at_r": (1 / 1) / 2,
            "r_precision": 1 / 2,
            "mrr": 1,
            "knn_accuracy": 1,
        }
    )


def test_ndcg_gains_the_number_of_shared_labels() -> None:
    # The query shares one label with the nearest image, two with the farther one.
    vectors = np.array([[0], [1], [2]], np.float32)
    metrics = measure(
        vectors,
        from_lists([[1, 2], [1], [1, 2]]),
        np.array([True, False, False]),
        np.array([False, True, True]),
        k=[2],
        distance="euclidean",
    )
    expected = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert metrics.means["ndcg_at_2"] == pytest.approx(expected)


@settings(deadline=None)
@given(cases(), st.integers(1, 24), st.integers(1, 24))
def test_the_metrics_of_a_class_are_those_of_its_queries_and_its_images(
    case: Case, k: int, knn: int
) -> None:
    assume(queries_with_relevant(case) and len(case.gallery) > 1)
    most = len(case.gallery) - any(query in case.gallery for query in case.queries)
    k, knn = min(k, most), min(knn, most)
    metrics = evaluate(case, k=k, knn=knn)
    labels = sorted({label for sets in case.lists for label in sets if case.class_queries(label)})
    expected = [naive_class(case, label, k=k, knn=knn) for label in labels]
    rows = metrics.by_class.tabulate().to_pylist()
    assert [row["label"] for row in rows] == labels
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-12)
    report = report_metrics(
        metrics, classes=None, gallery_size=len(case.gallery), resamples=2, seed=0
    )
    for name in ("map", "knn_accuracy"):
        macro = sum(row[name] for row in expected) / len(expected)
        assert report[f"macro_{name}"] == pytest.approx(macro, abs=1e-6)


@settings(deadline=None)
@given(cases())
def test_with_single_labels_a_class_is_the_mean_of_its_queries(case: Case) -> None:
    case.lists = [sets[:1] for sets in case.lists]
    assume(queries_with_relevant(case) and len(case.gallery) > 1)
    metrics = evaluate(case, k=1, knn=1)
    table = metrics.by_class.tabulate().to_pandas().set_index("label")
    labels = np.array([case.lists[query][0] for query in case.queries])
    for label, row in table.iterrows():
        for column in ("average_precision", "recall_at_1", "knn_correct"):
            mean = np.nanmean(metrics.per_query[column][labels == label])
            assert row[MEAN_NAMES.get(column, column)] == pytest.approx(mean, abs=1e-12)


# The query shows a person (0) and a fork (1); its ranking is: person, person, fork, person.
FORK = Case(
    np.arange(5, dtype=np.float32)[:, None],
    [[0, 1], [0], [0], [1], [0]],
    np.array([True, False, False, False, False]),
    np.array([False, True, True, True, True]),
    "euclidean",
)


def test_a_rare_class_is_not_found_by_images_of_a_frequent_one(tmp_path: Path) -> None:
    metrics = evaluate(FORK, k=1, knn=3)
    assert metrics.means["map"] == 1
    write_table(metrics.by_class.tabulate(), tmp_path / "classes.parquet", CLASS_RESULTS)
    rows = read_table(tmp_path / "classes.parquet", CLASS_RESULTS).to_pylist()
    person = {"label": 0, "queries": 1, "map": (1 + 1 + 3 / 4) / 3, "recall_at_1": 1}
    fork = {"label": 1, "queries": 1, "map": 1 / 3, "recall_at_1": 0}
    assert rows == [pytest.approx(row | {"knn_accuracy": 1}) for row in (person, fork)]
    report = report_metrics(metrics, classes=None, gallery_size=4, resamples=100, seed=0)
    assert report["macro_map"] == pytest.approx((2.75 / 3 + 1 / 3) / 2, abs=1e-6)
    assert (report["macro_map_low"], report["macro_map_high"]) == (0, 1)  # of a single query


@settings(deadline=None)
@given(cases())
def test_blocks_of_one_query_give_the_same(case: Case) -> None:
    assume(queries_with_relevant(case) and len(case.gallery) > 1)
    options = {"k": 1, "knn": 1, "triplets": 3, "curves": True}
    whole = evaluate(case, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_blocks, "MIN_QUERIES", 1)
        patch.setattr(query_blocks, "MAX_QUERIES", 1)
        single = evaluate(case, **options)
    for name, values in whole.per_query.items():
        np.testing.assert_array_equal(values, single.per_query[name])
    assert whole.by_class.tabulate() == single.by_class.tabulate()
    assert whole.curves.drop(["y"]) == single.curves.drop(["y"])
    np.testing.assert_allclose(whole.curves["y"], single.curves["y"], rtol=1e-12)


@settings(deadline=None)
@given(cases())
def test_triplets_compare_a_relevant_with_another_image(case: Case) -> None:
    assume(queries_with_relevant(case) and len(case.gallery) > 1)
    metrics = evaluate(case, k=1, triplets=60)
    for q, query in enumerate(case.queries):
        accuracy = metrics.per_query["triplet_accuracy"][q]
        hits = [g for g in case.ranking(query) if case.shared(query, g)]
        misses = [g for g in case.ranking(query) if not case.shared(query, g)]
        if not hits or not misses:
            assert math.isnan(accuracy)
            continue
        scores = [[case.score(query, g) for g in rows] for rows in (hits, misses)]
        if min(scores[0]) > max(scores[1]):
            assert accuracy == 1
        if max(scores[0]) <= min(scores[1]):
            assert accuracy == 0
        # Sixty samples of at most 24 hold every one, so the mean cosine is between the extremes.
        cosines = [np.dot(case.vectors[query], case.vectors[g]) / 4 for g in hits]
        low, high = min(cosines) - 1e-6, max(cosines) + 1e-6
        assert low <= metrics.per_query["cosine_positive"][q] <= high


def test_triplets_report_the_cosine_for_every_distance() -> None:
    # The positive has the direction of the query but is farther; the negative is orthogonal.
    vectors = np.array([[1, 0], [5, 0], [0, 1]], np.float32)
    metrics = measure(
        vectors,
        from_lists([[0], [0], [1]]),
        np.array([True, False, False]),
        np.array([False, True, True]),
        k=[1],
        distance="euclidean",
        triplets=2,
    )
    assert metrics.means["triplet_accuracy"] == 0
    assert metrics.means["cosine_positive"] == 1
    assert metrics.means["cosine_negative"] == 0


@settings(deadline=None, max_examples=40)
@given(cases(), st.sampled_from([0, 3]))
def test_curves_equal_their_definitions(case: Case, neighbors: int) -> None:
    case.neighbors = neighbors
    queries = queries_with_relevant(case)
    assume(queries and len(case.gallery) > 1)
    table = evaluate(case, k=1, curves=True).curves.to_pandas()
    of_all = table[(table["curve"] == "precision_recall") & table["label"].isna()]
    for x, y in zip(of_all["x"], of_all["y"], strict=True):
        points = [naive_interpolated([r for r, _ in case.hits(q)], x) for q in queries]
        assert y == pytest.approx(sum(points) / len(points))
    of_classes = table[table["label"].notna()]
    expected = {
        label for query in queries for label in case.lists[query] if case.class_queries(label)
    }
    assert set(of_classes["label"]) == expected
    for label, rows in of_classes.groupby("label"):
        points = [
            naive_interpolated(case.class_hits(q, label), 0.5) for q in case.class_queries(label)
        ]
        found = rows.loc[np.isclose(rows["x"], 0.5), "y"].item()
        assert found == pytest.approx(sum(points) / len(points))
    recall = table[table["curve"] == "recall_at_k"]
    for k, y in zip(recall["x"], recall["y"], strict=True):
        assert y == pytest.approx(np.mean([case.hits(query)[0][0] <= k for query in queries]))
    for name in ("similarity_positive", "similarity_negative"):
        rows = table[table["curve"] == name]
        if len(rows):
            width = rows["x"].iloc[1] - rows["x"].iloc[0]
            assert (rows["y"] * width).sum() == pytest.approx(1)
            case.neighbors = 0  # of what is re-ranked, too, the similarities are those of vectors
            plain = evaluate(case, k=1, curves=True).curves.to_pandas()
            assert rows["y"].tolist() == plain.loc[plain["curve"] == name, "y"].tolist()


def test_more_than_fifty_classes_have_no_curves() -> None:
    vectors = np.random.default_rng(0).normal(size=(102, 4)).astype(np.float32)
    all_images = np.ones(102, dtype=bool)
    for classes, labels in ((50, 50), (51, 0)):
        lists = [[i % classes] for i in range(102)]
        curves = measure(
            vectors,
            from_lists(lists),
            all_images,
            all_images,
            k=[1],
            distance="cosine",
            curves=True,
        ).curves
        assert len(curves["label"].drop_null().unique()) == labels


def measure_all(lists: list[list[int]], **options: object) -> RetrievalMetrics:
    n = len(lists)
    vectors = np.eye(n, 8, dtype=np.float32)
    all_images = np.ones(n, dtype=bool)
    options = {"k": [1], "distance": "cosine"} | options
    return measure(vectors, from_lists(lists), all_images, all_images, **options)


def test_a_k_larger_than_the_gallery_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        measure_all([[0]] * 300, k=[1, 500])
    assert str(caught.value) == (
        "evaluate.k: found 500; the gallery has 300 images, one fewer for a query that is in "
        "it; allowed: 1 to 299"
    )
    with pytest.raises(UserError) as caught:
        measure_all([[0]] * 4, knn=4)
    assert str(caught.value) == (
        "evaluate.knn: found 4; the gallery has 4 images, one fewer for a query that is in it; "
        "allowed: 1 to 3"
    )


def test_a_gallery_without_the_queries_allows_k_up_to_its_size() -> None:
    evaluate(HAND, k=4)
    with pytest.raises(UserError) as caught:
        evaluate(HAND, k=5)
    assert str(caught.value) == ("evaluate.k: found 5; the gallery has 4 images; allowed: 1 to 4")


def test_queries_without_any_relevant_image_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        measure_all([[0], [1], [2]])
    assert str(caught.value) == (
        "splits: none of 3 queries shares a label with another gallery image; allowed: at "
        "least one; change split.protocol"
    )


def test_a_split_without_queries_is_refused() -> None:
    no_images, all_images = np.zeros(2, dtype=bool), np.ones(2, dtype=bool)
    with pytest.raises(UserError) as caught:
        measure(
            np.eye(2, dtype=np.float32),
            from_lists([[0], [0]]),
            no_images,
            all_images,
            k=[1],
            distance="cosine",
        )
    assert str(caught.value) == (
        "splits: found 0 queries and 2 gallery images; allowed: queries, and for each a gallery "
        "image besides itself; change split.protocol"
    )


def test_embeddings_that_are_not_finite_are_refused() -> None:
    vectors = np.eye(3, dtype=np.float32)
    vectors[1, 1], vectors[2, 0] = np.nan, np.inf
    all_images = np.ones(3, dtype=bool)
    with pytest.raises(UserError) as caught:
        measure(vectors, from_lists([[0]] * 3), all_images, all_images, k=[1], distance="cosine")
    assert str(caught.value) == (
        "embeddings: 2 of 3 hold NaN or infinity, the first is row 1; allowed: finite numbers; "
        "train again with a lower optimizer lr"
    )


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        measure_all([[0]] * 3, distance="cosin")
    assert str(caught.value) == (
        "index.distance: found 'cosin'; allowed: cosine, euclidean; did you mean 'cosine'?"
    )
