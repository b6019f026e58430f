"""What a dataset says of one image: the boundary between dataset-specific and generic code."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import UserError


class NoImagesError(UserError):
    """There is nothing in the source that the dataset could read."""


@dataclass(frozen=True)
class SourceImage:
    """One image of a dataset, its bytes not yet read.

    path: inside the source, with forward slashes; also the image_id unless one is given.
    labels: names of its classes; without any, it is left out and counted.
    read: returns the encoded bytes, in any format Pillow opens; called in a worker process, so it
        is picklable. None where only the labels are wanted: nothing is stored, and `size` is given.
    group: the super-class, None where the dataset has none.
    source_split: the dataset's own split, as roles joined by '+': `train`, `val`, `query`,
        `gallery`; None where the dataset has none. So a test image that is searched among
        the test images is `query+gallery`, and a training image that is also searched is
        `train+gallery`.
    size: width and height in pixels, where they are known without reading the image.
    box: left, top, right, bottom in pixels; what lies outside is cut away.
    """

    path: str
    labels: tuple[str, ...]
    read: Callable[[], bytes] | None
    group: str | None = None
    source_split: str | None = None
    size: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    image_id: str | None = None
