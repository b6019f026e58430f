"""Which post-processing of embeddings is best on validation, and whether it is better than none."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline.data.arrays import Mask, Vectors
from pipeline.data.joins import EmbeddedSplit
from pipeline.data.label_sets import LabelSets
from pipeline.data.principal_axes import fit_axes
from pipeline.errors import UserError
from pipeline.evaluation.measure import measure
from pipeline.evaluation.paired_gain import find_gain
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from pipeline.evaluation.retrieval_task import Searched
from pipeline.index.database_augmentation import MOST, augment_rows, can_be_augmented
from pipeline.index.distances import prepare_vectors
from pipeline.index.postprocessing import (
    NOTHING,
    Postprocessing,
    make_postprocessing,
)
from pipeline.index.postprocessing_options import NO_STEPS, ListedSteps, Steps
from pipeline.index.reranking import TOP
from pipeline.splitting.validation_roles import validation_roles

# Of more, that many are sampled: each combination of values is measured.
MOST_QUERIES, MOST_GALLERY = 1_000, 20_000

logger = logging.getLogger(__name__)


def fit_postprocessing(
    images: EmbeddedSplit, steps: Steps, *, distance: str, seed: int
) -> Postprocessing:
    """Return the post-processing of `steps`, fitted to the training images."""
    dim = images.vectors.shape[1]
    if steps.prefix is not None and steps.prefix > dim:
        raise UserError(
            f"postprocess.fixed.prefix: found {steps.prefix}; allowed: at most the length of the "
            f"embeddings, {dim}"
        )
    train = prepare_vectors(_of_training(images)[:, : steps.prefix], distance=distance)
    axes = None
    if steps.maps and len(train):
        axes = fit_axes(train, center=steps.center, seed=seed)
    if steps.maps and (axes is None or not axes.count):
        why = "has no training images" if axes is None else "has training images that are all alike"
        logger.warning("postprocess: no center, pca and whiten are done, as the split %s", why)
        steps = steps.model_copy(update={"center": False, "pca": None, "whiten": 0.0})
    return make_postprocessing(axes, steps, distance=distance)


def choose_postprocessing(
    images: EmbeddedSplit, labels: LabelSets, listed: ListedSteps, *, distance: str, seed: int
) -> Postprocessing:
    """Return the post-processing by which validation images are retrieved best.

    It is fitted to the training images. The best map is found first, then the best number for
    database augmentation, where `can_be_augmented`, for query expansion and for re-ranking: of
    those whose first result is right at least as often as before, the one with the highest mean
    average precision; of what is equally good, the first listed. Each of the four is only taken
    where that is clearly better than without it, as the best of so many (`find_gain`). It is
    NOTHING where the split has no images to fit it or to choose by.

    labels: of all `images`.
    """
    validation, train = _sample_validation(images, labels, distance, seed), _of_training(images)
    if validation is None or not len(train):
        logger.warning("postprocess: nothing is done: there are no images to choose it by")
        return NOTHING
    nothing, maps = Postprocessing(NO_STEPS, distance), _list_maps(train, listed, distance, seed)
    postprocessing = validation.choose(nothing, maps, seed=seed)
    steps = ["database_augmentation", "query_expansion", "rerank"]
    apart = all(can_be_augmented(each.is_query, each.is_gallery) for each in (images, validation))
    if not apart or images.is_gallery.sum() > MOST:
        steps.remove("database_augmentation")
    if validation.is_gallery.sum() <= TOP:  # of the test, not all results would be re-ranked
        steps.remove("rerank")
    for step in steps:
        counts = [count for count in getattr(listed, step) if count]
        candidates = (postprocessing.with_steps(**{step: count}) for count in counts)
        postprocessing = validation.choose(postprocessing, candidates, seed=seed)
    return NOTHING if postprocessing.is_nothing else postprocessing


@dataclass(frozen=True)
class _Validation:
    """V validation images: prepared vectors, float32 [V, D], and what they are asked."""

    vectors: Vectors
    labels: LabelSets
    is_query: Mask
    is_gallery: Mask
    new_classes: bool
    distance: str

    def choose(
        self, before: Postprocessing, candidates: Iterable[Postprocessing], *, seed: int
    ) -> Postprocessing:
        """Return the best candidate, where it is clearly better than `before`; else that."""
        plain = best = self._measure(before)
        chosen, tried = before, []
        for candidate in candidates:
            measured = self._measure(candidate)
            tried.append(measured)
            as_right = measured.means["recall_at_1"] >= plain.means["recall_at_1"]
            if as_right and measured.means["map"] > best.means["map"]:
                chosen, best = candidate, measured
        if chosen is before:
            return before
        gain = find_gain(
            *(plain, best, self.labels.take(np.flatnonzero(self.is_query))),
            new_classes=self.new_classes,
            seed=seed,
            others=tried,
        )
        logger.info(
            "postprocess: %s: map %.3f, before %.3f; recall@1 %.3f, before %.3f%s",
            chosen.steps.describe(),
            *(gain.after[0], gain.before[0], gain.after[1], gain.before[1]),
            "" if gain.is_clear else "; not clearly better, so not done",
        )
        return chosen if gain.is_clear else before

    def _measure(self, postprocessing: Postprocessing) -> RetrievalMetrics:
        mapped = postprocessing.apply(self.vectors)
        indexed = augment_rows(postprocessing, mapped, np.flatnonzero(self.is_gallery))
        return measure(
            *(mapped, self.labels, self.is_query, self.is_gallery),
            k=(1,),
            distance=self.distance,
            searched=Searched(
                indexed, postprocessing.steps.query_expansion, postprocessing.steps.rerank
            ),
        )


def _list_maps(
    train: Vectors, listed: ListedSteps, distance: str, seed: int
) -> Iterator[Postprocessing]:
    lengths = [each for each in listed.prefix if each is None or each < train.shape[1]]
    for prefix, center in product(lengths, listed.center):
        first = prepare_vectors(train[:, :prefix], distance=distance)
        axes = fit_axes(first, center=center, seed=seed)
        if not axes.count:
            continue  # all are alike
        for pca, whiten in product(listed.pca, listed.whiten):
            values = {"prefix": prefix, "center": center, "pca": pca, "whiten": whiten}
            steps = NO_STEPS.model_copy(update=values)
            # More axes than there are would be all of them once more.
            if (steps.maps or prefix) and (pca is None or pca < axes.count):
                yield make_postprocessing(axes, steps, distance=distance)


def _of_training(images: EmbeddedSplit) -> Vectors:
    vectors: Vectors = images.vectors[images.split == "train"]
    return vectors


def _sample_validation(
    images: EmbeddedSplit, labels: LabelSets, distance: str, seed: int
) -> _Validation | None:
    """Return at most so many queries and gallery images; None where no query has a relevant one."""
    is_query, is_gallery = validation_roles(images.split, images.is_gallery)
    is_query = _sample(is_query, MOST_QUERIES, seed)
    is_gallery = _sample(is_gallery, MOST_GALLERY, seed)
    if not labels.have_relevant(is_gallery)[is_query].any():
        return None
    rows = np.flatnonzero(is_query | is_gallery)
    of_queries = labels.take(np.flatnonzero(is_query)).values
    of_training = labels.take(np.flatnonzero(images.split == "train")).values
    return _Validation(
        vectors=prepare_vectors(images.vectors[rows], distance=distance),
        labels=labels.take(rows),
        is_query=is_query[rows],
        is_gallery=is_gallery[rows],
        new_classes=not np.isin(of_queries, of_training).any(),
        distance=distance,
    )


def _sample(among: Mask, most: int, seed: int) -> Mask:
    rows = np.flatnonzero(among)
    if len(rows) <= most:
        return among
    sampled = np.zeros_like(among)
    sampled[np.random.default_rng(seed).choice(rows, most, replace=False)] = True
    return sampled
