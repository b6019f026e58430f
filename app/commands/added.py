"""`lookalike add` and `remove`: images without labels, searched beside the others."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from app.experiments.dvc_adapter.reproduction import reproduce_index
from app.project import require_project
from app.searching.untrusted_images import find_photos, read_photo
from pipeline.config.load import read_params
from pipeline.data.files import written_whole
from pipeline.datasets.added import PREFIX, list_added
from pipeline.datasets.class_folders import is_image
from pipeline.datasets.parquet_images import is_parquet
from pipeline.datasets.source_files import is_hidden, relative_name
from pipeline.errors import UserError, escape_unprintable

logger = logging.getLogger(__name__)


class _UnreadableError(UserError):
    """A file is no image that can be decoded."""


def add_images(root: Path, paths: Sequence[Path]) -> None:
    """Copy images to the folder of added images, and search them from now on.

    A folder keeps its name and its subfolders there. An image that is there already is passed over,
    and so is one in a folder that cannot be decoded, with a warning.

    Raises:
        UserError: a named file is not an image that the pipeline reads, or something else of the
            name of an image is there already; all of these are told, and nothing is copied. Or a
            stage fails.
    """
    folder = _find_folder(root)
    with _one_at_a_time(root):
        _copy(paths, folder)
        reproduce_index(root)


def _copy(paths: Sequence[Path], folder: Path) -> None:
    copies: dict[Path, Path] = {}
    faults: list[str] = []
    skipped = 0
    for photo, name, in_folder in _named(paths, folder):
        try:
            to = folder / name
            _check(photo, to, folder)
            if copies.setdefault(to, photo).read_bytes() != photo.read_bytes():
                raise UserError(f"{copies[to]} and {photo}: have one name; rename one of them")
        except UserError as error:
            if in_folder and isinstance(error, _UnreadableError):
                logger.warning("%s; left out", error)
                skipped += 1
            else:
                faults += error.args
    if faults:
        raise UserError(*faults)
    new = {to: photo for to, photo in copies.items() if not to.exists()}
    for to, photo in new.items():
        with written_whole(to) as (unfinished,):
            unfinished.write_bytes(photo.read_bytes())
    there = len(copies) - len(new)
    logger.info(
        "copied %s to %s%s%s",
        _count(len(new)),
        folder,
        f"; {_count(there)} there already" if there else "",
        f"; {_count(skipped)} left out" if skipped else "",
    )


def _count(images: int) -> str:
    return f"{images:,} image{'' if images == 1 else 's'}"


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Wait for another `add` or `remove` in this project: DVC refuses two runs at a time."""
    path = root / ".dvc/tmp/lookalike-added.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another add or remove is running here; waiting for its end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove_images(root: Path, image_ids: Sequence[str]) -> None:
    """Delete added images from their folder, and search them no more.

    image_ids: of images, or of folders of them, as added/holiday.

    Raises:
        UserError: an image_id is not that of an added image; all of these are told, and none is
            deleted. Or a stage fails, and the images are deleted.
    """
    folder = _find_folder(root)
    files = dict(list_added(folder))
    found = {each: _find_in(each, files) for each in image_ids}
    unknown = [_describe_unknown(each, folder) for each, known in found.items() if not known]
    removed = sorted({image_id for known in found.values() for image_id in known})
    own = folder.resolve()
    linked = [
        f"{image_id}: behind a link out of {folder}; allowed: a file in it; remove the link"
        for image_id in removed
        if own not in (files[image_id].parent / "file").resolve().parents
    ]
    if faults := [*unknown, *linked]:
        raise UserError(*faults)
    with _one_at_a_time(root):
        for image_id in removed:
            files[image_id].unlink(missing_ok=True)  # by the one that was waited for
        logger.info("deleted %s from %s", _count(len(removed)), folder)
        reproduce_index(root)


def _find_in(image_id: str, files: Mapping[str, Path]) -> list[str]:
    """Return the image of this image_id, or those of the folder of this name."""
    if image_id in files:
        return [image_id]
    if f"{image_id.rstrip('/')}/" == PREFIX:  # all of them: too easily said
        return []
    return [each for each in files if each.startswith(f"{image_id.rstrip('/')}/")]


def _describe_unknown(image_id: str, folder: Path) -> str:
    name = escape_unprintable(image_id)
    if any(is_parquet(folder / path) for path in Path(image_id.removeprefix(PREFIX)).parents):
        return (
            f"{name}: a row of a Parquet file; allowed: image files; delete the row or the file "
            "yourself, and run: dvc repro index"
        )
    return (
        f"{name}: not an added image; allowed: the image_id of an image in {folder}, as lookalike "
        "query prints it; an image with a label is dropped by a line of overrides.csv"
    )


def _find_folder(root: Path) -> Path:
    """Return the project's own folder of added images."""
    require_project(root)
    source = Path(read_params(root / "params.yaml").added.source)
    inside = root.resolve() in (root / source).resolve().parents
    if source.is_absolute() or not inside or not (root / source).is_dir():
        raise UserError(
            f"added.source: found '{source}'; allowed for add and remove: a folder in the project, "
            "such as added; change the images there yourself, and run: dvc repro index"
        )
    return root / source


def _named(paths: Sequence[Path], folder: Path) -> Iterator[tuple[Path, Path, bool]]:
    """Yield each image file of `paths`, the name that its copy has in `folder`, and whether it is
    of a folder, not named itself."""
    own = folder.resolve()
    for path in paths:
        real = path.resolve()
        if real in own.parents:
            raise UserError(
                f"{path}: holds {folder}, where images are copied to; allowed: other folders"
            )
        # What is in the folder already has its name.
        is_own = real == own or own in real.parents
        name = real.relative_to(own) if is_own else Path(os.path.basename(os.path.abspath(path)))
        for photo in find_photos([path]):
            in_folder = path.is_dir()
            yield photo, name / photo.relative_to(path) if in_folder else name, in_folder


def _check(photo: Path, to: Path, folder: Path) -> None:
    """Raise a UserError unless the file is an image that is read in `folder`, and can be there."""
    name = escape_unprintable(str(photo))
    relative_name(to, folder)
    hidden = [part for part in to.relative_to(folder).parts if is_hidden(part)]
    if hidden:
        raise UserError(f"{name}: would be ignored, as '{hidden[0]}' is a hidden name; rename it")
    if is_parquet(photo):
        raise UserError(
            f"{name}: a Parquet file; allowed: image files; copy it to {folder} yourself, and run: "
            "dvc repro index"
        )
    try:
        read_photo(photo)
    except UserError as error:
        raise _UnreadableError(*error.args) from None
    if not is_image(photo):
        raise UserError(f"{name}: would be ignored by its suffix; rename it, as to .jpg")
    if to.exists() and not (to.is_file() and to.read_bytes() == photo.read_bytes()):
        raise UserError(f"{name}: another image is at {to}; rename one of them")
    for parent in to.relative_to(folder).parents:
        if (folder / parent).is_file():
            raise UserError(f"{name}: {folder / parent} is a file, not a folder; rename it")
