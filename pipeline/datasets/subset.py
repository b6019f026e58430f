"""A small dataset drawn from a large one, its classes as whole as its size allows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.datasets.source_image import SourceImage

# A class of no more images than this stays whole, or goes whole: a query is to have something
# to find, and a batch several images of a class.
WHOLE = 20
FEWEST_TO_FIND = 2


def sample_subset(
    images: Iterable[SourceImage], max_images: int | None, *, seed: int
) -> list[SourceImage]:
    """Return at most `max_images` of each part of `images`, balanced over classes; None: all.

    A part is what is trained on (with or without being searched), the dataset's own val, or what
    asks and is searched; a dataset without a split of its own is one part. All classes stay,
    with equally many images each (all of them where there are fewer), as long as those are
    WHOLE or more. Else each class keeps up to WHOLE images and only some of them stay, taken
    in an order that is drawn once for all parts; the last one is cut to what is left. Of each
    class, query and gallery images are taken in turns. An image of several labels counts for
    the first of them by name; those without a label are not counted, and stay.

    Depends on `seed` and on the set of images, not on their order; a smaller `max_images` gives
    a subset of a larger one where both are over WHOLE a class, or both are under.
    """
    if max_images is None:
        return list(images)
    everything = sorted(images, key=lambda each: (each.path, each.image_id or ""))
    rng = np.random.default_rng(seed)
    drawn = [everything[place] for place in rng.permutation(len(everything))]
    names = sorted({_class_of(each) for each in everything if each.labels})
    order = [names[place] for place in rng.permutation(len(names))]
    parts: dict[str, list[SourceImage]] = defaultdict(list)
    for image in drawn:
        parts[_part_of(image) if image.labels else ""].append(image)
    kept = parts.pop("", [])
    for part in parts.values():
        kept += _sample_part(part, order, max_images)
    return sorted(kept, key=lambda each: (each.path, each.image_id or ""))


def _part_of(image: SourceImage) -> str:
    roles = (image.source_split or "all").split("+")
    return roles[0] if roles[0] in ("all", "train", "val") else "test"


def _class_of(image: SourceImage) -> str:
    return min(image.labels)


def _sample_part(
    part: Sequence[SourceImage], order: Sequence[str], max_images: int
) -> list[SourceImage]:
    classes: dict[str, list[SourceImage]] = defaultdict(list)
    for image in part:
        classes[_class_of(image)].append(image)
    limit = max(WHOLE, _equal_share([len(each) for each in classes.values()], max_images))
    kept: list[SourceImage] = []
    for name in (name for name in order if name in classes):
        room = min(limit, max_images - len(kept))
        if room < min(FEWEST_TO_FIND, len(classes[name])):
            break
        kept += _in_turns(classes[name])[:room]
    return kept


def _equal_share(sizes: Sequence[int], total: int) -> int:
    """Return the largest number such that so many of each class, or all it has, are <= `total`."""
    share = 0
    for done, size in enumerate(sorted(sizes)):
        share = total // (len(sizes) - done)
        if share < size:
            return share
        total -= size
    return max(sizes, default=share)


def _in_turns(images: Sequence[SourceImage]) -> list[SourceImage]:
    """Return `images` of one class with those of each role, in their order, in turns."""
    turn: Counter[str] = Counter()
    turns: list[tuple[int, str, int]] = []
    for place, image in enumerate(images):
        roles = str(image.source_split)
        turns.append((turn[roles], roles, place))
        turn[roles] += 1
    return [images[place] for *_, place in sorted(turns)]
