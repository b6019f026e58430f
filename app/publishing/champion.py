"""Whether a model takes the place of the champion in MLflow's registry: by the same queries."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.searching.served_neighbors import PROJECT
from pipeline.comparison.compare import MAIN_METRIC, Side, compare
from pipeline.comparison.evaluation_set import check_comparable, read_evaluation_set
from pipeline.comparison.verdict import judge
from pipeline.data.tables import QUERIES, read_table
from pipeline.errors import UserError

ALIAS = "champion"


def is_champion(client: Any, name: str, root: Path, model: str) -> tuple[bool, str]:
    """Return whether the model takes the place of the champion, and why."""
    from mlflow.artifacts import download_artifacts

    versions = client.get_registered_model(name).aliases
    if ALIAS not in versions:
        return True, "the first"
    held = versions[ALIAS]
    uri = f"models:/{name}/{held}/artifacts/{PROJECT}"
    with TemporaryDirectory() as scratch:
        try:
            # Not its index, which may be large.
            data, results = (
                Path(download_artifacts(f"{uri}/{folder}", dst_path=scratch))
                for folder in ("data", "results")
            )
            return _is_better((data, results), root, model, held)
        except UserError as error:
            return False, f"version {held}, as the two cannot be compared: {error}"


def _is_better(
    champion_folders: tuple[Path, Path], root: Path, model: str, held: str
) -> tuple[bool, str]:
    """Return whether the model is better than version `held`, of which the folders are, and why."""
    data, of_champion = champion_folders
    sets = [read_evaluation_set(place) for place in (data, root / "data")]
    check_comparable(sets[0], sets[1], (f"version {held}", model))
    (results,) = of_champion.glob("*/queries.parquet")
    champion, new = (
        Side([read_table(path, QUERIES).to_pandas()], trained=False)
        for path in (results, root / "results" / model / "queries.parquet")
    )
    found = compare(champion, new, sets[0].classes, new_classes=sets[0].new_classes)
    main = found.metrics[found.metrics["metric"] == MAIN_METRIC].iloc[0]
    word = judge(found.metrics).word
    difference = f"{MAIN_METRIC} {main['b'] - main['a']:+.3f}"
    return word == "better", f"compared with version {held}: {word} ({difference})"
