"""A small dataset drawn from a large one, its classes as whole as its size allows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.datasets.source_image import Picture

# A class of no more pictures than this stays whole, or goes whole: a query is to have something
# to find, and a batch several pictures of a class.
WHOLE = 20
FEWEST_TO_FIND = 2


def draw_subset(pictures: Iterable[Picture], max_images: int | None, *, seed: int) -> list[Picture]:
    """Return at most `max_images` of each part of `pictures`, balanced over classes; None: all.

    A part is what is trained on (with or without being searched), the dataset's own val, or what
    asks and is searched; a dataset without a split of its own is one part. All classes stay,
    with equally many pictures each (all of them where there are fewer), as long as those are
    WHOLE or more. Else each class keeps up to WHOLE pictures and only some of them stay, taken
    in an order that is drawn once for all parts; the last one is cut to what is left. Of each
    class, query and gallery pictures are taken in turns. A picture of several labels counts for
    the first of them by name; those without a label are not counted, and stay.

    Depends on `seed` and on the set of pictures, not on their order; a smaller `max_images` gives
    a subset of a larger one where both are over WHOLE a class, or both are under.
    """
    if max_images is None:
        return list(pictures)
    everything = sorted(pictures, key=lambda each: (each.path, each.image_id or ""))
    rng = np.random.default_rng(seed)
    drawn = [everything[place] for place in rng.permutation(len(everything))]
    names = sorted({_class_of(each) for each in everything if each.labels})
    order = [names[place] for place in rng.permutation(len(names))]
    parts: dict[str, list[Picture]] = defaultdict(list)
    for picture in drawn:
        parts[_part_of(picture) if picture.labels else ""].append(picture)
    kept = parts.pop("", [])
    for part in parts.values():
        kept += _draw_part(part, order, max_images)
    return sorted(kept, key=lambda each: (each.path, each.image_id or ""))


def _part_of(picture: Picture) -> str:
    roles = (picture.source_split or "all").split("+")
    return roles[0] if roles[0] in ("all", "train", "val") else "test"


def _class_of(picture: Picture) -> str:
    return min(picture.labels)


def _draw_part(part: Sequence[Picture], order: Sequence[str], max_images: int) -> list[Picture]:
    classes: dict[str, list[Picture]] = defaultdict(list)
    for picture in part:
        classes[_class_of(picture)].append(picture)
    limit = max(WHOLE, _equal_share([len(each) for each in classes.values()], max_images))
    kept: list[Picture] = []
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


def _in_turns(pictures: Sequence[Picture]) -> list[Picture]:
    """Return `pictures` of one class with those of each role, in their order, in turns."""
    turn: Counter[str] = Counter()
    turns: list[tuple[int, str, int]] = []
    for place, picture in enumerate(pictures):
        roles = str(picture.source_split)
        turns.append((turn[roles], roles, place))
        turn[roles] += 1
    return [pictures[place] for *_, place in sorted(turns)]
