"""Models by name: of the working tree, of experiments and revisions, and every error."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.experiments.evaluated_models import EvaluatedModel, differs_from_lock, open_models
from pipeline.data.packed_images import PackedImages
from pipeline.errors import UserError
from tests.helpers.clone import git
from tests.helpers.tiny_dag import IDS, write_results


@pytest.fixture
def project(compared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(compared)
    return compared


def open_one(text: str, scratch: Path) -> EvaluatedModel:
    (model,) = open_models(text, side="A", scratch=scratch)
    return model


def commit_of(project: Path, name: str) -> str:
    """Return the start of the commit of an experiment or a revision."""
    found = git(project, "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}")
    return (found or git(project, "rev-parse", name))[:7]


def error_of(text: str, scratch: Path) -> str:
    with pytest.raises(UserError) as error:
        open_models(text, side="B", scratch=scratch)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_without_a_project_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = "dvc.yaml: no such file; run from the root of the project"
    assert error_of("baseline", tmp_path) == wanted


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("text", ["baseline", "workspace:baseline"])
def test_a_model_of_the_working_tree_is_not_copied(text: str, tmp_path: Path) -> None:
    model = open_one(text, tmp_path)
    assert (model.commit, model.model, model.root) == (None, "baseline", Path())
    assert model.results == Path("results/baseline")
    assert model.provenance is not None
    assert not model.provenance.is_trained
    assert model.describe() == f"{text} (baseline of the working tree)"


def test_an_experiment_is_read_from_the_cache_and_the_working_tree_stays(
    project: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.glob("[!.]*/**/*")}
    model = open_one("seed8", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in project.glob("[!.]*/**/*")} == before
    assert git(project, "status", "--porcelain") == ""
    assert model.model == "finetuned"
    assert model.provenance is not None
    assert model.provenance.settings["train.seed"] == 8
    assert model.provenance.is_trained
    cached = (model.results / "queries.parquet").read_bytes()
    assert cached != (project / "results/finetuned/queries.parquet").read_bytes()
    assert PackedImages(model.root / "data/images").decode(IDS[0]).size == (8, 8)


def test_a_revision_may_name_its_model(project: Path, tmp_path: Path) -> None:
    head = git(project, "rev-parse", "HEAD").strip()
    for text, model in (("HEAD", "finetuned"), ("main:baseline", "baseline"), (head, "finetuned")):
        opened = open_one(text, tmp_path / model / text[:4])
        assert (opened.commit, opened.model) == (head, model)
        queries = (opened.results / "queries.parquet").read_bytes()
        assert queries == (project / f"results/{model}/queries.parquet").read_bytes()


@pytest.mark.usefixtures("project")
def test_a_side_may_have_several_trainings(tmp_path: Path) -> None:
    found = open_models("finetuned,seed8", side="A", scratch=tmp_path)
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
    "good,good": "found 'good,good'; allowed: different names, separated by commas",
    "good,": "found 'good,'; allowed: different names, separated by commas",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_name_that_is_not_found_is_an_error(text: str, project: Path, tmp_path: Path) -> None:
    known = commit_of(project, text.split(":")[0]) if "@" in REFUSED[text] else ""
    assert error_of(text, tmp_path) == f"B: {REFUSED[text].replace('@', known)}"


def test_an_ambiguous_name_is_an_error(project: Path, tmp_path: Path) -> None:
    git(project, "branch", "baseline")
    git(project, "branch", "good")
    good, head = commit_of(project, "good"), commit_of(project, "HEAD")
    try:
        assert error_of("baseline", tmp_path) == (
            "B: found 'baseline', a model of the working tree and a git revision; allowed: "
            "workspace:baseline or baseline:finetuned"
        )
        assert error_of("good", tmp_path) == (
            "B: found 'good', an experiment and a git revision; allowed: the commit of one of "
            f"them: {good} or {head}"
        )
    finally:
        git(project, "branch", "--delete", "--force", "baseline", "good")


def test_a_name_of_two_experiments_is_an_error(project: Path, tmp_path: Path) -> None:
    good, head = commit_of(project, "good"), commit_of(project, "HEAD")
    other = f"refs/exps/00/{'0' * 38}/good"
    git(project, "update-ref", other, head)
    try:
        assert error_of("good", tmp_path) == (
            "B: found 'good', the name of 2 experiments; allowed: one of their commits: "
            f"{head}, {good}"
        )
    finally:
        git(project, "update-ref", "-d", other)


def test_files_that_the_cache_lacks_come_from_the_remote_but_no_images(
    project: Path, tmp_path: Path
) -> None:
    cache, away = project / ".dvc/cache", project / ".dvc/away"
    config = project / ".dvc/config.local"
    config.write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {away}\n")
    cache.rename(away)
    try:
        model = open_one("seed8", tmp_path)
        expected = pq.read_table(model.results / "queries.parquet")
        assert expected["image_id"].to_pylist() == IDS
        assert not (model.root / "data/images").exists()
    finally:
        config.unlink()
        shutil.rmtree(cache, ignore_errors=True)
        away.rename(cache)


def test_a_remote_that_cannot_be_read_is_an_error_only_where_it_is_needed(
    project: Path, tmp_path: Path
) -> None:
    cache, away = project / ".dvc/cache", project / ".dvc/away"
    config = project / ".dvc/config.local"
    config.write_text("[core]\n    remote = r\n['remote \"r\"']\n    url = gs://nowhere\n")
    good = commit_of(project, "good")
    try:
        assert open_one("good", tmp_path / "here").results.is_dir()
        cache.rename(away)
        assert error_of("good", tmp_path / "away") == (
            f"B: 'good' ({good}): results/finetuned: DVC cannot fetch it (ImportError: gs is "
            "supported, but requires 'dvc-gs' to be installed); see: dvc fetch"
        )
    finally:
        config.unlink()
        if away.exists():
            shutil.rmtree(cache, ignore_errors=True)
            away.rename(cache)


def test_files_that_are_nowhere_are_an_error_with_commands_that_make_them(
    project: Path, tmp_path: Path
) -> None:
    cache, away = project / ".dvc/cache", project / ".dvc/away"
    cache.rename(away)
    good, head = commit_of(project, "good"), commit_of(project, "HEAD")
    try:
        assert error_of("good", tmp_path) == (
            f"B: 'good' ({good}): results/finetuned is in neither DVC's cache nor a "
            "remote; make it: dvc exp apply good && dvc repro"
        )
        assert error_of("HEAD", tmp_path) == (
            f"B: 'HEAD' ({head}): results/finetuned is in neither DVC's cache nor a "
            "remote; make it: git checkout HEAD && dvc repro"
        )
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        away.rename(cache)


def test_results_that_differ_from_dvc_lock_are_noticed(project: Path, tmp_path: Path) -> None:
    assert not differs_from_lock(open_one("finetuned", tmp_path))
    shutil.rmtree(project / "results/finetuned")
    assert error_of("finetuned", tmp_path) == (
        "B: results/finetuned is not in the working tree; run: dvc checkout, or: dvc repro"
    )
    try:
        (project / "models/other").write_text("0.1")
        write_results(project, "other")
        (project / "results/other").rename(project / "results/finetuned")
        assert differs_from_lock(open_one("finetuned", tmp_path))
    finally:
        shutil.rmtree(project / "results/finetuned")
        (project / "models/other").unlink()
        write_results(project, "finetuned")
