"""Build the index of all embeddings of one model: index/<model>, and of the added images' apart."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Option

from pipeline.config.schema import Params
from pipeline.data.arrays import Ints
from pipeline.data.embeddings import read_embeddings, read_lineage
from pipeline.data.joins import EmbeddedSplit, read_embedded_split, read_labels, take_rows
from pipeline.data.tie_order import tie_order
from pipeline.errors import UserError
from pipeline.evaluation.postprocessing_choice import choose_postprocessing, fit_postprocessing
from pipeline.index.build import build_beside, build_index, write_index
from pipeline.index.database_augmentation import augment_rows, vectors_to_index
from pipeline.index.effort import MOST_QUERIES, choose_effort, is_exact
from pipeline.index.postprocessing import NOTHING, Postprocessing
from pipeline.index.postprocessing_options import ListedSteps, Steps
from pipeline.index.stored_vectors import keeps_vectors
from stages.cluster import open_workers
from stages.runner import load, run


def main(
    embeddings: Annotated[Path, Option(help="directory of embeddings")],
    added: Annotated[Path, Option(help="directory of embeddings of images without labels")],
    splits: Annotated[Path, Option(help="table of splits: what is fitted and chosen by what")],
    catalog: Annotated[Path, Option(help="table of images: their labels, to choose by")],
    out: Annotated[Path, Option(help="directory of the index to write")],
    added_out: Annotated[Path, Option(help="directory of the index of ADDED to write")],
    model: Annotated[str | None, Option(help="name of the model, for the log")] = None,
) -> str | None:
    """Write the index of every image of EMBEDDINGS to OUT, in the order of ties; so with ADDED."""
    params = load()
    images, (other_ids, others) = read_embedded_split(embeddings, splits), read_embeddings(added)
    if taken := set(images.ids) & set(other_ids):
        raise UserError(
            f"{added}: {len(taken)} image_ids are those of images with labels, the first is "
            f"'{min(taken)}'; allowed: others; rename the folder in added.source"
        )
    distance, factory, seed = params.index.distance, params.index.factory, params.seed
    postprocessing = _find_postprocessing(images, catalog, splits, params, model)
    images = replace(images, vectors=postprocessing.apply(images.vectors))
    with open_workers(params, out.parent) as workers:
        vectors = vectors_to_index(postprocessing, images, workers=workers)
        index = build_index(vectors, factory=factory, distance=distance, seed=seed, workers=workers)
    if postprocessing.reads_vectors and not keeps_vectors(index):
        raise UserError(
            f"index.factory: found '{factory}', whose vectors cannot be read again, with "
            f"post-processing that reads them ({postprocessing.steps.describe()}); allowed: "
            "another, as Flat, or postprocess.name none"
        )
    if not is_exact(index):
        queries = _sample_queries(images, seed)
        choose_effort(index, vectors, queries, distance=distance, recall=params.index.recall)
    write_index(out, index, list(images.ids), images.lineage, postprocessing)
    order = tie_order(other_ids)
    others = postprocessing.apply(take_rows(others, order))
    others = augment_rows(postprocessing, others, np.arange(len(others)))
    if not other_ids:
        others = np.empty((0, vectors.shape[1]), np.float32)
    beside = build_beside(index, others, distance=distance)
    write_index(
        added_out, beside, [other_ids[row] for row in order], read_lineage(added), postprocessing
    )
    return model


def _find_postprocessing(
    images: EmbeddedSplit, catalog: Path, splits: Path, params: Params, model: str | None
) -> Postprocessing:
    options, how = params.postprocess.options, {"distance": params.index.distance}
    if not isinstance(options, Steps | ListedSteps):
        return NOTHING
    if model == "baseline":  # only training makes a prefix an embedding
        options = options.without_prefix()
    if isinstance(options, Steps):
        return fit_postprocessing(images, options, seed=params.seed, **how)
    labels = read_labels(catalog, images.ids, ids_from=splits)
    return choose_postprocessing(images, labels, options, seed=params.seed, **how)


def _sample_queries(images: EmbeddedSplit, seed: int) -> Ints:
    """Return the rows of some images of validation; where there are none, of training; where
    nothing is trained, of those of test."""
    for name in ("val", "train", "test"):
        rows = np.flatnonzero(images.split == name)
        if len(rows):
            count = min(len(rows), MOST_QUERIES)
            return np.random.default_rng(seed).choice(rows, count, replace=False)
    return np.empty(0, np.int64)


if __name__ == "__main__":
    run(main, "index")
