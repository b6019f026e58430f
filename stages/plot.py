"""Results of both models -> curves as CSV for `dvc plots`; pictures and a report for people."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from PIL.Image import Image

from pipeline import schemas
from pipeline.embeddings import read_embeddings
from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.pictures import PackedPictures
from pipeline.plots import charts, curves, palette, projections
from pipeline.plots.case_pictures import write_case_pictures
from pipeline.plots.centroids import Naming, choose_names
from pipeline.plots.scatters import Colouring, choose_colouring, draw_projection
from pipeline.report.assemble import Sources, assemble
from pipeline.report.document import write_report
from pipeline.report.layouts import Sample, describe_points
from pipeline.report.projector import write_projector
from pipeline.report.thumbnails import encode_atlas, shrink_pictures, thumbnail_side
from stages import entry

# {method: {axes: {model: points}}}, and of the PCA {model: {axes: text}}.
Placed = dict[str, dict[int, dict[str, projections.Points]]]
Notes = dict[str, dict[int, str]]

TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def main(
    catalog: Annotated[Path, typer.Option(help="Table of the pictures.")],
    classes: Annotated[Path, typer.Option(help="Table of the classes.")],
    splits: Annotated[Path, typer.Option(help="Table of the splits.")],
    images: Annotated[Path, typer.Option(help="Directory of the packed pictures.")],
    embeddings: Annotated[Path, typer.Option(help="Directory of <model>.parquet.")],
    results: Annotated[Path, typer.Option(help="Directory of <model>/curves.parquet, …")],
    history: Annotated[Path, typer.Option(help="CSV of the training, one row an epoch.")],
    csv_out: Annotated[Path, typer.Option("--curves", help="Directory of the CSV to write.")],
    png_out: Annotated[Path, typer.Option("--pictures", help="Directory of the PNG to write.")],
    metrics: Annotated[Path, typer.Option(help="Directory of <model>.json and train.json.")],
    rejected: Annotated[Path, typer.Option(help="CSV of the pictures left out.")],
    report: Annotated[Path, typer.Option(help="HTML page to write.")],
    projector: Annotated[Path, typer.Option(help="Directory for TensorBoard to write.")],
) -> None:
    """Write the curves as CSV, figures and sheets as PNG, the report and TensorBoard's files."""
    params = entry.load()
    known = schemas.read_table(catalog, schemas.CATALOG).to_pandas()
    named = schemas.read_table(classes, schemas.CLASSES).to_pandas()
    names = curves.display_names(dict(zip(named["label"], named["name"], strict=True)))
    drawn, tested = _draw_test_pictures(splits, params)
    vectors = _read_vectors(embeddings, drawn, params)
    sample = _describe(known, names, drawn, tested)
    # UMAP compiles itself for seconds, so the second process starts before anything is drawn.
    background = projections.umap_in_background(vectors, seed=params.seed, axes=(2, 3))
    with palette.style(), background as umap_points:
        _write_curves(results, history, names, csv_out=csv_out, png_out=png_out)
        _write_knn(results, params.index.distance, csv_out=csv_out, png_out=png_out)
        class_of = {
            image_id: ", ".join(names[label] for label in labels)
            for image_id, labels in zip(known["image_id"], known["labels"], strict=True)
        }
        picture = PackedPictures(images).decode
        write_case_pictures(results, picture, class_of, names, params, png_out)
        points, notes = _project(vectors, params)
        thumbnails = _write_projector(sample, vectors, images, projector)
        points["umap"] = {axes: future.result() for axes, future in umap_points.items()}
        colouring = choose_colouring(sample.classes, sample.groups)
        _write_projections(points, notes, colouring, choose_names(sample.classes), png_out)
        contents = assemble(
            params,
            Sources(splits, rejected, metrics, results, history, csv_out, png_out),
            known=known,
            names=names,
            sample=sample,
            points=describe_points(sample, points, colouring, notes),
            atlas=encode_atlas(thumbnails),
        )
        write_report(contents, report)


