"""The searcher of the index that is there now: another run of the pipeline may replace it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Thread

from app.experiments.dvc_adapter.lock import read_lock
from app.searching.added_images import ADDED, CATALOG_FILE, IMAGES_FOLDER
from app.searching.best_model import FOLDER
from app.serving.searcher import Searcher
from pipeline.data.training_record import RECORD_FILE
from pipeline.errors import UserError, one_line

LOOK_SECONDS = 2.0
LOCK = "dvc.lock"
DATA = (
    *("data/catalog.parquet", "data/classes.parquet", "data/splits.parquet", "data/images"),
    *(CATALOG_FILE, IMAGES_FOLDER),
)

# (modified, in ns; bytes; inode) of each file: DVC replaces a file by another one.
Stamps = dict[str, tuple[int, int, int]]

logger = logging.getLogger(__name__)


class CurrentSearcher:
    """Gives the searcher of the newest index of a project that is whole; safe for many threads.

    A searcher has all that it needs in memory, or mapped into it, so that it goes on whatever is
    done to its files; a new one is loaded beside it, and takes its place at once.

    Raises:
        UserError: as `Searcher`.
    """

    def __init__(
        self,
        root: Path,
        models: Sequence[str],
        load: Callable[[Path, Sequence[str]], Searcher] = Searcher,
    ) -> None:
        self._root, self._models, self._load = root, models, load
        self._served = self._seen = read_stamps(root, models)
        self._tried: Stamps | None = None
        self._told = False
        self._searcher = load(root, models)

    def __call__(self) -> Searcher:
        """Return the searcher; a request uses one, from its beginning to its end."""
        return self._searcher

    def watch(self) -> Event:
        """Look for a new index every LOOK_SECONDS in a thread, until the event is set."""
        end = Event()

        def look() -> None:
            while not end.wait(LOOK_SECONDS):
                self.look()

        Thread(target=look, name="index", daemon=True).start()
        return end

    def look(self) -> None:
        """Take up a new index, if there is one that is whole, and did not change since the last
        look; otherwise say once that the old one is kept."""
        stamps = read_stamps(self._root, self._models)
        settled, self._seen = stamps == self._seen, stamps
        if _without_lock(stamps) == _without_lock(self._served):
            self._told = False
        elif settled and stamps != self._tried:
            self._tried = stamps
            try:
                self._take_up(stamps)
            except Exception as error:  # whatever is wrong with files of a run that goes on
                self._keep(error)

    def _take_up(self, stamps: Stamps) -> None:
        require_one_run(self._root, self._models)
        searcher = self._load(self._root, self._models)
        searcher.require_all_images()
        if read_stamps(self._root, self._models) != stamps:
            self._tried = None
            raise UserError("its files changed while they were read")
        self._searcher, self._served, self._told = searcher, stamps, False
        logger.info("a new index: %d images are searched now", searcher.choices.image_count)

    def _keep(self, error: Exception) -> None:
        if not self._told:
            logger.warning(
                "the index on disk is another one, but not whole, as while dvc repro runs; "
                "searches go on in the one that was loaded, until it is (%s)",
                one_line(error),
            )
        self._told = True


def read_stamps(root: Path, models: Sequence[str]) -> Stamps:
    """Return what changes when one of the files that a searcher reads is replaced."""
    stamps: Stamps = {}
    for path in _list_files(root, models):
        try:
            status = path.stat()
        except OSError:  # removed a moment ago
            continue
        stamps[str(path)] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return stamps


def require_one_run(root: Path, models: Sequence[str]) -> None:
    """Raise a UserError unless the files are those that dvc.lock has, all of one run.

    Sizes tell what is not recorded yet; a project without dvc.lock has nothing to compare with.
    """
    if not (root / LOCK).is_file():
        return
    lock = read_lock((root / LOCK).read_text(encoding="utf-8"), where=LOCK)
    sizes = lock.sizes()
    for path in _list_outputs(models):
        if not lock.is_of_one_run(path):
            raise UserError(f"{path}: made of what has changed since")
        found = sum(each.stat().st_size for each in _files_of(root / path) if each.is_file())
        if found != sizes.get(path, found):
            raise UserError(
                f"{path}: found {found:,} bytes; {LOCK} has {sizes[path]:,}; run: dvc repro, or "
                "dvc checkout"
            )


def _list_outputs(models: Sequence[str]) -> list[str]:
    names = [
        name
        for model in models
        for name in (
            f"models/{model}",
            f"embeddings/{model}",
            f"embeddings/{ADDED}/{model}",
            f"index/{model}",
            f"index/{ADDED}/{model}",
        )
    ]
    return [*DATA, *names]


def _list_files(root: Path, models: Sequence[str]) -> Iterator[Path]:
    for path in [*_list_outputs(models), *(f"metrics/details/{model}.json" for model in models)]:
        yield from _files_of(root / path)
    yield root / FOLDER / RECORD_FILE
    yield root / LOCK


def _files_of(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:  # removed a moment ago
        return []


def _without_lock(stamps: Stamps) -> Stamps:
    # A stage that writes nothing that is searched, such as plot, changes the lock alone.
    return {path: stamp for path, stamp in stamps.items() if not path.endswith(LOCK)}
