"""One image as a dataset gives it: the boundary between dataset-specific and generic code."""

from collections.abc import Callable
from dataclasses import dataclass
from unicodedata import normalize

from pipeline.errors import UserError


class NoImagesError(UserError):
    """The source holds nothing that the dataset can read."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image of a dataset, its bytes not yet read.

    path: inside the source, with forward slashes; also the image_id unless one is given.
    labels: names of its classes; an image without any is left out and counted. Here and in
        `group`, accented letters become one character each (Unicode's NFC): macOS writes two, and
        what reads the same is one class.
    read: returns the encoded bytes, in a format of `decode`; called in a worker process, so
        it must be picklable. None where only the labels are wanted: nothing is stored, and `size`
        is given.
    group: the super-class, None where the dataset has none.
    source_split: the official split, as roles joined by '+': `train`, `val`, `query`, `gallery`;
        None where the dataset has none. For example, `query+gallery` is a test image that other
        test images may find, and `train+gallery` a training image that test images may find.
    size: width and height in pixels, where they are known without reading the image.
    box: left, top, right, bottom in pixels; the image is cropped to it.
    """

    path: str
    labels: tuple[str, ...]
    read: Callable[[], bytes] | None
    group: str | None = None
    source_split: str | None = None
    size: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    image_id: str | None = None

    def __post_init__(self) -> None:
        labels = tuple(normalize("NFC", name) for name in self.labels)
        object.__setattr__(self, "labels", labels)
        if self.group is not None:
            object.__setattr__(self, "group", normalize("NFC", self.group))

    @property
    def id(self) -> str:
        """Its image_id: the path unless one is given."""
        return self.path if self.image_id is None else self.image_id
