"""Files written whole or not at all: a kill at any moment leaves the old content or the new."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield a path beside each of `paths` to write to; they take their places together at the end.

    The folders are made. If the body fails, what it has written goes, and `paths` stay as they
    were. Each path keeps the permissions that it was created with.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "made" / "a.txt"
    ...     with written_whole(path) as (unfinished,):
    ...         _ = unfinished.write_text("all of it")
    ...     path.read_text(), [each.name for each in path.parent.iterdir()]
    ('all of it', ['a.txt'])
    """
    unfinished = tuple(path.with_name(path.name + ".part") for path in paths)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished
        for part, path in zip(unfinished, paths, strict=True):
            os.replace(part, path)
    finally:
        for part in unfinished:
            part.unlink(missing_ok=True)
