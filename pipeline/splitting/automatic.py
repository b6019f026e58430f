"""What `auto` means in `split:` of params.yaml, for a dataset."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from pipeline.data.arrays import Mask
from pipeline.data.label_sets import LabelSets

AUTO = "auto"
TEST_ONLY = "test_only"
# With fewer classes, people search for more images of these same classes, so all of them are
# trained on; and a test of fewer than ten new classes says little about others.
FEWEST_DISJOINT_CLASSES = 20
# With fewer validation classes, it cannot be told whether training made the model better
# (FEWEST_CLASSES of pipeline/evaluation/paired_gain.py).
FEWEST_VAL_CLASSES = 6
WANTED_VAL_IMAGES = 50
# Few, so that a dataset that grows seldom gets another one, which moves old images.
VAL_SHARES = (0.1, 0.2, 0.35, 0.5)


@dataclass(frozen=True)
class SplitOptions:
    """`split:` of params.yaml.

    protocol: `official` takes the roles of `source_split`; `class_disjoint` takes `test_fraction`
    of the classes as test; `random` takes that share of the images of each class;
    `test_only` takes all images, so that nothing is trained; `auto`: see `list_protocols`.
    val_by: `class` holds out `val_fraction` of the training classes for validation, `image` that
    share of the images of each class; `auto`, also of val_fraction: see `choose_validation`.
    """

    protocol: str
    test_fraction: float
    val_by: str
    val_fraction: float | str


def list_protocols(labels: LabelSets, *, has_roles: bool) -> list[str]:
    """Return what `protocol: auto` tries; the first that leaves enough to train with is taken.

    The last one is taken in any case. A dataset with roles of its own is split by them.
    """
    if has_roles:
        return ["official"]
    disjoint = labels.single and len(np.unique(labels.values)) >= FEWEST_DISJOINT_CLASSES
    return ["class_disjoint"] * disjoint + ["random", TEST_ONLY]


def choose_validation(
    options: SplitOptions, labels: LabelSets, *, train: Mask, test: Mask
) -> SplitOptions:
    """Return `options` without `auto` in val_by and val_fraction.

    Validation is as the test: by class where the test classes are new and 6 classes or more can be
    held out, otherwise by image. It has a share of what is for training: 0.1, 0.2, 0.35 or 0.5, the
    first that gives about 50 images (and 6 classes), or else 0.5.

    train, test: bool [N].
    """
    of_training = np.unique(labels.take(np.flatnonzero(train)).values)
    of_test = np.unique(labels.take(np.flatnonzero(test)).values)
    by = options.val_by
    if by == AUTO:
        new = labels.single and not np.isin(of_test, of_training).any()
        most = VAL_SHARES[-1] if options.val_fraction == AUTO else options.val_fraction
        enough = round_half_up(float(most) * len(of_training)) >= FEWEST_VAL_CLASSES
        by = "class" if new and enough else "image"
    fraction = options.val_fraction
    if fraction == AUTO:
        fraction = _choose_fraction(by, classes=len(of_training), images=int(train.sum()))
    return replace(options, val_by=by, val_fraction=fraction)


def _choose_fraction(by: str, *, classes: int, images: int) -> float:
    wanted = WANTED_VAL_IMAGES / max(images, 1)
    if by == "class":
        wanted = max(wanted, FEWEST_VAL_CLASSES / max(classes, 1))
    return next((share for share in VAL_SHARES if share >= wanted), VAL_SHARES[-1])


def round_half_up(value: float) -> int:
    """Return the nearest whole number, a half rounded up, also where 0.58 * 25 is below 14.5."""
    return int(np.floor(value + 0.5 + 1e-9))


def list_chosen(wanted: SplitOptions, used: SplitOptions) -> dict[str, str | float]:
    """Return key of params.yaml -> what was chosen for it, of those that are `auto` in `wanted`.

    With test_only, nothing validates, so nothing was chosen for that.
    """
    chosen = asdict(used)
    if used.protocol == TEST_ONLY:
        chosen = {"protocol": TEST_ONLY}
    auto = [key for key, value in asdict(wanted).items() if value == AUTO and key in chosen]
    return {f"split.{key}": chosen[key] for key in auto}
