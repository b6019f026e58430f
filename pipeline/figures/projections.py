"""Embeddings as points of two or three axes: PCA, t-SNE, UMAP. None of them sees a label."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import Vectors
from pipeline.errors import UserError
from pipeline.figures.umap_import import imported_umap
from pipeline.stopping import WorkerPool

Points = NDArray[np.float32]  # [N, 2], or [N, 3] where a layout has three axes
# {method: {axes: {model: points}}}
Layouts = dict[str, dict[int, dict[str, Points]]]
# {model: {axes: text}}: a note on a layout, for the reader.
Notes = dict[str, dict[int, str]]

# With fewer points there are no neighborhoods to show, and UMAP has no graph to lay out: their PCA
# stands in place of t-SNE and UMAP.
FEWEST = 8
# Dimensions that t-SNE and UMAP get: more hardly change the distances, but cost time.
REDUCED = 50
PERPLEXITY = 30.0
UMAP_NEIGHBORS = 15


def sample_ids(image_ids: list[str], *, most: int, seed: int) -> list[str]:
    """Return at most `most` of `image_ids`, sampled with `seed`, in their order."""
    if len(image_ids) <= most:
        return list(image_ids)
    rows = np.random.default_rng(seed).choice(len(image_ids), size=most, replace=False)
    return [image_ids[row] for row in sorted(rows)]


def project_pca(vectors: Vectors, *, axes: int = 2) -> tuple[Points, float]:
    """Return the coordinates on the main axes, [N, axes], and their share of the variance."""
    reduced = _reduce(vectors, least=axes)
    points = reduced[:, :axes]
    total = float(vectors.var(axis=0).sum())
    return points, float(points.var(axis=0).sum()) / total if total else 0.0


def project_tsne(vectors: Vectors, *, seed: int) -> Points:
    """Return t-SNE's coordinates, [N, 2]: they keep neighbors, not distances between clusters."""
    if len(vectors) < FEWEST:
        return project_pca(vectors)[0]
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    # One thread: sums by several threads differ in the last bit, which t-SNE makes visible.
    with threadpool_limits(1):
        model = TSNE(init="pca", perplexity=perplexity, random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(_reduce(vectors)), dtype=np.float32)


def project_pca_and_tsne(vectors: Mapping[str, Vectors], *, seed: int) -> tuple[Layouts, Notes]:
    """Return the layouts of PCA (2 and 3 axes) and t-SNE (2 axes), and notes on PCA's variance.

    t-SNE with three axes would take many times as long.
    """
    pca: dict[int, dict[str, Points]] = {2: {}, 3: {}}
    notes: Notes = {model: {} for model in vectors}
    for (model, rows), axes in product(vectors.items(), pca):
        pca[axes][model], share = project_pca(rows, axes=axes)
        notes[model][axes] = f"{share:.0%} of the variance"
    tsne = {model: project_tsne(rows, seed=seed) for model, rows in vectors.items()}
    return {"pca": pca, "tsne": {2: tsne}}, notes


@contextmanager
def umap_in_background(
    vectors: Mapping[str, Vectors], *, seed: int, axes: Sequence[int] = (2,)
) -> Iterator[dict[int, "Future[dict[str, Points]]"]]:
    """Project each model's vectors by UMAP in a second process, while the caller continues.

    Yields, for each number of axes, a future of {model: points [N, axes]}; they are computed in
    the order of `axes`.
    """
    with WorkerPool(1) as pool:
        yield {n: pool.submit(project_umap, dict(vectors), seed=seed, axes=n) for n in axes}


def project_umap(vectors: Mapping[str, Vectors], *, seed: int, axes: int = 2) -> dict[str, Points]:
    """Return UMAP's coordinates of each model's vectors, [N, axes]: {model: points}."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    points = {}
    for model, rows in vectors.items():
        if len(rows) < FEWEST:
            points[model] = project_pca(rows, axes=axes)[0]
            continue
        near = min(UMAP_NEIGHBORS, len(rows) - 1)
        with imported_umap() as umap, threadpool_limits(1), warnings.catch_warnings():
            # It warns that new points cannot be transformed; there are none.
            warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
            reduced = _reduce(rows, least=axes)
            distances, ids = NearestNeighbors(n_neighbors=near).fit(reduced).kneighbors(reduced)
            layout = umap.UMAP(
                n_components=axes,
                n_neighbors=near,
                init="pca",
                random_state=seed,
                n_jobs=1,
                precomputed_knn=(ids.astype(np.int32), distances.astype(np.float32)),
            )
            points[model] = np.asarray(layout.fit_transform(reduced), dtype=np.float32)
    return points


def _reduce(vectors: Vectors, *, least: int = 2) -> Vectors:
    """Return coordinates on the main axes, [N, min(N, D, 50)], with at least `least` columns."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if not np.isfinite(vectors).all():
        raise UserError("plot: an embedding holds NaN or infinity; train again with a lower lr")
    kept = min(REDUCED, *vectors.shape)
    with threadpool_limits(1):
        reduced = PCA(kept, svd_solver="full").fit_transform(vectors)
    return np.pad(reduced, ((0, 0), (0, max(0, least - kept)))).astype(np.float32)
