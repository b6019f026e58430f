"""`lookalike add` and `remove`: images without labels, searched beside the others."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.experiments.dvc_adapter.reproduction import reproduce_index
from app.project import require_project
from app.searching.untrusted_images import find_photos, named_errors
from pipeline.config.load import read_params
from pipeline.data.decoding import read_header
from pipeline.data.files import written_whole
from pipeline.errors import UserError, escape_unprintable

PREFIX = "added/"  # of the image_ids, as stages/added.py makes them

logger = logging.getLogger(__name__)


def add_images(root: Path, paths: Sequence[Path]) -> None:
    """Copy images to the folder of added images, and search them from now on.

    A folder keeps its name and its subfolders there. An image that is there already is passed over.

    Raises:
        UserError: a file is not an image, or another image of its name is there already; all of
            these are told, and nothing is copied. Or a stage fails, and the images are there.
    """
    folder = _find_folder(root)
    copies: dict[Path, Path] = {}
    faults: list[str] = []
    for photo, name in _named(paths):
        try:
            to = folder / name
            if copies.setdefault(to, photo) != photo:
                raise UserError(f"{copies[to]} and {photo}: have one name; rename one of them")
            _check(photo, to)
        except UserError as error:
            faults += error.args
    if faults:
        raise UserError(*faults)
    new = {to: photo for to, photo in copies.items() if not to.exists()}
    for to, photo in new.items():
        with written_whole(to) as (unfinished,):
            unfinished.write_bytes(photo.read_bytes())
    logger.info("copied %d of %d images to %s", len(new), len(copies), folder)
    reproduce_index(root)


def remove_images(root: Path, image_ids: Sequence[str]) -> None:
    """Delete added images from their folder, and search them no more.

    Raises:
        UserError: an image_id is not that of an added image; all of these are told, and none is
            deleted. Or a stage fails, and the images are deleted.
    """
    folder = _find_folder(root)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    found = {image_id: files.get(image_id.removeprefix(PREFIX)) for image_id in image_ids}
    unknown = [
        f"{escape_unprintable(image_id)}: not an added image; allowed: {PREFIX} and a file of "
        f"{folder}; an image with a label is dropped by a line of overrides.csv"
        for image_id, path in found.items()
        if not image_id.startswith(PREFIX) or path is None or not path.is_file()
    ]
    if unknown:
        raise UserError(*unknown)
    for path in found.values():
        if path is not None:
            path.unlink()
    logger.info("deleted %d images from %s", len(found), folder)
    reproduce_index(root)


def _find_folder(root: Path) -> Path:
    """Return the project's own folder of added images."""
    require_project(root)
    source = Path(read_params(root / "params.yaml").added.source)
    if source.is_absolute() or not (root / source).is_dir():
        raise UserError(
            f"added.source: found '{source}'; allowed for add and remove: a folder of the project, "
            "such as added; change the images there yourself, and run: dvc repro index"
        )
    return root / source


def _named(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each image file of `paths` with the name that its copy has."""
    for path in paths:
        for photo in find_photos([path]):
            inside = photo.relative_to(path) if path.is_dir() else Path()
            yield photo, Path(path.absolute().name) / inside


def _check(photo: Path, to: Path) -> None:
    """Raise a UserError unless the file is an image, and no other is at `to`."""
    name = escape_unprintable(str(photo))
    try:
        encoded = photo.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
    with named_errors(name):
        read_header(encoded)
    if to.exists() and (not to.is_file() or to.read_bytes() != encoded):
        raise UserError(f"{name}: another image is at {to}; rename one of them")
