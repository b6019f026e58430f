"""Embeddings that cannot tell images apart score as chance, whatever the images are called."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.embeddings import write_embeddings
from pipeline.data.joins import read_embedded_split, read_labels
from pipeline.data.tables import CATALOG, SPLITS, write_table
from pipeline.evaluation.measure import measure
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics
from tests.helpers.dataset_tables import build_catalog, build_splits

# Classes of unequal size, because equal ones score the same in most orders.
SIZES = [40, 5, 20, 10, 30, 15]


def name_images(folders: list[str]) -> dict[str, list[int]]:
    """Return image_id -> its label, for SIZES[i] images in folders[i]."""
    return {
        f"{folder}/{number:02d}.jpg": [label]
        for label, (folder, size) in enumerate(zip(folders, SIZES, strict=True))
        for number in range(size)
    }


def measure_constant(
    place: Path, images: dict[str, list[int]], *, seed: int, distance: str
) -> RetrievalMetrics:
    """Measure constant embeddings whose files are in an order of `seed`."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(list(images)).tolist() for _ in range(2)]
    write_embeddings(place / "e", orders[0], np.full((len(images), 8), 0.3, np.float32))
    write_table(build_splits(dict.fromkeys(orders[1], "test")), place / "s", SPLITS)
    write_table(build_catalog(images), place / "c", CATALOG)
    embedded = read_embedded_split(place / "e", place / "s")
    labels = read_labels(place / "c", embedded.ids, ids_from=place / "s")
    roles = (embedded.is_query, embedded.is_gallery)
    return measure(embedded.vectors, labels, *roles, k=[1], distance=distance, knn=5)


def chance_map(sizes: list[int]) -> float:
    """Return the mean of the average precision over all orders, by its closed form.

    Of N other images, R relevant: (H + (R - 1) (N - H) / (N - 1)) / N, H = 1 + 1/2 + ... + 1/N.
    """
    others = sum(sizes) - 1
    harmonic = sum(1 / rank for rank in range(1, others + 1))
    of_class = [
        (harmonic + (size - 2) * (others - harmonic) / (others - 1)) / others for size in sizes
    ]
    return float(np.average(of_class, weights=sizes))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_order_of_the_files_does_not_matter(tmp_path: Path, distance: str) -> None:
    images = name_images(list("abcdef"))
    found = [measure_constant(tmp_path, images, seed=seed, distance=distance) for seed in range(6)]
    assert all(each.means == found[0].means for each in found)


def test_the_names_of_the_classes_do_not_matter(tmp_path: Path) -> None:
    """Another name is another digest, so only chance is left: no order of names is favoured."""
    rising, falling = list("abcdef"), list("fedcba")
    chance = chance_map(SIZES)
    maps = []
    for names in (rising, falling):
        for seed in range(10):
            folders = [f"{name}{seed}" for name in names]
            metrics = measure_constant(tmp_path, name_images(folders), seed=seed, distance="cosine")
            maps.append(metrics.means["map"])
    assert np.abs(np.array(maps) - chance).max() < 0.25 * chance
    assert np.mean(maps) == pytest.approx(chance, rel=0.03)
    for half in (maps[:10], maps[10:]):
        assert np.mean(half) == pytest.approx(chance, rel=0.06)


def test_the_numbers_of_the_classes_do_not_matter(tmp_path: Path) -> None:
    images = name_images(list("abcdef"))
    images = {name: [*labels, 6 + i % 3] for i, (name, labels) in enumerate(images.items())}
    found = []
    for renumbered in (list(range(9)), list(range(8, -1, -1)), [4, 7, 1, 8, 0, 3, 6, 2, 5]):
        labels = {name: sorted(renumbered[old] for old in each) for name, each in images.items()}
        metrics = measure_constant(tmp_path, labels, seed=0, distance="cosine")
        found.append(metrics.means | {"macro": metrics.by_class.macro_means()["macro_map"]})
    for each in found[1:]:
        assert each == pytest.approx(found[0], abs=1e-12)