def _draw_test_pictures(splits: Path, params: Params) -> tuple[list[str], int]:
    """Return the drawn test pictures, and how many there are."""
    table = schemas.read_table(splits, schemas.SPLITS).to_pandas()
    # Pictures that were trained on lie where the loss put them; only the others show quality.
    test = table.loc[table["split"] == "test", "image_id"]
    drawn = projections.draw_sample(list(test), most=params.plot.points, seed=params.seed)
    return drawn, len(test)


def _read_vectors(
    directory: Path, sample: list[str], params: Params
) -> dict[str, projections.Vectors]:
    vectors = {}
    for model in palette.MODELS:
        path = directory / f"{model}.parquet"
        ids, rows = read_embeddings(path)
        rows = rows[_find(sample, ids, where=path)]
        vectors[model] = projections.normalized(rows) if params.index.distance == "cosine" else rows
    return vectors


def _find(wanted: list[str], ids: list[str], *, where: Path) -> NDArray[np.int64]:
    row = {image_id: place for place, image_id in enumerate(ids)}
    missing = [image_id for image_id in wanted if image_id not in row]
    if missing:
        raise UserError(
            f"{where}: {len(missing)} test pictures have no embedding, the first is "
            f"'{missing[0]}'; run: dvc repro embed"
        )
    return np.array([row[image_id] for image_id in wanted])


def _write_curves(
    results: Path, history: Path, names: Mapping[int, str], *, csv_out: Path, png_out: Path
) -> None:
    read = {
        model: schemas.read_table(results / model / "curves.parquet", schemas.CURVES).to_pandas()
        for model in palette.MODELS
    }
    tables = curves.wide_curves(read, names)
    for stem, table in tables.items():
        curves.write_csv(table, csv_out / f"{stem}.csv")
    for stem, figure in charts.draw_charts(tables, curves.read_history(history)).items():
        palette.save_figure(figure, png_out / f"{stem}.png")


def _write_knn(results: Path, distance: str, *, csv_out: Path, png_out: Path) -> None:
    tables = {
        model: schemas.read_table(results / model / "knn.parquet", schemas.KNN).to_pandas()
        for model in palette.MODELS
    }
    curves.write_csv(curves.knn_curves(tables, distance=distance), csv_out / "knn_accuracy.csv")
    palette.save_figure(charts.draw_knn(tables, distance=distance), png_out / "knn_accuracy.png")


def _project(vectors: Mapping[str, projections.Vectors], params: Params) -> tuple[Placed, Notes]:
    pca: dict[int, dict[str, projections.Points]] = {2: {}, 3: {}}
    notes: Notes = {model: {} for model in vectors}
    for (model, rows), axes in product(vectors.items(), pca):
        pca[axes][model], share = projections.project_pca(rows, axes=axes)
        notes[model][axes] = f"{share:.0%} of the variance"
    tsne = {
        model: projections.project_tsne(rows, seed=params.seed) for model, rows in vectors.items()
    }
    return {"pca": pca, "tsne": {2: tsne}}, notes


def _describe(known: pd.DataFrame, names: Mapping[int, str], drawn: list[str], of: int) -> Sample:
    rows = known.set_index("image_id").loc[drawn]
    classes = [[names[int(label)] for label in labels] for labels in rows["labels"]]
    groups = [None if pd.isna(group) else str(group) for group in rows["group"]]
    return Sample(drawn, classes, groups, total=of)


def _write_projector(
    sample: Sample, vectors: Mapping[str, projections.Vectors], images: Path, out: Path
) -> list[Image]:
    """Return the sample's thumbnails, which TensorBoard's sprite is made of too."""
    side = thumbnail_side(len(sample.image_ids))
    thumbnails = shrink_pictures(sample.image_ids, PackedPictures(images), side=side)
    write_projector(out, sample, vectors, thumbnails)
    return thumbnails


def _write_projections(
    points: Placed, notes: Notes, colouring: Colouring, naming: Naming, out: Path
) -> None:
    for method, by_axes in points.items():
        title = f"{TITLES[method]} of {len(colouring.keys)} test pictures"
        told = {model: notes[model][2] for model in notes} if method == "pca" else {}
        figure = draw_projection(title, by_axes[2], colouring, naming, told)
        palette.save_figure(figure, out / f"projection_{method}.png")


if __name__ == "__main__":
    entry.run(main, "plot")
