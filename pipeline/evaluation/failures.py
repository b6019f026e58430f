"""What became of each query: failures, successes, and errors that are the labels' own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data.arrays import Ints, Mask, Scores
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.data.tables import FAILURES, NEAR_DUPLICATES, SUCCESSES, Table
from pipeline.evaluation.confusions import confusions_table
from pipeline.evaluation.measure import Measured
from pipeline.evaluation.perceptual_hashes import (
    HashImages,
    agree_in_colour,
    count_differing_bits,
)
from pipeline.index.distances import SCORE_TOLERANCE, prepare_vectors, score_pairs

NOT_COMPARED = -1
DECIMALS = 6


@dataclass(frozen=True)
class TopHits:
    """The first gallery image of the exact ranking of each of Q queries.

    rows: int64 [Q], gallery rows. scores: float32 [Q], by the distance of the ranking. cosines:
    float32 [Q]. wrong: bool [Q], whether it is not relevant though a relevant one is there.
    """

    rows: Ints
    scores: Scores
    cosines: Scores
    wrong: Mask


@dataclass(frozen=True)
class FailureTables:
    """The tables that tell of single queries (`pipeline.data.tables`), and figures over them."""

    failures: pa.Table
    successes: pa.Table
    near_duplicates: pa.Table
    confusions: pa.Table
    figures: dict[str, float | int]


def find_failures(
    measured: Measured,
    images: EmbeddedSplit,
    labels: LabelSets,
    hash_images: HashImages,
    *,
    distance: str,
    failure_k: int,
    cosine: float,
    bits: int,
) -> FailureTables:
    """Return what became of the queries of `measured`, by the exact ranking.

    A failure has no relevant image in the top `failure_k`; a success has one at rank 1. Label
    noise is a query whose top hit is wrong and yet a near-duplicate of it: their cosine is at least
    `cosine`, their perceptual hashes differ in at most `bits` bits, and their colours agree (see
    `pipeline.evaluation.perceptual_hashes`). Queries without a relevant image are none of these.

    labels: of all `images`. hash_images: asked only for those whose cosine is high enough.
    """
    hits = find_top_hits(measured, images, distance=distance)
    ids = images.ids[images.is_query]
    hit_ids = images.ids[images.is_gallery][hits.rows]
    # Two sums of one cosine may differ: so identical images reach a cosine of 1.
    similar = hits.wrong & (hits.cosines + SCORE_TOLERANCE >= cosine)
    differing, same_colours = _compare(similar, ids, hit_ids, hash_images)
    near = similar & (differing <= bits) & same_colours
    failed = measured.first_hit_rank > failure_k
    columns = {
        "image_id": pa.array(ids, pa.string()),
        "positives": pa.array(measured.positives, pa.int32()),
        "first_hit_rank": pa.array(measured.first_hit_rank, from_pandas=True).cast(pa.int32()),
        "average_precision": pa.array(measured.per_query["average_precision"], pa.float64()),
        "top_hit": pa.array(hit_ids, pa.string()),
        "score": pa.array(hits.scores, pa.float32()),
        "cosine": pa.array(hits.cosines, pa.float32()),
        "bits": pa.array(differing, pa.int32(), mask=differing == NOT_COMPARED),
        "near_duplicate": pa.array(near),
        "failure": pa.array(failed),
    }
    return FailureTables(
        failures=_select(columns, failed, FAILURES),
        successes=_select(columns, measured.first_hit_rank == 1, SUCCESSES),
        near_duplicates=_select(columns, near, NEAR_DUPLICATES),
        confusions=confusions_table(
            labels.take(np.flatnonzero(images.is_query)),
            labels.take(np.flatnonzero(images.is_gallery)[hits.rows]),
            wrong=hits.wrong,
            asked=measured.positives > 0,
            cosines=hits.cosines,
            ids=ids,
            hit_ids=hit_ids,
        ),
        figures=_figures(measured, failed, near),
    )


def find_top_hits(measured: Measured, images: EmbeddedSplit, *, distance: str) -> TopHits:
    """Return the top hit of each query, with its scores by `distance` and by cosine.

    measured: of these images and this distance, with one `nearest` row at least.
    """
    rows = measured.nearest[:, :1]
    scores = {}
    for name in {distance, "cosine"}:
        vectors = prepare_vectors(images.vectors, distance=name)
        queries, gallery = vectors[images.is_query], vectors[images.is_gallery]
        scores[name] = score_pairs(queries, gallery, rows, distance=name)[:, 0]
    wrong = measured.first_hit_rank > 1  # NaN, where nothing is relevant, is not
    return TopHits(rows[:, 0], scores[distance], scores["cosine"], wrong)


def _compare(
    compared: Mask,
    ids: NDArray[np.object_],
    hit_ids: NDArray[np.object_],
    hash_images: HashImages,
) -> tuple[Ints, Mask]:
    """Return in how many bits query and hit differ, int64 [Q], and whether their colours agree.

    NOT_COMPARED and False unless `compared`, bool [Q].
    """
    differing = np.full(len(ids), NOT_COMPARED, dtype=np.int64)
    same_colours = np.zeros(len(ids), dtype=np.bool_)
    # One image may be asked with, and be found by many: each is decoded once.
    pairs = np.stack([ids[compared], hit_ids[compared]]).astype(str)
    distinct, places = np.unique(pairs, return_inverse=True)
    hashes = hash_images(distinct.tolist())
    rows = places.reshape(pairs.shape)
    differing[compared] = count_differing_bits(*hashes.bits[rows])
    same_colours[compared] = agree_in_colour(*hashes.colours[rows])
    return differing, same_colours


def _select(columns: dict[str, pa.Array], chosen: Mask, kind: Table) -> pa.Table:
    names: Sequence[str] = [field.name for field in kind.columns]
    return pa.table({name: columns[name] for name in names}).filter(pa.array(chosen))


def _figures(measured: Measured, failed: Mask, near: Mask) -> dict[str, float | int]:
    figures: dict[str, float | int] = {
        "failures": int(failed.sum()),
        "label_noise": int(near.sum()),
        "failures_label_noise": int((failed & near).sum()),
    }
    left = (measured.positives > 0) & ~near
    if left.any():  # else nobody is left to take a mean of
        recall = float(np.mean(measured.first_hit_rank[left] == 1))
        figures["recall_at_1_without_label_noise"] = round(recall, DECIMALS)
    return figures
