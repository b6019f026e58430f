"""Write the pretrained network, pooled and without a head, as an embedder: models/baseline; and of
a model that understands text, its text side."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config.schema import Params
from pipeline.data.chosen import describe_chosen
from pipeline.data.tables import CATALOG, read_table
from pipeline.errors import UserError
from pipeline.models.backbones import OPEN_CLIP_PREFIX, find_image_size
from pipeline.models.embedder import Embedder, build_baseline, save_embedder
from pipeline.models.image_size import choose_image_size
from pipeline.models.packaged_weights import PACKAGED
from pipeline.options import AUTO
from stages import runner
from stages.project_root import project_root

logger = logging.getLogger(__name__)


def main(
    catalog: Annotated[Path, typer.Option(help="table of images: their sizes")],
    out: Annotated[Path, typer.Option(help="directory of the model to write")],
) -> None:
    """Build the backbone of params.yaml and write it to OUT."""
    params = runner.load()
    save_embedder(_build(params, _list_image_sizes(params, catalog)), out)
    if params.backbone.name.startswith(OPEN_CLIP_PREFIX):
        _add_text_side(params, out)


def _add_text_side(params: Params, out: Path) -> None:
    from pipeline.models.text_side import build_text_side, save_text_side  # imports open_clip

    chosen = params.backbone
    side = build_text_side(chosen.name, weights=find_weights(chosen.weights), seed=params.seed)
    if side is not None:
        save_text_side(side, out)


def _build(params: Params, sizes: list[int]) -> Embedder:
    """Return the baseline for the first of `sizes` that the network takes."""
    wanted, *others = sizes
    chosen = params.backbone
    try:
        model = build_baseline(
            chosen.name,
            image_size=wanted,
            pooling=chosen.pooling,
            level=chosen.level,
            weights=find_weights(chosen.weights),
            seed=params.seed,
        )
    except UserError:
        if not others:
            raise
        return _build(params, others)
    if chosen.image_size == AUTO:
        logger.info(describe_chosen({"backbone.image_size": wanted}))
    return model


def _list_image_sizes(params: Params, catalog: Path) -> list[int]:
    """Return the size of params.yaml; for `auto` one that suits the images, then the network's."""
    if params.backbone.image_size != AUTO:
        return [params.backbone.image_size]
    images, own = read_table(catalog, CATALOG), find_image_size(params.backbone.name)
    widths, heights = (images[name].to_numpy() for name in ("width", "height"))
    return list(dict.fromkeys([choose_image_size(own, widths=widths, heights=heights), own]))


def find_weights(weights: str | None) -> str | None:
    """Return `weights`; a relative file that is not in this directory is taken from the project.

    `dvc exp run --temp` runs in a copy of the project that lacks files outside git.
    """
    if weights in (None, "imagenet", PACKAGED):
        return weights
    original = project_root() / weights
    return str(original) if original.is_file() and not Path(weights).is_file() else weights


if __name__ == "__main__":
    runner.run(main, "backbone")
