"""Ranks by counting, against a plain sort."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.evaluation import ranking
from pipeline.evaluation.ranking import Ranks, count_scores, rank_relevant
from pipeline.index.distances import GalleryScorer, prepare_vectors
from pipeline.index.exact_search import find_nearest
from pipeline.index.relevance import find_relevance
from tests.helpers.naive_ranking import Case, cases


def rank(case: Case) -> tuple[Ranks, np.ndarray]:
    relevance = find_relevance(case.labels, case.is_query, case.is_gallery)
    vectors = prepare_vectors(case.vectors, distance=case.distance)
    scores = GalleryScorer(vectors[case.is_gallery], distance=case.distance).score(
        vectors[case.is_query]
    )
    pairs = relevance.pairs(0, len(case.queries))
    return rank_relevant(scores, pairs, relevance.own_rows), find_nearest(
        scores, relevance.own_rows, 3
    )


@pytest.mark.parametrize("max_counted", [0, 2, ranking.MAX_COUNTED])
@settings(deadline=None)
@given(case=cases())
def test_ranks_gains_and_nearest_are_those_of_a_plain_sort(max_counted: int, case: Case) -> None:
    with patch.object(ranking, "MAX_COUNTED", max_counted):
        ranks, nearest = rank(case)
    place = {image: row for row, image in enumerate(case.gallery)}
    for q, query in enumerate(case.queries):
        of_query = slice(ranks.starts[q], ranks.starts[q + 1])
        assert list(zip(ranks.ranks[of_query], ranks.gains[of_query], strict=True)) == case.hits(
            query
        )
        ordered = [place[g] for g in case.ranking(query)]
        assert [ordered.index(row) + 1 for row in ranks.rows[of_query]] == ranks.ranks[
            of_query
        ].tolist()
        first = [place[g] for g in case.ranking(query)[:3]]
        assert nearest[q].tolist() == first + [-1] * (3 - len(first))


def test_the_querys_own_image_is_left_out_of_identical_ones() -> None:
    # Four identical images; the query is the third. The first hit is the first, not itself.
    all_images = np.ones(4, dtype=bool)
    case = Case(np.ones((4, 4), np.float32), [[0], [1], [0], [0]], all_images, all_images, "cosine")
    ranks, nearest = rank(case)
    assert ranks.ranks[ranks.starts[2] : ranks.starts[3]].tolist() == [1, 3]
    assert nearest[2].tolist() == [0, 1, 3]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("gallery", [1, 7, 64, 100, 1003])
@pytest.mark.parametrize("queries", [1, 5, 130])
def test_identical_images_have_scores_of_the_same_bits(
    distance: str, gallery: int, queries: int
) -> None:
    rng = np.random.default_rng(0)
    for size in (3, 100, 128):
        which = rng.integers(0, 5, gallery)
        vectors = prepare_vectors(
            rng.normal(size=(5, size)).astype(np.float32)[which], distance=distance
        )
        query_vectors = prepare_vectors(
            rng.normal(size=(queries, size)).astype(np.float32), distance=distance
        )
        scores = GalleryScorer(vectors, distance=distance).score(query_vectors)
        for each in np.unique(which):
            same = scores[:, which == each]
            assert (same == same[:, :1]).all()


@settings(deadline=None)
@given(case=cases())
def test_every_pair_is_counted_once_in_its_bin(case: Case) -> None:
    relevance = find_relevance(case.labels, case.is_query, case.is_gallery)
    vectors = prepare_vectors(case.vectors, distance=case.distance)
    gallery = GalleryScorer(vectors[case.is_gallery], distance=case.distance)
    scores = gallery.score(vectors[case.is_query])
    pairs = relevance.pairs(0, len(case.queries))
    # The scores, multiples of 0.5 or roots, are inside these bins and never on an edge.
    bins = np.linspace(-4.03, 1.07, 12)
    expected = np.zeros((2, 11), dtype=int)
    for query in case.queries:
        for g in case.ranking(query):
            place = np.searchsorted(bins, case.score(query, g)) - 1
            expected[0 if case.shared(query, g) else 1, place] += 1
    assert count_scores(scores, relevance.own_rows, pairs, bins=bins).tolist() == expected.tolist()
