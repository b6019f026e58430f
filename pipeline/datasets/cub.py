"""CUB-200-2011: 11,788 photographs of 200 species of birds.

Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset" (2011). As in metric learning since Song et
al. (CVPR 2016), the classes 1-100 are trained on, and each image of the classes 101-200 is
searched among all of these. The dataset's own train_test_split.txt is for classification, has
every class on both sides, and is not read. Images stay whole: no bounding box is applied.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.choices import Count, Options
from pipeline.datasets.counts import PartCounts
from pipeline.datasets.published import find, if_official, listed_file, read_rows, whole
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

OPTIONS: Options = {"official": bool, "max_images": Count | None}

TRAINING_CLASSES = 100  # the first ones
COUNTS = {"train": PartCounts(5_864, 100), "query+gallery": PartCounts(5_924, 100)}
# CaltechDATA, where the authors' page now leads, shows this MD5 beside the file.
ARCHIVE = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
MD5 = "97eceeb196236b17998738112f37df78"
archives = if_official({ARCHIVE: f"md5:{MD5}"})


def read_images(source: Path, options: Mapping[str, Any], *, seed: int) -> Iterator[SourceImage]:  # noqa: ARG001
    """Yield the images of images.txt; `source` holds the folder CUB_200_2011 or is it.

    Raises:
        UserError: a list or an image is missing, or a row is not of the lists' form.
    """
    listing = find(
        source,
        "images.txt",
        otherwise="data.name cub: the folder CUB_200_2011 or its .tgz; set data.source to it, or "
        "data.cub.official: true to fetch it",
    )
    labels = listing.with_name("image_class_labels.txt")
    class_of = dict(row for _, row in read_rows(labels, "image_id class_id"))
    for where, (image_id, path) in read_rows(listing, "image_id path"):
        if image_id not in class_of:
            raise UserError(
                f"{where}: image {image_id} has no class in {labels.name}; get a whole copy of it"
            )
        number = whole(class_of[image_id], where=f"{labels}: image {image_id}")
        file = listed_file(listing.parent / "images", path, where=where)
        yield SourceImage(
            path=path,
            labels=(path.split("/")[0],),
            read=partial(Path.read_bytes, file),
            source_split="train" if number <= TRAINING_CLASSES else "query+gallery",
        )
