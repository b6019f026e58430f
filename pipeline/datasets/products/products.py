"""`products`: images of things to buy, rendered from a seed, so that no download is needed.

A class is one instance of a super-class, such as `mug 03` of `mug`. Its images differ in viewpoint,
light, color balance, ground and clutter. The instances of a super-class have similar colors and
forms, so neither color nor outline alone is enough to distinguish them. One half of the classes is
for training; each image of the other half is a query and in the gallery.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from PIL import Image

from pipeline.datasets.dataset import Dataset
from pipeline.datasets.products.bodies import (
    make_car,
    make_carton,
    make_chair,
    make_shoe,
    make_table,
)
from pipeline.datasets.products.photograph import make_color, photograph
from pipeline.datasets.products.rays import Reals
from pipeline.datasets.products.scene import Part
from pipeline.datasets.products.vessels import (
    make_ball,
    make_bottle,
    make_bowl,
    make_kettle,
    make_lamp,
    make_mug,
    make_vase,
)
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError
from pipeline.options import Section, Side

# Of each option the least value, and why.
LEAST = {
    "classes": (2, "one to train on and one to search"),
    "per_class": (2, "a query and what it should find"),
    "image_size": (16, "pixels, to show anything"),
}
JPEG_QUALITY = 90

GROUPS: dict[str, Callable[[np.random.Generator, Reals], list[Part]]] = {
    "mug": make_mug,
    "bottle": make_bottle,
    "chair": make_chair,
    "car": make_car,
    "vase": make_vase,
    "carton": make_carton,
    "lamp": make_lamp,
    "shoe": make_shoe,
    "bowl": make_bowl,
    "table": make_table,
    "kettle": make_kettle,
    "ball": make_ball,
}


class ProductsOptions(Section):
    """image_size: pixels of a side."""

    classes: Annotated[int, Ge(1), Le(10**6)]
    per_class: Annotated[int, Ge(1), Le(10**6)]
    image_size: Side


def read_images(_source: Path, options: ProductsOptions, seed: int) -> Iterator[SourceImage]:
    """Yield the images, class by class; each is rendered when it is read.

    Raises:
        UserError: an option is below its least value.
    """
    for name, (least, why) in LEAST.items():
        value = getattr(options, name)
        if value < least:
            raise UserError(
                f"data.products.{name}: found {value}; allowed: {least} or more ({why})"
            )
    # At least two instances of each group, so that each group is in both halves.
    groups = list(GROUPS)[: options.classes // 2]
    for number in range(options.classes):
        yield from _class_images(number, groups, options, seed)


def _class_images(
    number: int, groups: list[str], options: ProductsOptions, seed: int
) -> Iterator[SourceImage]:
    instance, place = divmod(number, len(groups))
    group = groups[place]
    label = f"{group} {instance + 1:02d}"
    # Alternating by group too keeps the halves equal where a group has an odd number.
    split = "train" if (instance + place) % 2 == 0 else "query+gallery"
    for shot in range(1, options.per_class + 1):
        yield SourceImage(
            path=f"{group}/{label}/{shot:02d}.jpg",
            labels=(label,),
            read=partial(render_jpeg, group, number, shot, size=options.image_size, seed=seed),
            group=group,
            source_split=split,
        )


def render_jpeg(group: str, number: int, shot: int, *, size: int, seed: int) -> bytes:
    """Return image `shot` (from 1) of class `number`, (size, size, 3), as JPEG."""
    rng = np.random.default_rng([seed, number, shot])
    pixels = photograph(make_product(group, number, seed), rng, size)
    image = Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


@lru_cache(maxsize=8)  # the images of a class are mostly rendered one after the other
def make_product(group: str, number: int, seed: int) -> list[Part]:
    """Return the parts of class `number`, sampled with the seed of its shot 0."""
    rng = np.random.default_rng([seed, number, 0])
    return GROUPS[group](rng, _sample_palette(group, rng))


def _sample_palette(group: str, rng: np.random.Generator) -> Reals:
    """Return four colors, (4, 3), of the few hues of a group."""
    hues = (list(GROUPS).index(group) * 0.37 + np.array([0.0, 0.1, 0.33, 0.5, 0.7])) % 1
    colors = []
    for _ in range(4):
        hue = rng.choice(hues) + rng.normal(0, 0.02)
        saturation = rng.choice([0.1, 0.6, 0.85])
        colors.append(make_color(hue % 1, saturation, rng.choice([0.35, 0.6, 0.9])))
    return np.stack(colors)


PRODUCTS = Dataset(options=ProductsOptions, read_images=read_images, rendered=True)
