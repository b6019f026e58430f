"""Write the pretrained network, pooled and without a head, as an embedder: models/baseline."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.models.embedder import build_baseline, save_embedder
from stages import runner
from stages.project_root import project_root


def main(out: Annotated[Path, typer.Option(help="directory of the model to write")]) -> None:
    """Build the backbone of params.yaml and write it to OUT."""
    params = runner.load()
    chosen = params.backbone
    model = build_baseline(
        chosen.name,
        image_size=chosen.image_size,
        pooling=chosen.pooling,
        level=chosen.level,
        weights=find_weights(chosen.weights),
        seed=params.seed,
    )
    save_embedder(model, out)


def find_weights(weights: str | None) -> str | None:
    """Return `weights`; a relative file that is not in this directory is taken from the project.

    `dvc exp run --temp` runs in a copy of the project that lacks files outside git.
    """
    if weights is None or weights == "imagenet":
        return weights
    original = project_root() / weights
    return str(original) if original.is_file() and not Path(weights).is_file() else weights


if __name__ == "__main__":
    runner.run(main, "backbone")
