"""Stanford Online Products: 120,053 photographs of 22,634 things sold on eBay, of 12 kinds.

Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding" (CVPR 2016). The
classes of Ebay_train.txt are for training; those of Ebay_test.txt are different ones, and each of
their images is a query and in the gallery. An image's group is its kind of thing (super-class).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.datasets.counts import SplitCounts
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.published import (
    OfficialOptions,
    find,
    if_official,
    listed_file,
    read_rows,
)
from pipeline.datasets.source_image import SourceImage

LISTS = {"Ebay_train.txt": "train", "Ebay_test.txt": "query+gallery"}
COLUMNS = "image_id class_id super_class_id path"
# The authors' server, whose ftp:// address is on the project's page. They publish no checksum:
# this is the one that pytorch-metric-learning and others compare.
ARCHIVE = "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip"
MD5 = "7f73d41a2f44250d4779881525aea32e"


def read_images(source: Path, _options: OfficialOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images in the two lists; `source` holds Stanford_Online_Products or is it.

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


SOP = Dataset(
    options=OfficialOptions,
    read_images=read_images,
    archives=if_official({ARCHIVE: f"md5:{MD5}"}),
    counts={
        "train": SplitCounts(59_551, 11_318, 12),
        "query+gallery": SplitCounts(60_502, 11_316, 12),
    },
)
