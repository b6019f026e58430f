"""Files and folders written whole or not at all, so that a kill leaves no half-written one."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.errors import UserError
from pipeline.stopping import ended_first

PREFIX = ".unfinished-"  # of the folders in which files are until they are whole
OLD = ".old"  # after the name of a folder that is replaced
# For what reasons a system does not let a file be written.
REFUSALS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)


@contextmanager
def written_whole(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a path for each of `paths` to write a file or a folder to, of the same name in a folder
    beside it; at the end of the body they replace `paths` together.

    A file is replaced in one step. Several are replaced in turn, and a folder is moved away before
    that: a kill in that moment leaves some of them missing or old, but none half written; Ctrl-C
    waits for it. Where the disk refuses, whatever a library raises becomes an OSError of the path.
    The parent folders are made. If the body fails, what it has written is removed, and `paths` stay
    as they were. Each file keeps the permissions that it was created with.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "made" / "a.txt"
    ...     with written_whole(path) as (unfinished,):
    ...         _ = unfinished.write_text("all of it")
    ...     path.read_text(), [each.name for each in path.parent.iterdir()]
    ('all of it', ['a.txt'])
    """
    with ExitStack() as folders:
        parts = tuple(folders.enter_context(unfinished_in(p.parent)) / p.name for p in paths)
        try:
            yield parts
            replace_all(parts, paths)
        except UserError:
            raise
        except Exception as error:
            if (number := _find_errno(error)) is None:
                raise
            raise OSError(number, os.strerror(number), str(paths[0])) from error


@contextmanager
def unfinished_in(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, which is made, and remove it at the end.

    Its name is unique, so that several processes can write beside each other. What killed ones left
    in `parent` is removed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    folder, lock = _make_locked_folder(parent)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def link_or_copy(path: Path, to: Path) -> None:
    """Make `to` the same file as `path`, or where the disk cannot, a copy of it."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copy2(path, to)


def final_path(path: Path) -> Path:
    """Return where what is written to `path` will be, for messages.

    >>> final_path(Path("results/.unfinished-1a2b/baseline/failures.parquet")).as_posix()
    'results/baseline/failures.parquet'
    """
    return Path(*(part for part in path.parts if not part.startswith(PREFIX)))


def replace_all(unfinished: Sequence[Path], paths: Sequence[Path]) -> None:
    """Move each of `unfinished` to its place among `paths`, on the same disk."""
    with ended_first():
        for part, path in zip(unfinished, paths, strict=True):
            if path.is_dir():  # no system call replaces a folder that is not empty
                os.replace(path, part.with_name(part.name + OLD))
            os.replace(part, path)


def _find_errno(error: Exception) -> int | None:
    """Return for which of REFUSALS `error` was raised, if it names no file itself; else None."""
    if getattr(error, "filename", None) is not None:
        return None
    of_system = error if isinstance(error, OSError) else error.__context__  # torch's RuntimeError
    if isinstance(of_system, OSError) and of_system.errno in REFUSALS:
        return of_system.errno
    text = str(error)  # of faiss or safetensors
    return next((number for number in REFUSALS if os.strerror(number) in text), None)


def remove_abandoned(parent: Path) -> None:
    """Remove from the folder `parent` what killed processes had not finished."""
    for folder in parent.glob(f"{PREFIX}*/"):
        with suppress(OSError):  # it is in use, or another process removes it
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(descriptor)


def _make_locked_folder(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the descriptor of its lock, which shows that its process is alive.

    The system releases it when the process ends, however that is.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # another process took it for abandoned: not yet locked
            descriptor = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)
