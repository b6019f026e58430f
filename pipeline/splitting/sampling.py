"""Samples of a dataset's classes and images that stay what they are when the dataset grows.

Each class and each image has a number of its own, from 0 to 1, made of its name. It is sampled if
that is below the fraction that is wanted, so new ones move none of the old. Of few, by chance far
too many or too few would be below. So of fewer than FEW as many as is wanted are sampled, those of
the lowest numbers, and a new one may move others; above that, each further one allows one more to
be missing or over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Floats, Ids, Ints, Mask
from pipeline.data.label_sets import FEWEST_TO_FIND
from pipeline.data.name_numbers import number_names
from pipeline.splitting.automatic import FEWEST_VAL_CLASSES, round_half_up

FEW = 50  # classes in the dataset, or images in a class


@dataclass(frozen=True)
class Sampler:
    """Samples from N images, given in the order of their image_ids.

    classes: int64 [N], the class that each image counts for; class_names: their names. units: the
    first row with the same pixels; these images are sampled together, by the name of that row and
    as one image of its class. seed: another one gives every name another number.
    """

    ids: Ids
    classes: Ints
    class_names: Mapping[int, str]
    units: Ints
    seed: int

    def whole_classes(self, among: Mask, *, fraction: float, role: str) -> Mask:
        """Return bool [N]: all images of a share of the classes, sampled for `role`.

        At least one class and at most all but one; of six that are wanted or more, at least six.
        """
        labels = np.unique(self.classes[among])
        numbers = self._numbers((self.class_names[int(label)] for label in labels), role)
        wanted = round_half_up(fraction * len(labels))
        allowed = max(len(np.unique(self.classes)) - FEW, 0)
        count = int(np.clip((numbers < fraction).sum(), wanted - allowed, wanted + allowed))
        count = max(count, min(wanted, FEWEST_VAL_CLASSES))
        count = min(count, len(labels) - min(len(labels) - wanted, FEWEST_VAL_CLASSES))
        count = min(max(count, 1), len(labels) - 1)
        sampled = labels[np.argsort(numbers, kind="stable")[:count]]
        return among & np.isin(self.classes, sampled)

    def images(self, among: Mask, *, fraction: float, role: str, half_up: bool) -> Mask:
        """Return bool [N]: a share of the units of each class, sampled for `role`.

        The sampled images search one another, so there are at least two of a class or none, and two
        of the class remain. A class of fewer than four units gives none. One that is too small to
        give two at this fraction gives two by the chance that makes up for it.

        half_up: whether half an image that is wanted of a class of few is sampled, or remains.
        """
        units = np.unique(self.units[among])
        labels, class_of = np.unique(self.classes[units], return_inverse=True)
        numbers = self._numbers((self.ids[unit] for unit in units), role)
        chances = self._numbers((self.class_names[int(label)] for label in labels), f"{role} pairs")
        sizes = np.bincount(class_of, minlength=len(labels))
        below = np.bincount(class_of[numbers < fraction], minlength=len(labels))
        in_dataset = np.bincount(self.classes[np.unique(self.units)])[labels]
        wanted: Floats = fraction * sizes.astype(np.float64)
        counts = _count(wanted, below, in_dataset, half_up=half_up)
        pairs = np.where(chances < wanted / FEWEST_TO_FIND, FEWEST_TO_FIND, 0)
        counts = np.where(wanted < FEWEST_TO_FIND, pairs, counts)
        counts = np.minimum(counts, sizes - FEWEST_TO_FIND)
        counts[sizes < 2 * FEWEST_TO_FIND] = 0
        order = np.lexsort((numbers, class_of))
        rank = np.arange(len(units)) - (np.cumsum(sizes) - sizes)[class_of[order]]
        sampled = units[order[rank < counts[class_of[order]]]]
        return among & np.isin(self.units, sampled)

    def _numbers(self, names: Iterable[str], role: str) -> Floats:
        return number_names(names, key=f"{self.seed}\0{role}")


def _count(wanted: Floats, below: Ints, in_dataset: Ints, *, half_up: bool) -> Ints:
    """Return int64 [C]: how many units of each class to sample, at least two.

    wanted: float64 [C]. below: how many have a number below the fraction. in_dataset: how many
    there are, also in other splits.
    """
    whole = np.floor(wanted + 0.5 + 1e-9) if half_up else np.ceil(wanted - 0.5 - 1e-9)
    allowed = np.maximum(in_dataset - FEW, 0)
    counts = np.clip(below, whole - allowed, whole + allowed).astype(np.int64)
    return np.maximum(counts, FEWEST_TO_FIND)
