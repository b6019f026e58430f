"""How often the 95% intervals of `report_metrics` contain the true value, by simulation.

A world is a draw of classes: class centres of N(0, I) in 16 dimensions, and images around them
with a spread that differs between classes. The true value is the mean over all worlds of one kind,
each with the same number of classes in its gallery. `pytest -m long -s` prints the table.
"""

import numpy as np
import pytest

from pipeline.data.arrays import Ints, Vectors
from pipeline.data.label_sets import LabelSets, from_lists
from pipeline.evaluation.intervals_over import MIN_CLASSES
from pipeline.evaluation.measure import measure
from pipeline.evaluation.metrics_report import MetricsReport, report_metrics
from pipeline.evaluation.retrieval_metrics import RetrievalMetrics

NAMES = ("recall_at_1", "map", "macro_map")
DIMENSION, SPREAD = 16, 1.2
WORLDS = 250


class World:
    """Classes with their images; `draw` gives other images of the same classes."""

    def __init__(
        self,
        rng: np.random.Generator,
        sets: list[list[int]],
        *,
        dimension: int = DIMENSION,
        spread: float = SPREAD,
    ) -> None:
        """sets: the classes of each image; one of several is around the mean of their centres."""
        self._rng, self.labels = rng, from_lists(sets)
        classes = int(self.labels.values.max()) + 1
        self._centres = rng.normal(size=(classes, dimension))
        self._spread = spread * np.exp(0.5 * rng.normal(size=(classes, 1)))

    def draw(self) -> Vectors:
        starts, values = self.labels.starts[:-1], self.labels.values
        counts = np.diff(self.labels.starts)[:, None]
        centres, spread = (
            np.add.reduceat(of_class[values], starts) / counts
            for of_class in (self._centres, self._spread)
        )
        noise = self._rng.normal(size=centres.shape)
        return (centres + spread / np.sqrt(counts) * noise).astype(np.float32)


def measure_images(vectors: Vectors, labels: LabelSets, *, gallery: int = 0) -> RetrievalMetrics:
    """Return the metrics of images that are the gallery too, or of all but the last `gallery`."""
    is_query = np.arange(len(vectors)) < len(vectors) - gallery
    is_gallery = ~is_query if gallery else is_query
    return measure(vectors, labels, is_query, is_gallery, k=[1], distance="euclidean")


def report(metrics: RetrievalMetrics, classes: LabelSets | None) -> MetricsReport:
    return report_metrics(metrics, classes=classes, gallery_size=0, resamples=200, seed=1)


def cover(kinds: list[list[MetricsReport]], what: str) -> dict[str, float]:
    """Return name -> the share of intervals that contain the mean of their kind; print it."""
    shares = {}
    for name in NAMES:
        ends = np.array(
            [[[it[name + end] for end in ("", "_low", "_high")] for it in kind] for kind in kinds]
        )  # (kinds, reports, 3)
        truth = ends[:, :, 0].mean(axis=1, keepdims=True)
        shares[name] = float(((ends[:, :, 1] <= truth) & (truth <= ends[:, :, 2])).mean())
    print(f"{what:65}", *(f"{name} {share:.3f} " for name, share in shares.items()))
    return shares


def fix_classes(known: MetricsReport, metrics: RetrievalMetrics) -> MetricsReport:
    """Return other intervals: mean -+ 1.96 errors from the differences within classes alone."""
    by_class, sizes = metrics.by_class, metrics.by_class.counts
    found = dict(known)
    for name, weights in (("recall_at_1", sizes), ("map", sizes), ("macro_map", sizes / sizes)):
        values, class_of = by_class.columns[name.removeprefix("macro_")], by_class.class_of
        residuals = values - by_class.class_means()[name.removeprefix("macro_")][class_of]
        variances = np.bincount(class_of, residuals**2) / (sizes - 1) / sizes
        reach = 1.96 * np.sqrt((variances * weights**2).sum()) / weights.sum()
        for end, sign in (("_low", -1), ("_high", 1)):
            found[name + end] = float(known[name]) + sign * reach
    return found


def single(sizes: Ints) -> list[list[int]]:
    return [[label] for label, size in enumerate(sizes) for _ in range(size)]


def several(classes: int, images: int) -> list[list[int]]:
    """Return two of the classes for each image, the same in every world."""
    rng = np.random.default_rng(7)
    return [rng.choice(classes, 2, replace=False).tolist() for _ in range(images)]


