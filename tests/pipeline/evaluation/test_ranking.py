"""Ranks by counting against a plain sort."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.evaluation import ranking
from pipeline.evaluation.ranking import Ranks, count_scores, find_nearest, rank_relevant
from pipeline.index.distances import GalleryScorer, prepare_vectors
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


@pytest.mark.parametrize("few", [0, 2, ranking.FEW])
@settings(deadline=None)
@given(case=cases())
def test_ranks_gains_and_nearest_are_those_of_a_plain_sort(few: int, case: Case) -> None:
    with patch.object(ranking, "FEW", few):
        ranks, nearest = rank(case)
    place = {image: row for row, image in enumerate(case.gallery)}
    for q, query in enumerate(case.queries):
        own = slice(ranks.starts[q], ranks.starts[q + 1])
        assert list(zip(ranks.ranks[own], ranks.gains[own], strict=True)) == case.hits(query)
        ordered = [place[g] for g in case.ranking(query)]
        assert [ordered.index(row) + 1 for row in ranks.rows[own]] == ranks.ranks[own].tolist()
        first = [place[g] for g in case.ranking(query)[:3]]
        assert nearest[q].tolist() == first + [-1] * (3 - len(first))


def test_a_query_is_left_out_by_its_id_where_identical_images_tie() -> None:
    # Four identical images; the query is the third. The first hit is the first, not itself.
    everyone = np.ones(4, dtype=bool)
    case = Case(np.ones((4, 4), np.float32), [[0], [1], [0], [0]], everyone, everyone, "cosine")
    ranks, nearest = rank(case)
    assert ranks.ranks[ranks.starts[2] : ranks.starts[3]].tolist() == [1, 3]
    assert nearest[2].tolist() == [0, 1, 3]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("gallery", [1, 7, 64, 100, 1003])
@pytest.mark.parametrize("queries", [1, 5, 130])
def test_identical_images_tie_to_the_last_bit(distance: str, gallery: int, queries: int) -> None:
    rng = np.random.default_rng(0)
    for size in (3, 100, 128):
        which = rng.integers(0, 5, gallery)
        vectors = prepare_vectors(
            rng.normal(size=(5, size)).astype(np.float32)[which], distance=distance
        )
        asked = prepare_vectors(
            rng.normal(size=(queries, size)).astype(np.float32), distance=distance
        )
        scores = GalleryScorer(vectors, distance=distance).score(asked)
        for one in np.unique(which):
            same = scores[:, : len(which)][:, which == one]
            assert (same == same[:, :1]).all()


@settings(deadline=None)
@given(case=cases())
def test_every_pair_is_counted_once_in_its_bin(case: Case) -> None:
    relevance = find_relevance(case.labels, case.is_query, case.is_gallery)
    vectors = prepare_vectors(case.vectors, distance=case.distance)
    gallery = GalleryScorer(vectors[case.is_gallery], distance=case.distance)
    scores = gallery.score(vectors[case.is_query])[:, : len(case.gallery)]
    pairs = relevance.pairs(0, len(case.queries))
    # The scores, multiples of 0.5 or roots, lie inside these bins, never on an edge.
    bins = np.linspace(-4.03, 1.07, 12)
    expected = np.zeros((2, 11), dtype=int)
    for query in case.queries:
        for g in case.ranking(query):
            place = np.searchsorted(bins, case.score(query, g)) - 1
            expected[0 if case.shared(query, g) else 1, place] += 1
    assert count_scores(scores, relevance.own_rows, pairs, bins=bins).tolist() == expected.tolist()
