"""The metrics files of the images that are searched now."""

from pathlib import Path

from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.metrics_files import Numbers, read_metrics_files, read_texts


def read_current_metrics(root: Path, name: str) -> Numbers | None:
    """Return the numbers in metrics/details/<name>.json of the project at `root`.

    None where there is no such file, or where it is of other images than those of the catalog, as
    after a run that stopped before the stage that writes it.
    """
    path = root / "metrics/details" / f"{name}.json"
    if not path.is_file():
        return None
    (numbers,) = read_metrics_files([path]).values()
    catalog = read_dataset_fingerprint(root / "data/catalog.parquet")
    return numbers if read_texts(path).get("fingerprint") == catalog else None
