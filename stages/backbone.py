"""Write the starting weights as an embedder: the pretrained network, pooled, without a head."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.models import embedder
from stages import runner
from stages.mlflow_run import project_root


def main(out: Annotated[Path, typer.Option(help="Directory of the model.")]) -> None:
    """Build the backbone that params.yaml names and write it to OUT."""
    params = runner.load()
    chosen = params.backbone
    model = embedder.build_baseline(
        chosen.name,
        image_size=chosen.image_size,
        pooling=chosen.pooling,
        level=chosen.level,
        weights=find_weights(chosen.weights),
        seed=params.seed,
    )
    embedder.save(model, out)


def find_weights(weights: str | None) -> str | None:
    """Return `weights`, a relative file as the project's own where it is not in this directory.

    `dvc exp run --temp` runs in a copy that lacks files outside git.
    """
    if weights is None or weights == "imagenet":
        return weights
    original = project_root() / weights
    return str(original) if original.is_file() and not Path(weights).is_file() else weights


if __name__ == "__main__":
    runner.run(main, "backbone")
