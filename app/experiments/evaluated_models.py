"""The models of a comparison, found by name without changing the working tree.

A name is a model of the working tree, an experiment, a git revision or REVISION:MODEL. The files of
an experiment or revision come from DVC's cache or remote.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from app.experiments import git
from app.experiments.dvc_adapter import queue, revisions
from app.experiments.dvc_adapter.lock import RESULTS, Lock, Provenance, hash_folder, read_lock
from app.project import require_project
from pipeline.data.metrics_files import POSTPROCESSING
from pipeline.data.tables import read_metadata
from pipeline.errors import UserError, name_choices

WORKSPACE = "workspace"  # as DVC calls the working tree
UNTRAINED = "baseline"
TRAINED = "finetuned"  # the model of a revision that is given without one
LOCK = "dvc.lock"
TABLES = ("data/catalog.parquet", "data/classes.parquet", "data/splits.parquet")
IMAGES = "data/images"


@dataclass(frozen=True)
class EvaluatedModel:
    """One model as of one revision, evaluated.

    name: as the user wrote it. commit: None in the working tree. root: a folder with `results` and
    `data` as in the project; without `data/images` where DVC's cache lacks it. provenance: of the
    results, by dvc.lock; None if it has no record of them.
    """

    name: str
    commit: str | None
    model: str
    root: Path
    provenance: Provenance | None

    @property
    def results(self) -> Path:
        """The folder of the tables that `evaluate` wrote."""
        return self.root / RESULTS / self.model

    @property
    def is_trained(self) -> bool:
        """Whether a training made it."""
        return self.model != UNTRAINED if self.provenance is None else self.provenance.is_trained

    def describe(self) -> str:
        """Return its name and revision, and what was done to embeddings: "exp-1 (finetuned of
        1a2b3c4, query expansion 3)"."""
        revision = "the working tree" if self.commit is None else self.commit[:7]
        words = read_metadata(self.results / "queries.parquet").get(POSTPROCESSING)
        return f"{self.name} ({self.model} of {revision}{f', {words}' if words else ''})"


def open_models(text: str, *, side: str, scratch: Path) -> list[EvaluatedModel]:
    """Return the models of one side of a comparison, "NAME" or "NAME,NAME".

    side: "A" or "B", for error texts and names of folders. scratch: a folder for the files of
    revisions, which must exist as long as the models are used.

    Raises:
        UserError: the working directory has no project; a name is unknown or ambiguous, or its
            files cannot be found.
    """
    require_project(Path())
    names = text.split(",")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None or not all(names):
        raise UserError(f"{side}: found '{text}'; allowed: different names, separated by commas")
    return [
        _open_model(name, side=side, into=scratch / f"{side}{number}")
        for number, name in enumerate(names)
    ]


def differs_from_lock(model: EvaluatedModel) -> bool:
    """Return whether results in the working tree are not those that dvc.lock has recorded.

    The provenance, which is read from dvc.lock, is then not theirs.
    """
    lock = _read_workspace_lock()
    if model.commit is not None or lock is None:
        return False
    recorded = lock.hash_of(f"{RESULTS}{model.model}")
    return recorded is not None and recorded != hash_folder(model.results)


def _open_model(name: str, *, side: str, into: Path) -> EvaluatedModel:
    revision, separator, model = name.rpartition(":")
    if not separator:
        revision, model = _find_revision(name, side=side)
    if revision == WORKSPACE:
        return _open_workspace_model(name, model, side=side)
    commit = _find_commit(revision, side=side)
    where = f"{side}: '{revision}' ({commit[:7]})"
    text = git.read_file(commit, LOCK)
    if text is None:
        raise UserError(f"{where}: found no {LOCK} in it; allowed: a revision where dvc repro ran")
    lock = read_lock(text, where=f"{where}: {LOCK}")
    if model not in lock.models:
        raise UserError(f"{where}: {RESULTS}: {name_choices(model, lock.models)}")
    _fetch_files(revision, commit, model, into, where=where)
    return EvaluatedModel(name, commit, model, into, lock.trace(f"{RESULTS}{model}"))


