"""Stanford Online Products: 120,053 photographs of 22,634 things sold on eBay, of 12 kinds.

Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding" (CVPR 2016). The
classes of Ebay_train.txt are trained on; those of Ebay_test.txt are others, and each of their
images is searched among all of them. An image's group is its kind of thing (super-class).
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.choices import Count, Options
from pipeline.datasets.counts import PartCounts
from pipeline.datasets.published import find, if_official, listed_file, read_rows
from pipeline.datasets.source_image import SourceImage

OPTIONS: Options = {"official": bool, "max_images": Count | None}

LISTS = {"Ebay_train.txt": "train", "Ebay_test.txt": "query+gallery"}
COLUMNS = "image_id class_id super_class_id path"
COUNTS = {"train": PartCounts(59_551, 11_318, 12), "query+gallery": PartCounts(60_502, 11_316, 12)}
# The authors' server, whose ftp:// address the project's page names. They publish no checksum:
# this is the one that pytorch-metric-learning and others have long compared.
ARCHIVE = "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip"
MD5 = "7f73d41a2f44250d4779881525aea32e"
archives = if_official({ARCHIVE: f"md5:{MD5}"})


def read_images(source: Path, options: Mapping[str, Any], *, seed: int) -> Iterator[SourceImage]:  # noqa: ARG001
    """Yield the images that the two lists name; `source` holds Stanford_Online_Products or is it.

    Raises:
        UserError: a list or an image is missing, or a row is not of the lists' form.
    """
    root = find(
        source,
        "Ebay_train.txt",
        otherwise="data.name sop: the folder Stanford_Online_Products or its .zip; set data.source "
        "to it, or data.sop.official: true to fetch it",
    ).parent
    for name, roles in LISTS.items():
        for where, (_, label, _, path) in read_rows(root / name, COLUMNS, skip=1):
            file = listed_file(root, path, where=where)
            group = path.split("/")[0].removesuffix("_final")
            yield SourceImage(
                path=path,
                labels=(f"{group} {label}",),
                read=partial(Path.read_bytes, file),
                group=group,
                source_split=roles,
            )
