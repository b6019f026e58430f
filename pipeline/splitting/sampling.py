"""Samples of a dataset's classes and images, with images of the same pixels kept together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.arrays import Ints, Mask
from pipeline.data.label_sets import FEWEST_TO_FIND
from pipeline.splitting.automatic import round_half_up


@dataclass(frozen=True)
class Sampler:
    """Samples from N images, given in the order of their image_ids.

    classes: int64 [N], the class that each image counts for. groups: its super-class. units: the
    first row with the same pixels; these images are sampled together, as one of the class of that
    row.
    """

    classes: Ints
    groups: Sequence[str | None]
    units: Ints
    rng: np.random.Generator

    def whole_classes(self, among: Mask, *, fraction: float) -> Mask:
        """Return bool [N]: all images of a share of the classes, the same share of each group.

        Rounded to at least one class and at most all but one.
        """
        members: dict[str, list[int]] = {}
        rows = np.flatnonzero(among)
        labels, first_rows = np.unique(self.classes[rows], return_index=True)
        for label, row in zip(labels, rows[first_rows], strict=True):
            members.setdefault(self.groups[row] or "", []).append(int(label))
        wanted = min(max(round_half_up(fraction * len(labels)), 1), len(labels) - 1)
        sampled: list[int] = []
        carry = 0.0
        for group in self.rng.permutation(sorted(members)):
            # What rounding takes from one group, the next gets, so that the total is exact.
            carry += len(members[group]) * wanted / len(labels)
            count = round_half_up(carry)
            carry -= count
            sampled += self.rng.permutation(members[group])[:count].tolist()
        return among & np.isin(self.classes, sampled)

    def images(self, among: Mask, *, fraction: float) -> Mask:
        """Return bool [N]: a share of the units of each class, at least two or none.

        The sampled images search one another, so a single one has nothing to find. Two images of
        the class remain too; so a class of fewer than four gives none.
        """
        sampled = np.zeros(len(self.classes), dtype=bool)
        first = np.zeros_like(sampled)  # of each unit, among these
        first[np.flatnonzero(among)[np.unique(self.units[among], return_index=True)[1]]] = True
        carry = 0.0
        for label in self.rng.permutation(np.unique(self.classes[among])):
            rows = np.flatnonzero(first & (self.classes == label))
            if len(rows) < 2 * FEWEST_TO_FIND:
                continue
            # What a small class is too small to give, the next class gives.
            carry += fraction * len(rows)
            count = min(round_half_up(carry), len(rows) - FEWEST_TO_FIND)
            if count >= FEWEST_TO_FIND:
                carry = min(carry - count, FEWEST_TO_FIND)
                sampled[self.rng.permutation(rows)[:count]] = True
        return among & np.isin(self.units, self.units[sampled])
