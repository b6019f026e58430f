"""Every projection of both models, and each in the plane as a PNG."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

from pipeline.data.arrays import Vectors
from pipeline.figures.centroids import Naming
from pipeline.figures.palette import save_figure
from pipeline.figures.projections import Layouts, Notes, Points, project_pca, project_tsne
from pipeline.figures.scatters import Colouring, draw_projection

TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def project(vectors: Mapping[str, Vectors], *, seed: int) -> tuple[Layouts, Notes]:
    """Return PCA in two and three dimensions and t-SNE in two, and what PCA keeps.

    t-SNE in three takes many times as long.
    """
    pca: dict[int, dict[str, Points]] = {2: {}, 3: {}}
    notes: Notes = {model: {} for model in vectors}
    for (model, rows), axes in product(vectors.items(), pca):
        pca[axes][model], share = project_pca(rows, axes=axes)
        notes[model][axes] = f"{share:.0%} of the variance"
    tsne = {model: project_tsne(rows, seed=seed) for model, rows in vectors.items()}
    return {"pca": pca, "tsne": {2: tsne}}, notes


def write_projections(
    layouts: Layouts, notes: Notes, colouring: Colouring, naming: Naming, out: Path
) -> None:
    """Write projection_<method>.png of each method, its two models side by side, into `out`."""
    for method, by_axes in layouts.items():
        title = f"{TITLES[method]} of {len(colouring.keys)} test images"
        told = {model: notes[model][2] for model in notes} if method == "pca" else {}
        figure = draw_projection(title, by_axes[2], colouring, naming, told)
        save_figure(figure, out / f"projection_{method}.png")
