"""What a side of a comparison may be, and where its files are, without touching the working tree.

A side is a model of the working tree, an experiment, a git revision, or `REVISION:MODEL`. The files
of a revision are links into DVC's cache, laid out as in the project.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.experiments import dvc_adapter
from app.experiments.dvc_lock import RESULTS, Lock, Provenance, read_lock
from pipeline.errors import UserError, name_choices

WORKSPACE = "workspace"  # as DVC calls the working tree
TRAINED = "finetuned"  # what a revision stands for, if it names no model
LOCK = "dvc.lock"
TABLES = ("data/catalog.parquet", "data/classes.parquet", "data/splits.parquet")
IMAGES = "data/images"  # for the sheets alone, so a cache without them will do

Cache = Callable[[str], Path]


@dataclass(frozen=True)
class EvaluatedModel:
    """One model of one revision, evaluated.

    name: as the person wrote it. commit: None in the working tree. root: a folder with `results`
    and `data` as in the project. made: what dvc.lock says that made the results; None if nothing.
    """

    name: str
    commit: str | None
    model: str
    root: Path
    made: Provenance | None

    @property
    def results(self) -> Path:
        """The folder of the tables that `evaluate` wrote."""
        return self.root / RESULTS / self.model

    def describe(self) -> str:
        """Return where it is from: "exp-1 (finetuned of 1a2b3c4)"."""
        place = "the working tree" if self.commit is None else self.commit[:7]
        return f"{self.name} ({self.model} of {place})"


def open_side(text: str, *, letter: str, scratch: Path) -> list[EvaluatedModel]:
    """Return what one side, "NAME" or "NAME,NAME", is made of.

    letter: "A" or "B", for the messages. scratch: a folder that lasts as long as the result.

    Raises:
        UserError: a name is unknown or means two things, or its files are not here.
    """
    names = text.split(",")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None or not all(names):
        raise UserError(f"{letter}: found '{text}'; allowed: different names, between them a comma")
    return [
        _open(name, letter=letter, into=scratch / f"{letter}{place}")
        for place, name in enumerate(names)
    ]


def differs_from_lock(side: EvaluatedModel) -> bool:
    """Whether results in the working tree are not those that dvc.lock tells the settings of."""
    lock = _workspace_lock()
    md5 = lock and lock.hash_of(f"{RESULTS}{side.model}")
    if side.commit is not None or not md5:
        return False
    listing = dvc_adapter.open_cache()(md5)
    if not listing.is_file():
        return False
    recorded = {each["relpath"]: each["md5"] for each in json.loads(listing.read_text())}
    queries = (side.results / "queries.parquet").read_bytes()
    return (
        recorded.get("queries.parquet") != hashlib.md5(queries, usedforsecurity=False).hexdigest()
    )


def _open(name: str, *, letter: str, into: Path) -> EvaluatedModel:
    revision, separator, model = name.rpartition(":")
    if not separator:
        revision, model = _read_bare(name, letter=letter)
    if revision == WORKSPACE:
        return _open_workspace(name, model, letter=letter)
    commit = _find_commit(revision, letter=letter)
    where = f"{letter}: '{revision}' ({commit[:7]})"
    text = dvc_adapter.read_committed(commit, LOCK)
    if text is None:
        raise UserError(f"{where}: found no {LOCK} in it; allowed: a revision where dvc repro ran")
    lock = read_lock(text, where=f"{where}: {LOCK}")
    if model not in lock.models:
        raise UserError(f"{where}: {RESULTS}: {name_choices(model, lock.models)}")
    is_experiment = revision in dvc_adapter.named()
    fetch = "--all-experiments" if is_experiment else "--all-commits"
    remedy = f"run: dvc fetch {fetch}" + (
        f", or: dvc exp apply {revision} && dvc repro" if is_experiment else ""
    )
    cache = dvc_adapter.open_cache()
    for path in (f"{RESULTS}{model}", *TABLES, IMAGES):
        if not _lay_out(lock, path, cache, into) and path != IMAGES:
            raise UserError(f"{where}: {path} is not in DVC's cache; {remedy}")
    return EvaluatedModel(name, commit, model, into, lock.trace(f"{RESULTS}{model}"))


def _read_bare(name: str, *, letter: str) -> tuple[str, str]:
    """Return the revision and the model that a name without ":" stands for."""
    if name == WORKSPACE:
        return WORKSPACE, TRAINED
    if name not in _workspace_models():
        return name, TRAINED
    also = "an experiment" if name in dvc_adapter.named() else "a git revision"
    if name in dvc_adapter.named() or dvc_adapter.find_commit(name):
        raise UserError(
            f"{letter}: found '{name}', a model of the working tree and {also}; "
            f"allowed: {WORKSPACE}:{name} or {name}:{TRAINED}"
        )
    return WORKSPACE, name


def _workspace_models() -> list[str]:
    """Return the models with results in the working tree, or that dvc.lock has results of."""
    lock = _workspace_lock()
    there = [path.parent.name for path in Path(RESULTS).glob("*/queries.parquet")]
    return sorted({*there, *(lock.models if lock else [])})


def _workspace_lock() -> Lock | None:
    path = Path(LOCK)
    return read_lock(path.read_text(encoding="utf-8"), where=LOCK) if path.is_file() else None


def _open_workspace(name: str, model: str, *, letter: str) -> EvaluatedModel:
    known = _workspace_models()
    if model not in known:
        raise UserError(f"{letter}: {RESULTS}: {name_choices(model, known)}; or run: dvc repro")
    if not (Path(RESULTS) / model / "queries.parquet").is_file():
        raise UserError(
            f"{letter}: {RESULTS}{model} is not in the working tree; run: dvc checkout, or: "
            "dvc repro"
        )
    lock = _workspace_lock()
    made = lock.trace(f"{RESULTS}{model}") if lock and model in lock.models else None
    return EvaluatedModel(name, None, model, Path(), made)


def _find_commit(revision: str, *, letter: str) -> str:
    commits = dvc_adapter.named().get(revision, [])
    plain = dvc_adapter.find_commit(revision)
    if len(commits) > 1:
        raise UserError(
            f"{letter}: found '{revision}', the name of {len(commits)} experiments; allowed: one "
            f"of their commits: {', '.join(commit[:7] for commit in commits)}"
        )
    if commits and plain and plain != commits[0]:
        raise UserError(
            f"{letter}: found '{revision}', an experiment and a git revision; allowed: the commit "
            f"of one of them: {commits[0][:7]} or {plain[:7]}"
        )
    found = commits[0] if commits else plain
    if found:
        return found
    state = dvc_adapter.read_queue().get(revision)
    if state:
        raise UserError(
            f"{letter}: the experiment '{revision}' has no results yet, it is {state.lower()} in "
            f"the queue; run: dvc queue start, or see: dvc queue logs {revision}"
        )
    known = {*_workspace_models(), *dvc_adapter.named()}
    raise UserError(
        f"{letter}: {name_choices(revision, known)}; or a git revision, or REVISION:MODEL"
    )


def _lay_out(lock: Lock, path: str, cache: Cache, into: Path) -> bool:
    """Link `path` as the lock has it; False, with nothing linked, if the cache lacks any of it."""
    md5 = lock.hash_of(path)
    if not md5 or not cache(md5).is_file():
        return False
    links = {path: cache(md5)}
    if md5.endswith(".dir"):
        listed = json.loads(cache(md5).read_text())
        links = {f"{path}/{each['relpath']}": cache(each["md5"]) for each in listed}
    if not all(file.is_file() for file in links.values()):
        return False
    for link, file in links.items():
        (into / link).parent.mkdir(parents=True, exist_ok=True)
        (into / link).symlink_to(file.resolve())
    return True