def _fetch_files(revision: str, commit: str, model: str, into: Path, *, where: str) -> None:
    with closing(revisions.RevisionOutputs(commit)) as outputs:
        for path in (f"{RESULTS}{model}", *TABLES):
            try:
                found = outputs.fetch(path, into, download=True)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            if not found:
                raise UserError(
                    f"{where}: {path} is in neither DVC's cache nor a remote; "
                    f"{_suggest_making(revision)}"
                )
        # Only the sheets need them, and they may be many gigabytes: never downloaded.
        outputs.fetch(IMAGES, into, download=False)


def _suggest_making(revision: str) -> str:
    is_experiment = revision in revisions.list_experiments()
    take = "dvc exp apply" if is_experiment else "git checkout"
    return f"make it: {take} {revision} && dvc repro"


def _find_revision(name: str, *, side: str) -> tuple[str, str]:
    """Return the revision and the model that a name without ":" means."""
    if name == WORKSPACE:
        return WORKSPACE, TRAINED
    if name not in _list_workspace_models():
        return name, TRAINED
    is_experiment = name in revisions.list_experiments()
    if is_experiment or git.find_commit(name):
        also = "an experiment" if is_experiment else "a git revision"
        raise UserError(
            f"{side}: found '{name}', a model of the working tree and {also}; "
            f"allowed: {WORKSPACE}:{name} or {name}:{TRAINED}"
        )
    return WORKSPACE, name


def _list_workspace_models() -> list[str]:
    """Return the models with results in the working tree or in its dvc.lock."""
    lock = _read_workspace_lock()
    present = [path.parent.name for path in Path(RESULTS).glob("*/queries.parquet")]
    return sorted({*present, *(lock.models if lock else [])})


def _read_workspace_lock() -> Lock | None:
    path = Path(LOCK)
    return read_lock(path.read_text(encoding="utf-8"), where=LOCK) if path.is_file() else None


def _open_workspace_model(name: str, model: str, *, side: str) -> EvaluatedModel:
    models = _list_workspace_models()
    if model not in models:
        raise UserError(f"{side}: {RESULTS}: {name_choices(model, models)}; or run: dvc repro")
    if not (Path(RESULTS) / model / "queries.parquet").is_file():
        raise UserError(
            f"{side}: {RESULTS}{model} is not in the working tree; run: dvc checkout, or: dvc repro"
        )
    lock = _read_workspace_lock()
    provenance = lock.trace(f"{RESULTS}{model}") if lock and model in lock.models else None
    return EvaluatedModel(name, None, model, Path(), provenance)


def _find_commit(revision: str, *, side: str) -> str:
    """Return the commit of an experiment or a git revision."""
    commits = revisions.list_experiments().get(revision, [])
    from_git = git.find_commit(revision)
    if len(commits) > 1:
        raise UserError(
            f"{side}: found '{revision}', the name of {len(commits)} experiments; allowed: one "
            f"of their commits: {', '.join(commit[:7] for commit in commits)}"
        )
    if commits and from_git and from_git != commits[0]:
        raise UserError(
            f"{side}: found '{revision}', an experiment and a git revision; allowed: the commit "
            f"of one of them: {commits[0][:7]} or {from_git[:7]}"
        )
    found = commits[0] if commits else from_git
    if found:
        return found
    state = queue.read_states().get(revision)
    if state:
        raise UserError(
            f"{side}: the experiment '{revision}' has no results yet, it is {state.lower()} in "
            f"the queue; run: dvc queue start, or see: dvc queue logs {revision}"
        )
    known = {*_list_workspace_models(), *revisions.list_experiments()}
    raise UserError(
        f"{side}: {name_choices(revision, known)}; or a git revision, or REVISION:MODEL"
    )
