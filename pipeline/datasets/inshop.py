"""In-shop Clothes Retrieval: 52,712 photographs of 7,982 pieces of clothing, from many sides.

Liu et al., "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich Annotations"
(CVPR 2016). The official list_eval_partition.txt says who is trained on, who asks and who is
searched; items of training are not in the test. An image's group is its kind of clothing.

It is handed out by hand (https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html),
so there is nothing to fetch. Read are the images of img.zip, padded to 256 x 256. To these the
boxes of list_bbox_inshop.txt belong; they do not fit those of img_highres.zip, which are not read.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config.choices import Count, Options
from pipeline.datasets.counts import PartCounts
from pipeline.datasets.published import find, listed_file, read_rows, whole
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError, name_choices

OPTIONS: Options = {"boxes": bool, "max_images": Count | None}

ROLES = ("train", "query", "gallery")
COUNTS = {
    "train": PartCounts(25_882, 3_997),
    "query": PartCounts(14_218, 3_985),
    "gallery": PartCounts(12_612, 3_985),
}
BOX_COLUMNS = "image_name clothes_type pose_type x_1 y_1 x_2 y_2"
LAYOUT = "data.name inshop: list_eval_partition.txt, img/ of img.zip"

Box = tuple[int, int, int, int]


def read_images(source: Path, options: Mapping[str, Any], *, seed: int) -> Iterator[SourceImage]:  # noqa: ARG001
    """Yield the images of the partition; `boxes` cuts each to its box.

    The lists lie in `source` or, as they are handed out, in its Eval/ and Anno/, and img/ in
    `source` or its Img/.

    Raises:
        UserError: a list or an image is missing, or a row is not of the lists' form.
    """
    otherwise = f"{LAYOUT} and, with data.inshop.boxes, list_bbox_inshop.txt; set data.source"
    partition = find(source, "list_eval_partition.txt", otherwise=otherwise)
    root = find(source, "img", otherwise=otherwise).parent
    boxes: dict[str, Box] = {}
    if options["boxes"]:
        boxes = _read_boxes(find(source, "list_bbox_inshop.txt", otherwise=otherwise))
    columns = "image_name item_id evaluation_status"
    for where, (name, item, status) in read_rows(partition, columns, skip=2):
        if status not in ROLES:
            raise UserError(f"{where}: evaluation_status: {name_choices(status, ROLES)}")
        if options["boxes"] and name not in boxes:
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
        left, top, right, bottom = (whole(number, where=where) for number in numbers)
        if left >= right or top >= bottom:
            raise UserError(
                f"{where}: found the box {left} {top} {right} {bottom}; allowed: x_1 < x_2 and "
                "y_1 < y_2; correct it"
            )
        boxes[name] = (left, top, right, bottom)
    return boxes
