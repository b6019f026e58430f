"""A small dataset sampled from a large one, with few classes cut."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.data.label_sets import FEWEST_TO_FIND
from pipeline.datasets.source_image import SourceImage
from pipeline.options import Count, Section

# A class of at most this many images is kept whole or left out: a query needs something to find,
# and a batch needs several images of a class.
WHOLE = 20


class SubsetOptions(Section):
    """Options of a dataset that may be sampled: at most `max_images` of each split; null: all."""

    max_images: Count | None


def sample_subset(
    images: Iterable[SourceImage], max_images: int | None, *, seed: int
) -> list[SourceImage]:
    """Return at most `max_images` of each split of `images`, balanced over classes; None: all.

    The splits are train (in the gallery or not), val, and test (query and gallery); a dataset
    without a split counts as one. All classes stay, with the same number of images each (all of
    them where a class has fewer), if that number is WHOLE or more. Otherwise each class keeps up to
    WHOLE images and only some classes stay: the first ones of a random order, which is the same for
    all splits; the last class is cut to what remains of `max_images`. Of each class, query and
    gallery images are taken alternately. An image with several labels counts for the first of them
    by name; images without a label are not counted, and stay.

    Depends on `seed` and on the set of images, not on their order. The subset of a smaller
    `max_images` is part of the subset of a larger one if both allow WHOLE images for each class, or
    neither does.
    """
    if max_images is None:
        return list(images)
    everything = sorted(images, key=lambda each: (each.path, each.image_id or ""))
    rng = np.random.default_rng(seed)
    shuffled = [everything[row] for row in rng.permutation(len(everything))]
    names = sorted({_class_of(each) for each in everything if each.labels})
    order = [names[place] for place in rng.permutation(len(names))]
    splits: dict[str, list[SourceImage]] = defaultdict(list)
    for image in shuffled:
        splits[_split_of(image) if image.labels else ""].append(image)
    kept = splits.pop("", [])
    for split in splits.values():
        kept += _sample_split(split, order, max_images)
    return sorted(kept, key=lambda each: (each.path, each.image_id or ""))


def _split_of(image: SourceImage) -> str:
    roles = (image.source_split or "all").split("+")
    return roles[0] if roles[0] in ("all", "train", "val") else "test"


def _class_of(image: SourceImage) -> str:
    return min(image.labels)


def _sample_split(
    split: Sequence[SourceImage], order: Sequence[str], max_images: int
) -> list[SourceImage]:
    classes: dict[str, list[SourceImage]] = defaultdict(list)
    for image in split:
        classes[_class_of(image)].append(image)
    limit = max(WHOLE, _equal_share([len(each) for each in classes.values()], max_images))
    kept: list[SourceImage] = []
    for name in (name for name in order if name in classes):
        room = min(limit, max_images - len(kept))
        if room < min(FEWEST_TO_FIND, len(classes[name])):
            break
        kept += _alternate_roles(classes[name])[:room]
    return kept


def _equal_share(sizes: Sequence[int], total: int) -> int:
    """Return the largest n such that the sum of min(n, size) over `sizes` is at most `total`."""
    share = 0
    for done, size in enumerate(sorted(sizes)):
        share = total // (len(sizes) - done)
        if share < size:
            return share
        total -= size
    return max(sizes, default=share)


def _alternate_roles(images: Sequence[SourceImage]) -> list[SourceImage]:
    """Return `images` of one class with their roles alternating, in the given order within each."""
    count: Counter[str] = Counter()
    keys: list[tuple[int, str, int]] = []
    for row, image in enumerate(images):
        roles = str(image.source_split)
        keys.append((count[roles], roles, row))
        count[roles] += 1
    return [images[row] for *_, row in sorted(keys)]
