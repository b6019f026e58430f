"""CUB-200-2011: 11,788 photographs of 200 species of birds.

Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset" (2011). As in metric learning since Song et
al. (CVPR 2016), classes 1-100 are for training, and each image of classes 101-200 is a query and
in the gallery. The dataset's train_test_split.txt is for classification, where train and test have
every class, and is not read. Images stay whole: no bounding box is applied.
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
    parse_whole,
    read_rows,
)
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError

TRAINING_CLASSES = 100  # the first ones
# CaltechDATA, which the authors' page now links to, shows this MD5 beside the file.
ARCHIVE = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
MD5 = "97eceeb196236b17998738112f37df78"


def read_images(source: Path, _options: OfficialOptions, _seed: int) -> Iterator[SourceImage]:
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
        number = parse_whole(class_of[image_id], where=f"{labels}: image {image_id}")
        file = listed_file(listing.parent / "images", path, where=where)
        yield SourceImage(
            path=path,
            labels=(path.split("/")[0],),
            read=partial(Path.read_bytes, file),
            source_split="train" if number <= TRAINING_CLASSES else "query+gallery",
        )


CUB = Dataset(
    options=OfficialOptions,
    read_images=read_images,
    archives=if_official({ARCHIVE: f"md5:{MD5}"}),
    counts={"train": SplitCounts(5_864, 100), "query+gallery": SplitCounts(5_924, 100)},
)
