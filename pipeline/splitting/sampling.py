"""Samples of a dataset's classes and images that stay what they are when the dataset grows.

Each class and each image has a number of its own, from 0 to 1: a digest of its name. It is sampled
if that is below the fraction that is wanted, so new ones move none of the old. Of few, by chance
far too many or too few would be below. So there as many as is wanted are sampled, those of the
lowest numbers, and a new one may move another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Floats, Ids, Ints, Mask
from pipeline.data.label_sets import FEWEST_TO_FIND
from pipeline.data.name_numbers import number_names
from pipeline.splitting.automatic import FEWEST_VAL_CLASSES, round_half_up

FEW = 30  # with fewer classes in the dataset, or images in a class, as many as is wanted


@dataclass(frozen=True)
class Sampler:
    """Samples from N images, given in the order of their image_ids.

    classes: int64 [N], the class that each image counts for; class_names: their names. units: the
    first row with the same pixels; these images are sampled together, by the name of that row and
    as one of its class. seed: another one gives every name another number.
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
        count = wanted
        if len(np.unique(self.classes)) >= FEW:
            least = min(wanted, FEWEST_VAL_CLASSES)
            most = len(labels) - min(len(labels) - wanted, FEWEST_VAL_CLASSES)
            count = int(np.clip((numbers < fraction).sum(), least, most))
        count = min(max(count, 1), len(labels) - 1)
        sampled = labels[np.argsort(numbers, kind="stable")[:count]]
        return among & np.isin(self.classes, sampled)

    def images(self, among: Mask, *, fraction: float, role: str) -> Mask:
        """Return bool [N]: a share of the units of each class, sampled for `role`.

        The sampled images search one another, so there are at least two of a class or none, and two
        of the class remain. A class of fewer than four units gives none. One that is too small to
        give two at this fraction gives two by the chance that makes up for it.
        """
        units, first = np.unique(self.units[among], return_index=True)
        rows = np.flatnonzero(among)[first]
        labels, class_of = np.unique(self.classes[rows], return_inverse=True)
        numbers = self._numbers((self.ids[unit] for unit in units), role)
        sizes = np.bincount(class_of, minlength=len(labels))
        everywhere = self.classes[np.unique(self.units)]
        in_dataset = np.bincount(everywhere, minlength=labels.max(initial=0) + 1)[labels]
        chance = self._numbers((self.class_names[int(label)] for label in labels), f"{role} pairs")
        below = np.bincount(class_of[numbers < fraction], minlength=len(labels))
        wanted = fraction * sizes
        counts = np.where(in_dataset < FEW, np.floor(wanted + chance).astype(np.int64), below)
        pairs = np.where(chance < wanted / FEWEST_TO_FIND, FEWEST_TO_FIND, 0)
        counts = np.where(wanted < FEWEST_TO_FIND, pairs, np.maximum(counts, FEWEST_TO_FIND))
        counts = np.minimum(counts, sizes - FEWEST_TO_FIND)
        counts[sizes < 2 * FEWEST_TO_FIND] = 0
        order = np.lexsort((numbers, class_of))
        rank = np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[class_of[order]]
        sampled = rows[order[rank < counts[class_of[order]]]]
        return among & np.isin(self.units, self.units[sampled])

    def _numbers(self, names: Iterable[str], role: str) -> Floats:
        return number_names(names, key=f"{self.seed}\0{role}")
