"""In-shop Clothes Retrieval: 52,712 photographs of 7,982 pieces of clothing, from many sides.

Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich Annotations"
(CVPR 2016). The official list_eval_partition.txt gives the training, query and gallery images; no
item is in both training and test. An image's group is its kind of clothing.

One gets it on request (https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html), so
there is nothing to fetch. The images of img.zip are read, padded to 256 x 256. The boxes of
list_bbox_inshop.txt belong to these; they do not fit those of img_highres.zip, which are not read.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.datasets.counts import SplitCounts
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.published import find, listed_file, parse_whole, read_rows
from pipeline.datasets.source_image import SourceImage
from pipeline.datasets.subset import SubsetOptions
from pipeline.errors import UserError, name_choices

ROLES = ("train", "query", "gallery")
BOX_COLUMNS = "image_name clothes_type pose_type x_1 y_1 x_2 y_2"
LAYOUT = "data.name inshop: list_eval_partition.txt, img/ of img.zip"

Box = tuple[int, int, int, int]


class InshopOptions(SubsetOptions):
    boxes: bool


def read_images(source: Path, options: InshopOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of the partition; with the option `boxes`, each is cropped to its box.

    The lists are in `source` or, as published, in its Eval/ and Anno/; img/ is in `source` or its
    Img/.

    Raises:
        UserError: a list or an image is missing, or a row is not of the lists' form.
    """
    otherwise = f"{LAYOUT} and, with data.inshop.boxes, list_bbox_inshop.txt; set data.source"
    partition = find(source, "list_eval_partition.txt", otherwise=otherwise)
    root = find(source, "img", otherwise=otherwise).parent
    boxes: dict[str, Box] = {}
    if options.boxes:
        boxes = _read_boxes(find(source, "list_bbox_inshop.txt", otherwise=otherwise))
    columns = "image_name item_id evaluation_status"
    for where, (name, item, status) in read_rows(partition, columns, skip=2):
        if status not in ROLES:
            raise UserError(f"{where}: evaluation_status: {name_choices(status, ROLES)}")
        if options.boxes and name not in boxes:
            raise UserError(
                f"{where}: '{name}' has no box in list_bbox_inshop.txt; allowed: a box for each, "
                "or data.inshop.boxes: false; get a whole copy of it"
            )
        yield SourceImage(
            path=name,
            labels=(item,),
            read=partial(Path.read_bytes, listed_file(root, name, where=where)),
            group="/".join(name.split("/")[1:3]),  # img/WOMEN/Dresses/id_00000002/02_1_front.jpg
            source_split=status,
            box=boxes.get(name),
        )


def _read_boxes(table: Path) -> dict[str, Box]:
    """Return by image: left, top, right, bottom in pixels."""
    boxes: dict[str, Box] = {}
    for where, (name, _, _, *numbers) in read_rows(table, BOX_COLUMNS, skip=2):
        left, top, right, bottom = (parse_whole(number, where=where) for number in numbers)
        if left >= right or top >= bottom:
            raise UserError(
                f"{where}: found the box {left} {top} {right} {bottom}; allowed: x_1 < x_2 and "
                "y_1 < y_2; correct it"
            )
        boxes[name] = (left, top, right, bottom)
    return boxes


INSHOP = Dataset(
    options=InshopOptions,
    read_images=read_images,
    counts={
        "train": SplitCounts(25_882, 3_997),
        "query": SplitCounts(14_218, 3_985),
        "gallery": SplitCounts(12_612, 3_985),
    },
)
