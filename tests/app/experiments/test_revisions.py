"""What a side may be: models, experiments and revisions of a real repository, and every refusal."""

import shutil
from pathlib import Path

import pytest

from app.experiments.revisions import EvaluatedModel, differs_from_lock, open_side
from pipeline.data.shards import PackedImages
from pipeline.errors import UserError
from tests.helpers.clone import git
from tests.helpers.tiny_dag import IDS, write_results


@pytest.fixture
def project(compared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(compared)
    return compared


def only(text: str, scratch: Path) -> EvaluatedModel:
    (side,) = open_side(text, letter="A", scratch=scratch)
    return side


def commit_of(project: Path, name: str) -> str:
    """Return the start of the commit of an experiment or a revision."""
    found = git(project, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}")
    return (found or git(project, "rev-parse", name))[:7]


def told(text: str, scratch: Path) -> str:
    with pytest.raises(UserError) as error:
        open_side(text, letter="B", scratch=scratch)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("text", ["baseline", "workspace:baseline"])
def test_a_model_is_read_where_it_lies(text: str, tmp_path: Path) -> None:
    side = only(text, tmp_path)
    assert (side.commit, side.model, side.root) == (None, "baseline", Path())
    assert side.results == Path("results/baseline")
    assert side.made is not None
    assert not side.made.trained
    assert side.describe() == f"{text} (baseline of the working tree)"


def test_an_experiment_is_read_from_the_cache_and_the_working_tree_stays(
    project: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.glob("[!.]*/**/*")}
    side = only("seed8", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in project.glob("[!.]*/**/*")} == before
    assert git(project, "status", "--porcelain") == ""
    assert side.model == "finetuned"
    assert side.made is not None
    assert side.made.settings["train.seed"] == 8
    assert side.made.trained
    cached = (side.results / "queries.parquet").read_bytes()
    assert cached != (project / "results/finetuned/queries.parquet").read_bytes()
    assert PackedImages(side.root / "data/images").decode(IDS[0]).size == (8, 8)


def test_a_revision_may_name_its_model(project: Path, tmp_path: Path) -> None:
    head = git(project, "rev-parse", "HEAD").strip()
    for text, model in (("HEAD", "finetuned"), ("main:baseline", "baseline"), (head, "finetuned")):
        side = only(text, tmp_path / model / text[:4])
        assert (side.commit, side.model) == (head, model)
        queries = (side.results / "queries.parquet").read_bytes()
        assert queries == (project / f"results/{model}/queries.parquet").read_bytes()


@pytest.mark.usefixtures("project")
def test_a_side_may_be_several_trainings(tmp_path: Path) -> None:
    found = open_side("finetuned,seed8", letter="A", scratch=tmp_path)
    assert [each.name for each in found] == ["finetuned", "seed8"]


REFUSED = {
    "finetund": "found 'finetund'; allowed: baseline, finetuned, good, seed8, split; did you mean "
    "'finetuned'?; or a git revision, or REVISION:MODEL",
    "waiting": "the experiment 'waiting' has no results yet, it is queued in the queue; run: dvc "
    "queue start, or see: dvc queue logs waiting",
    "HEAD~1": "'HEAD~1' (@): found no dvc.lock in it; allowed: a revision where dvc repro ran",
    "good:basline": "'good' (@): results/: found 'basline'; allowed: baseline, finetuned; did you "
    "mean 'baseline'?",
    "workspace:best": "results/: found 'best'; allowed: baseline, finetuned; or run: dvc repro",
    "good,good": "found 'good,good'; allowed: different names, between them a comma",
    "good,": "found 'good,'; allowed: different names, between them a comma",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_side_is_told(text: str, project: Path, tmp_path: Path) -> None:
    known = commit_of(project, text.split(":")[0]) if "@" in REFUSED[text] else ""
    assert told(text, tmp_path) == f"B: {REFUSED[text].replace('@', known)}"


def test_a_name_that_means_two_things_is_told(project: Path, tmp_path: Path) -> None:
    git(project, "branch", "baseline")
    git(project, "branch", "good")
    good, head = commit_of(project, "good"), commit_of(project, "HEAD")
    try:
        assert told("baseline", tmp_path) == (
            "B: found 'baseline', a model of the working tree and a git revision; allowed: "
            "workspace:baseline or baseline:finetuned"
        )
        assert told("good", tmp_path) == (
            "B: found 'good', an experiment and a git revision; allowed: the commit of one of "
            f"them: {good} or {head}"
        )
    finally:
        git(project, "branch", "--delete", "--force", "baseline", "good")


def test_two_experiments_of_one_name_are_told(project: Path, tmp_path: Path) -> None:
    good, head = commit_of(project, "good"), commit_of(project, "HEAD")
    other = f"refs/exps/00/{'0' * 38}/good"
    git(project, "update-ref", other, head)
    try:
        assert told("good", tmp_path) == (
            "B: found 'good', the name of 2 experiments; allowed: one of their commits: "
            f"{head}, {good}"
        )
    finally:
        git(project, "update-ref", "-d", other)


def test_what_the_cache_lacks_is_told_with_what_brings_it(project: Path, tmp_path: Path) -> None:
    cache, away = project / ".dvc/cache", project / ".dvc/away"
    cache.rename(away)
    good, head = commit_of(project, "good"), commit_of(project, "HEAD")
    try:
        assert told("good", tmp_path) == (
            f"B: 'good' ({good}): results/finetuned is not in DVC's cache; run: dvc fetch "
            "--all-experiments, or: dvc exp apply good && dvc repro"
        )
        assert told("HEAD", tmp_path) == (
            f"B: 'HEAD' ({head}): results/finetuned is not in DVC's cache; run: dvc fetch "
            "--all-commits"
        )
        assert not differs_from_lock(only("finetuned", tmp_path))  # nothing to hold it against
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        away.rename(cache)


def test_results_that_are_not_the_locks_are_noticed(project: Path, tmp_path: Path) -> None:
    assert not differs_from_lock(only("finetuned", tmp_path))
    shutil.rmtree(project / "results/finetuned")
    assert told("finetuned", tmp_path) == (
        "B: results/finetuned is not in the working tree; run: dvc checkout, or: dvc repro"
    )
    try:
        (project / "models/other").write_text("0.1")
        write_results(project, "other")
        (project / "results/other").rename(project / "results/finetuned")
        assert differs_from_lock(only("finetuned", tmp_path))
    finally:
        shutil.rmtree(project / "results/finetuned")
        (project / "models/other").unlink()
        write_results(project, "finetuned")
