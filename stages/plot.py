"""The results of both models -> curves as CSV for `dvc plots`; sheets, projections and a report."""

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from pipeline.data import tables
from pipeline.data.arrays import Vectors
from pipeline.data.class_names import names_of, read_class_names
from pipeline.data.files import written_whole
from pipeline.data.packed_images import PackedImages
from pipeline.figures.centroids import choose_named_classes
from pipeline.figures.curve_tables import write_curves
from pipeline.figures.duplicate_sheets import draw_first_groups
from pipeline.figures.palette import figure_style
from pipeline.figures.projection_figures import choose_coloring, write_projections
from pipeline.figures.projection_sample import ProjectionSample, read_sample, read_vectors
from pipeline.figures.projections import Points, project_pca_and_tsne, umap_in_background
from pipeline.figures.sheet_files import write_sheets
from pipeline.figures.sheet_tiles import ReadImage, save_sheet
from pipeline.health.findings import Finding, find_in_images, find_leaks, list_groups
from pipeline.report.contents import RunFiles, read_contents
from pipeline.report.html_page import write_report
from pipeline.report.projection_points import describe_points
from pipeline.report.tensorboard_projector import write_projector
from pipeline.report.thumbnails import encode_atlas, shrink_images, thumbnail_side
from stages import runner


def main(
    catalog: Annotated[Path, typer.Option(help="table of the images")],
    classes: Annotated[Path, typer.Option(help="table of the classes")],
    splits: Annotated[Path, typer.Option(help="table of the splits")],
    images: Annotated[Path, typer.Option(help="directory of the packed images")],
    embeddings: Annotated[Path, typer.Option(help="directory of <model>, its embeddings")],
    results: Annotated[Path, typer.Option(help="directory of <model>/curves.parquet, …")],
    history: Annotated[Path, typer.Option(help="CSV of the training, one row an epoch")],
    curves: Annotated[Path, typer.Option(help="directory to write: curves as CSV")],
    figures: Annotated[Path, typer.Option(help="directory to write: sheets, projections as PNG")],
    model: Annotated[Path, typer.Option(help="directory of the trained model")],
    metrics: Annotated[Path, typer.Option(help="directory of <model>.json and train.json")],
    rejected: Annotated[Path, typer.Option(help="CSV of the rejected images")],
    health: Annotated[Path, typer.Option(help="table of what the pixels tell")],
    report: Annotated[Path, typer.Option(help="HTML page to write")],
    projector: Annotated[Path, typer.Option(help="directory to write: files for TensorBoard")],
) -> None:
    """Write the curves as CSV, figures as PNG, the report and the files for TensorBoard."""
    params = runner.load()
    distance, seed = params.index.distance, params.seed
    catalog_table = tables.read_table(catalog, tables.CATALOG).to_pandas()
    class_names = read_class_names(classes)
    packed = PackedImages(images)
    sample = read_sample(
        splits, catalog_table, class_names, catalog_path=catalog, most=params.plot.points, seed=seed
    )
    vectors = read_vectors(embeddings, sample.image_ids, splits=splits, distance=distance)
    # Together, so that none of them shows another run than the others.
    outputs = (curves, figures, projector, report)
    with written_whole(*outputs) as (curves, figures, projector, report):
        # UMAP compiles itself for seconds, so the second process starts before anything is drawn.
        with figure_style(), umap_in_background(vectors, seed=seed, axes=(2, 3)) as umap:
            write_curves(results, class_names, curves)
            class_of = _name_classes(catalog_table, class_names)
            findings = _check_health(health, catalog, splits, class_of, packed.decode, figures)
            write_sheets(results, packed.decode, class_of, class_names, params, figures)
            side = thumbnail_side(len(sample.image_ids))
            thumbnails = shrink_images(sample.image_ids, packed, side=side)
            write_projector(projector, sample, vectors, thumbnails)
            points = _write_projections(sample, vectors, umap, seed=seed, figures=figures)
        contents = read_contents(
            params,
            RunFiles(
                splits=splits,
                rejected=rejected,
                model=model,
                metrics=metrics,
                results=results,
                history=history,
                curves=curves,
                figures=figures,
            ),
            catalog=catalog_table,
            class_names=class_names,
            sample=sample,
            points=points,
            findings=findings,
            atlas=encode_atlas(thumbnails),
        )
        write_report(contents, report)


def _name_classes(catalog: pd.DataFrame, class_names: Mapping[int, str]) -> dict[str, str]:
    """Return image_id -> the names of its classes, as one text."""
    return {
        image_id: ", ".join(names_of(labels, class_names))
        for image_id, labels in zip(catalog["image_id"], catalog["labels"], strict=True)
    }


def _check_health(
    health: Path,
    catalog: Path,
    splits: Path,
    class_of: Mapping[str, str],
    read_image: ReadImage,
    figures: Path,
) -> list[Finding]:
    """Draw the first groups of duplicates, if there are any; return all that is found."""
    pixels, images, split = (
        tables.read_table(path, kind)
        for path, kind in (
            (health, tables.HEALTH),
            (catalog, tables.CATALOG),
            (splits, tables.SPLITS),
        )
    )
    if groups := list_groups(pixels, images, split):
        sheet = draw_first_groups(groups, read_image, class_of=class_of, splits=split)
        save_sheet(sheet, figures / "duplicates.png")
    return find_in_images(pixels, images) + find_leaks(pixels, split)


def _write_projections(
    sample: ProjectionSample,
    vectors: Mapping[str, Vectors],
    umap: Mapping[int, "Future[dict[str, Points]]"],
    *,
    seed: int,
    figures: Path,
) -> dict[str, Any]:
    """Draw each projection; return the points of all of them, for the report's page."""
    layouts, notes = project_pca_and_tsne(vectors, seed=seed)
    layouts["umap"] = {axes: future.result() for axes, future in umap.items()}
    coloring = choose_coloring(sample.classes, sample.groups)
    write_projections(layouts, notes, coloring, choose_named_classes(sample.classes), figures)
    return describe_points(sample, layouts, coloring, notes)


if __name__ == "__main__":
    runner.run(main, "plot")
