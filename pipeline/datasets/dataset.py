"""What a dataset is: one object, which has all that the download stage needs to know of it.

A new one is a file of this folder with a `Dataset`, and a line of DATASETS in its __init__.py.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.datasets.counts import SplitCounts
from pipeline.datasets.source_image import SourceImage
from pipeline.options import Section

Options = TypeVar("Options", bound=Section)
# "sha256:…" or "md5:…"; None accepts any content.
Checksum = str | None

logger = logging.getLogger(__name__)


def _nothing(*_: Any) -> Mapping[str, Any]:
    return {}


def _log_unlabelled(images: Sequence[SourceImage], _source: str) -> None:
    count = sum(not image.labels for image in images)
    if 0 < count < len(images):
        logger.info("left out %d images without a label", count)


@dataclass(frozen=True, kw_only=True)
class Dataset(Generic[Options]):
    """A dataset: the type of its block under `data:` in params.yaml, and functions of that block.

    options: the type of the block.
    read_images: (source, options, seed) -> a SourceImage for each image.
    archives: options -> {URL: checksum}, archives to fetch and unpack instead of the source.
    files: options -> {name: (URL, checksum)}, files to fetch and put beside the unpacked archives
        under these names, which may have slashes.
    counts: the official numbers of each split, by the roles of `SourceImage.source_split`; None
        where there are none to check.
    count_unread: (source, options) -> {suffix: number} of the files that are not read, and are or
        may be images.
    tell_unlabelled: (images, what they were read from) -> None; says how many are left out because
        they have no label, unlike others.
    rendered: whether the images are rendered, so that there is no source to read.
    """

    options: type[Options]
    read_images: Callable[[Path, Options, int], Iterator[SourceImage]]
    archives: Callable[[Options], Mapping[str, Checksum]] = _nothing
    files: Callable[[Options], Mapping[str, tuple[str, Checksum]]] = _nothing
    counts: Mapping[str, SplitCounts] | None = None
    count_unread: Callable[[Path, Options], Mapping[str, int]] = _nothing
    tell_unlabelled: Callable[[Sequence[SourceImage], str], None] = _log_unlabelled
    rendered: bool = False

    def reads_source(self, options: Options) -> bool:
        """Whether the images are read from `data.source`: neither rendered nor fetched."""
        return not self.rendered and not self.archives(options) and not self.files(options)
