"""Cars196: 16,185 photographs of 196 models of cars.

Krause et al., "3D Object Representations for Fine-Grained Categorization" (3dRR 2013). As in
metric learning since Song et al. (CVPR 2016), classes 1-98 are for training, and each image of
classes 99-196 is a query and in the gallery. The dataset's train and test sets (the field `test` of
its annotations) are for classification, where both have every class, and are not read. Images
stay whole: no bounding box is applied.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.datasets.counts import SplitCounts
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.published import OfficialOptions, find, if_official, listed_file
from pipeline.datasets.source_image import SourceImage
from pipeline.errors import UserError, one_line
from pipeline.stopping import WorkerPool

TRAINING_CLASSES = 98  # the first ones
# The authors' server, which recently did not always answer; then set data.source to a copy. They
# publish no checksums: these are the ones that pytorch-metric-learning and others compare.
ADDRESS = "http://ai.stanford.edu/~jkrause/car196"
IMAGES_MD5 = "d5c8f0aa497503f355e17dc7886c3f14"
ANNOTATIONS_MD5 = "b407c6086d669747186bd1d764ff9dbc"


def read_images(source: Path, _options: OfficialOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of cars_annos.mat, which is beside the folder car_ims.

    Raises:
        UserError: the annotations or an image are missing, or they are not of that form.
    """
    path = find(
        source,
        "cars_annos.mat",
        otherwise="data.name cars196: a folder or an archive with cars_annos.mat and car_ims/; set "
        "data.source to it, or data.cars196.official: true to fetch it",
    )
    for number, (name, class_id, class_name) in enumerate(_read_annotations(path), start=1):
        file = listed_file(path.parent, name, where=f"{path}: annotation {number}")
        yield SourceImage(
            path=name,
            labels=(f"{class_id:03d} {class_name}",),
            read=partial(Path.read_bytes, file),
            source_split="train" if class_id <= TRAINING_CLASSES else "query+gallery",
        )


def _read_annotations(path: Path) -> list[tuple[str, int, str]]:
    """Return of each image its path, the number of its class (from 1) and the class's name."""
    try:
        with WorkerPool(1) as pool:  # damaged bytes may make scipy end its process
            return pool.submit(_load_annotations, path).result()
    except Exception as error:  # on another format scipy may raise any exception
        raise UserError(
            f"{path}: not annotations as Cars196 has them ({one_line(error)}); get a whole copy "
            "of it"
        ) from None


def _load_annotations(path: Path) -> list[tuple[str, int, str]]:
    from scipy.io import loadmat  # takes half a second, and only this dataset needs it

    content = loadmat(path, simplify_cells=True)
    names = [str(name) for name in content["class_names"]]
    return [
        (str(each["relative_im_path"]), int(each["class"]), names[int(each["class"]) - 1])
        for each in content["annotations"]
    ]


CARS196 = Dataset(
    options=OfficialOptions,
    read_images=read_images,
    archives=if_official({f"{ADDRESS}/car_ims.tgz": f"md5:{IMAGES_MD5}"}),
    files=if_official({"cars_annos.mat": (f"{ADDRESS}/cars_annos.mat", f"md5:{ANNOTATIONS_MD5}")}),
    counts={"train": SplitCounts(8_054, 98), "query+gallery": SplitCounts(8_131, 98)},
)
