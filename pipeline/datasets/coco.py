"""COCO: images of everyday scenes, each with the labels of all objects in it, of 80 categories.

Lin et al., "Microsoft COCO: Common Objects in Context" (ECCV 2014). The official
`instances_{train,val}<year>.json` and folders of images are read. An image's labels are the
categories of its annotations, its group is the super-category of its largest object. The images of
train are for training; each image of val is a query and in the gallery.
"""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

import msgspec

from pipeline.datasets.dataset import Dataset
from pipeline.datasets.published import OfficialOptions, find
from pipeline.datasets.source_image import NoImagesError, SourceImage
from pipeline.errors import UserError, name_first

ROLES = {"train": "train", "val": "query+gallery"}
ADDRESS = "http://images.cocodataset.org"
# MD5: the project publishes no checksums, these are the ones that its users compare.
ARCHIVES = {
    "annotations/annotations_trainval2014.zip": "0a379cfc70b0e71301e0f377548639bd",
    "zips/train2014.zip": "0da8c0bd3d6becc4dcb32757491aca88",
    "zips/val2014.zip": "a3d79f5ed8d289b7a7554ce06a5782b3",
    "annotations/annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
    "zips/train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
    "zips/val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
}

# pandas writes 640.0 for 640 where another value is missing.
_Side = msgspec.Meta(ge=1, lt=2**31)
Pixels = Annotated[int, _Side] | Annotated[float, _Side]


class CocoOptions(OfficialOptions):
    """images: whether to read the images; without them, only their labels and sizes are packed."""

    year: Literal[2014, 2017]
    images: bool


# Only these fields are kept: the outlines of objects, nine tenths of the file, are skipped.
class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: Pixels | None = None
    height: Pixels | None = None


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    area: float | None = None


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str
    supercategory: str | None = None


_Identified = TypeVar("_Identified", _Image, _Category)


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def archives(options: CocoOptions) -> Mapping[str, str]:
    """Return {URL: checksum} of the official archives, if they are to be fetched."""
    if not options.official:
        return {}
    return {
        f"{ADDRESS}/{name}": f"md5:{md5}"
        for name, md5 in ARCHIVES.items()
        if f"{options.year}.zip" in name and (options.images or name.startswith("annotations/"))
    }


def read_images(source: Path, options: CocoOptions, _seed: int) -> Iterator[SourceImage]:
    """Yield the images of `source`, a folder with annotations/, train<year>/ and val<year>/, or
    one around it. An image without annotations has no labels.

    Without annotations of val, the images of train have no split. If the option `images` is false,
    no image file is needed, and `SourceImage.read` is None.

    Raises:
        UserError: the annotations of train or a folder of images are missing, or annotations
            are not of COCO's form, declare an id twice or name one that they do not declare.
    """
    root = _root(source, options.year)
    names = [name for name in ROLES if (root / _annotations(name, options.year)).is_file()]
    for name in names:
        yield from _read_split(
            root / _annotations(name, options.year),
            root / f"{name}{options.year}",
            with_files=options.images,
            source_split=ROLES[name] if "val" in names else None,
        )


def _annotations(name: str, year: int) -> str:
    return f"annotations/instances_{name}{year}.json"


def _root(source: Path, year: int) -> Path:
    allowed = (
        f"data.name coco: a folder or an archive with annotations/, train{year}/ and val{year}/; "
        "set data.source to it, or data.coco.year, or data.coco.official: true to fetch it"
    )
    return find(source, _annotations("train", year), otherwise=allowed).parent.parent


def _read_split(
    annotations: Path, folder: Path, *, with_files: bool, source_split: str | None
) -> Iterator[SourceImage]:
    if with_files and not folder.is_dir():
        raise NoImagesError(
            f"{folder}: no such folder, but there is {annotations.name}; allowed: both, or "
            "data.coco.images: false; put the images there"
        )
    instances = _decode(annotations)
    if not with_files:
        _check_sizes(instances.images, where=annotations)
    labels, groups = _labels_and_groups(instances, where=annotations)
    for image in instances.images:
        _check_name(image.file_name, where=annotations)
        file = folder / image.file_name
        yield SourceImage(
            path=f"{folder.name}/{image.file_name}",
            labels=tuple(sorted(labels[image.id])),
            read=partial(Path.read_bytes, file) if with_files else None,
            group=groups.get(image.id),
            source_split=source_split,
            size=_size(image),
        )


def _size(image: _Image) -> tuple[int, int] | None:
    if image.width is None or image.height is None:
        return None
    return int(image.width), int(image.height)


def _check_sizes(images: Sequence[_Image], *, where: Path) -> None:
    if without := [image.file_name for image in images if _size(image) is None]:
        raise UserError(
            f"{where}: found no width and height of {name_first(without)}; allowed with "
            "data.coco.images false: both for each image; add them, or set data.coco.images: true"
        )


def _decode(path: Path) -> _Instances:
    try:
        return _parse(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"{path}: not annotations as COCO writes them ({error}); allowed: its own "
            "instances_*.json, or a file of that form; get a whole copy, or correct it"
        ) from None


def _parse(content: bytes) -> _Instances:
    try:
        return msgspec.json.decode(content, type=_Instances)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Python writes NaN and Infinity, which JSON has not, for a number that is not known; its
        # own parser reads them, but takes several times the time and memory.
        if b"NaN" not in content and b"Infinity" not in content:
            raise
        try:
            plain = json.loads(content, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            plain = None
        if plain is None:
            raise
        return msgspec.convert(plain, type=_Instances)


def _check_name(name: str, *, where: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise UserError(
            f"{where}: found file_name {name!r}, which cannot be in the folder of images; "
            "allowed: a path relative to it; correct it"
        )


def _labels_and_groups(
    instances: _Instances, *, where: Path
) -> tuple[dict[int, set[str]], dict[int, str | None]]:
    """Return for each image id: the names of its categories; the super-category of its largest
    object, where an area is given."""
    categories = _by_id(instances.categories, what="categories", where=where)
    images = _by_id(instances.images, what="images", where=where)
    labels: dict[int, set[str]] = {image_id: set() for image_id in images}
    largest: dict[int, _Annotation] = {}
    for each in instances.annotations:
        if each.category_id not in categories:
            raise _undeclared("category_id", each.category_id, among="categories", where=where)
        if each.image_id not in images:
            raise _undeclared("image_id", each.image_id, among="images", where=where)
        labels[each.image_id].add(categories[each.category_id].name)
        if each.area is not None:
            before = largest.get(each.image_id)
            if before is None or before.area is None or each.area > before.area:
                largest[each.image_id] = each
    return labels, {
        image_id: categories[each.category_id].supercategory for image_id, each in largest.items()
    }


def _by_id(items: Sequence[_Identified], *, what: str, where: Path) -> dict[int, _Identified]:
    by_id = {item.id: item for item in items}
    if len(by_id) < len(items):
        twice = next(item.id for item in items if by_id[item.id] is not item)
        raise UserError(
            f"{where}: '{what}' has the id {twice} twice; allowed: each once; remove one"
        )
    return by_id


def _undeclared(key: str, found: int, *, among: str, where: Path) -> UserError:
    return UserError(
        f"{where}: an annotation has the {key} {found}, which is not declared; allowed: the ids in "
        f"'{among}'; correct the file"
    )


COCO = Dataset(options=CocoOptions, read_images=read_images, archives=archives)
