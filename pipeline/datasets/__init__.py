"""Datasets by name. A new one is one file here, one line of DATASETS and a block in params.yaml.

A dataset module has `OPTIONS`, the types of its block under `data:`, and
`pictures(source, options, seed)`, which yields a `Picture` for each picture it has. It may have
`archives(options)`, URL -> checksum ("sha256:…", "md5:…" or None) of what is to be fetched and
unpacked in place of the source; and `passed_over(source, options)`, the numbers of likely pictures
that it does not read, by suffix.
"""

from types import ModuleType

from pipeline.datasets import coco, folder, mit_split, products

DATASETS: dict[str, ModuleType] = {
    "coco": coco,
    "folder": folder,
    "mit_split": mit_split,
    "products": products,
}
