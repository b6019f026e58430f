"""Datasets by name. A new one is one file here, one line of DATASETS and a block in params.yaml.

A dataset module has `OPTIONS`, the types of its block under `data:`, and
`read_images(source, options, seed)`, which yields a `SourceImage` for each image. It may have
`archives(options)`, URL -> checksum ("sha256:…", "md5:…" or None) of what is to be fetched and
unpacked in place of the source; `files(options)`, name -> URL and checksum of what is to be fetched
and laid beside that as it is; `COUNTS`, the official numbers of each part, which are checked; and
`passed_over(source, options)`, the numbers of likely images that it does not read, by suffix.

Of each dataset that has an option `max_images`, a subset may be drawn; `subset.py` has the rule.
"""

from types import ModuleType

from pipeline.datasets import (
    cars196,
    cifar10,
    coco,
    cub,
    fashion_mnist,
    folder,
    huggingface,
    inshop,
    mit_split,
    sop,
)
from pipeline.datasets.products import dataset as products

DATASETS: dict[str, ModuleType] = {
    "cars196": cars196,
    "cifar10": cifar10,
    "coco": coco,
    "cub": cub,
    "fashion_mnist": fashion_mnist,
    "folder": folder,
    "huggingface": huggingface,
    "inshop": inshop,
    "mit_split": mit_split,
    "products": products,
    "sop": sop,
}