UNEQUAL = np.random.default_rng(3).integers(3, 30, 25)


@pytest.mark.parametrize(
    ("what", "sets"),
    [
        pytest.param("25 classes of 20 images", single(np.full(25, 20)), marks=pytest.mark.slow),
        *(
            pytest.param(what, sets, marks=pytest.mark.long)
            for what, sets in (
                ("80 classes of 10 images", single(np.full(80, 10))),
                ("25 classes of 3 to 29 images", single(UNEQUAL)),
                ("6 classes of 20 images", single(np.full(6, 20))),
                ("40 classes, two for each of 400 images", several(40, 400)),
            )
        ),
    ],
)
def test_intervals_over_classes_contain_the_value_of_other_classes_and_those_over_images_do_not(
    what: str, sets: list[list[int]]
) -> None:
    rng = np.random.default_rng(1)
    over: dict[str, list[MetricsReport]] = {"classes": [], "images": []}
    for _ in range(WORLDS):
        world = World(rng, sets)
        metrics = measure_images(world.draw(), world.labels)
        over["classes"].append(report(metrics, world.labels))
        over["images"].append(report(metrics, None))
    assert min(cover([over["classes"]], f"{what}: over classes").values()) >= 0.92
    assert max(cover([over["images"]], f"{what}: over images").values()) < 0.75


@pytest.mark.long
@pytest.mark.parametrize("classes", range(4, MIN_CLASSES))
def test_intervals_over_too_few_classes_contain_it_too_seldom(classes: int) -> None:
    """So `choose_intervals_over` takes images instead."""
    rng, sets, reports = np.random.default_rng(1), single(np.full(classes, 20)), []
    for _ in range(WORLDS):
        world = World(rng, sets)
        reports.append(report(measure_images(world.draw(), world.labels), world.labels))
    shares = cover([reports], f"{classes} classes of 20 images: over classes")
    assert 0.8 <= shares["recall_at_1"] < 0.94


@pytest.mark.long
@pytest.mark.parametrize(
    ("dimension", "spread", "what"), [(4, 0.4, "few dimensions"), (16, 0.25, "metrics near 1")]
)
def test_intervals_over_classes_contain_it_less_often_in_two_cases(
    dimension: int, spread: float, what: str
) -> None:
    """Near 1 a few classes make all errors, and a sample may have none; in few dimensions the same
    two classes disturb each other, so that classes are not independent."""
    rng, reports = np.random.default_rng(1), []
    for _ in range(WORLDS):
        world = World(rng, single(np.full(25, 20)), dimension=dimension, spread=spread)
        reports.append(report(measure_images(world.draw(), world.labels), world.labels))
    shares = cover([reports], f"25 classes of 20 images, {what}: over classes")
    assert 0.7 <= min(shares.values()) < 0.95


@pytest.mark.long
@pytest.mark.parametrize("gallery", ["the queries", "other images, drawn once"])
@pytest.mark.parametrize("sizes", [np.full(10, 40), UNEQUAL], ids=["equal", "unequal"])
def test_intervals_over_images_contain_the_value_of_other_images(sizes: Ints, gallery: str) -> None:
    """Eight times, classes are drawn; then their images, thirty times."""
    rng, sets = np.random.default_rng(1), single(sizes)
    kinds: list[list[MetricsReport]] = []
    naive: list[list[MetricsReport]] = []
    for _ in range(8):
        world = World(rng, sets)
        fixed = world.draw() if gallery != "the queries" else np.empty((0, DIMENSION), np.float32)
        labels = from_lists(sets * 2 if len(fixed) else sets)
        kinds.append([])
        naive.append([])
        for _ in range(30):
            vectors = np.concatenate([world.draw(), fixed])
            metrics = measure_images(vectors, labels, gallery=len(fixed))
            kinds[-1].append(report(metrics, None))
            naive[-1].append(fix_classes(kinds[-1][-1], metrics))
    shares = cover(kinds, f"{len(sizes)} classes, gallery: {gallery}: over images")
    fixed_shares = cover(naive, f"{len(sizes)} classes, gallery: {gallery}: classes fixed")
    assert min(shares.values()) >= 0.92
    if gallery == "the queries":
        assert fixed_shares["macro_map"] < 0.85
