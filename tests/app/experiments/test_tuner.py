"""Tuning, with a queue in memory: the trials of optuna. A real one: tests/test_tune_runs.py."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from app.experiments import git, queued_runs, studies, tuner
from app.experiments.dvc_adapter import queue as dvc_queue
from app.experiments.dvc_adapter import revisions
from app.experiments.recipes import Recipe
from pipeline.errors import UserError
from pipeline.tracking.experiments import TrackedExperiments
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

PARAMS = (ROOT / "params.yaml").read_text()
SPACE = {"optimizer.adamw.lr": {"low": 1e-4, "high": 0.01, "log": True}, "head.dim": [16, 32]}
LOG = "Running stage 'train':\ntrain: no memory\nERROR: failed to reproduce 'train': …\n"


class Queue:
    """DVC's queue and MLflow as tuning sees them: at each look, each run trains an epoch."""

    def __init__(self, epochs: Callable[[dict[str, Any]], list[float]]) -> None:
        self.epochs = epochs  # settings -> the value of each epoch; none if it fails
        self.settings: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str] = {}
        self.passed: dict[str, int] = {}
        self.killed: list[str] = []
        self.ended_runs: list[str] = []
        self.looks_left = 10_000
        self.tried_to_kill = 0

    def add(self, name: str, settings: dict[str, Any]) -> None:
        assert self.states.get(name) not in dvc_queue.PENDING
        self.settings[name], self.states[name], self.passed[name] = settings, "Queued", 0

    def read_states(self) -> dict[str, str]:
        self.looks_left -= 1
        if not self.looks_left:
            raise KeyboardInterrupt
        for name, state in self.states.items():
            if state in dvc_queue.PENDING:
                self.passed[name] += 1
                self.states[name] = "Running"
                values = self.epochs(self.settings[name])
                if name in self.killed or not values:
                    self.states[name] = "Failed"
                elif self.passed[name] > len(values):
                    self.states[name] = "Success"
        return dict(self.states)

    def list_finished(self, _: str) -> dict[str, str]:
        return {name: f"c-{name}" for name, state in self.states.items() if state == "Success"}

    def read_revision_metrics(self, commit: str, path: str) -> dict[str, Any]:
        assert path == "metrics/details/train.json"
        values = self.epochs(self.settings[commit.removeprefix("c-")])
        return {"epochs": len(values), "val_map_at_r": max(values)}

    def kill(self, name: str) -> bool:
        assert self.states[name] == "Running"
        self.tried_to_kill += 1
        if self.tried_to_kill > 1:  # at first its experiment is still being set up
            assert name not in self.killed
            self.killed.append(name)
        return self.tried_to_kill > 1

    def history(self, name: str, metric: str) -> dict[int, float]:
        assert metric == "val_map_at_r"
        values = self.epochs(self.settings[name])[: self.passed[name]]
        return dict(enumerate(values, start=1))


UseQueue = Callable[..., Queue]


@pytest.fixture
def use_queue(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> UseQueue:
    """Return a function that replaces DVC's queue and MLflow by a queue with such epochs."""
    caplog.set_level(logging.INFO, logger="app")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)
    monkeypatch.setattr(queued_runs.time, "sleep", lambda _: None)

    def make(epochs: Callable[[dict[str, Any]], list[float]]) -> Queue:
        queue = Queue(epochs)
        fakes: dict[str, Any] = {
            **{name: getattr(queue, name) for name in ("add", "read_states", "list_finished")},
            "kill": queue.kill,
            "remove": queue.states.pop,
            "is_in_git_or_dvc": lambda *_, **__: True,
            "count_workers": lambda: 1,
            "start_workers": lambda _: None,
            "mark_lost_as_failed": lambda: None,
            "read_log": lambda _: LOG,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(dvc_queue, name, fake)
        monkeypatch.setattr(revisions, "read_revision_metrics", queue.read_revision_metrics)
        monkeypatch.setattr(git, "head_commit", lambda: "abc")
        monkeypatch.setattr(git, "diff_from_head", lambda *_: "")
        monkeypatch.setattr(TrackedExperiments, "epochs", lambda _, *which: queue.history(*which))
        monkeypatch.setattr(
            TrackedExperiments, "end", lambda _, name: queue.ended_runs.append(name)
        )
        monkeypatch.setattr(TrackedExperiments, "put_under", lambda *_: None)
        return queue

    return make


def tune(
    trials: int = 4,
    jobs: int = 1,
    space: dict[str, Any] = SPACE,
    **settings: Any,
) -> tuner.Tuning:
    recipe = Recipe(Path("recipes/tiny.yaml"), "Tiny", settings, (), {"trials": 8, "space": space})
    params = Path("params.yaml")
    with tuner.open_tuning(recipe, queued_runs.read_origin(params), params=params) as tuning:
        tuning.run_trials(trials=trials, jobs=jobs)
        return tuning


def trials(tuning: tuner.Tuning) -> list[Any]:
    return list(tuning.study.trials)


def table(tuning: tuner.Tuning) -> str:
    return studies.tabulate(tuning.study, tuning.metric, tuning.short)


def by_rate(settings: dict[str, Any]) -> list[float]:
    rate = settings["optimizer.adamw.lr"]
    return [rate * share for share in (10, 30, 60, 50, 55, 58, 59)]


def test_the_value_of_a_trial_is_the_validation_of_its_best_epoch(use_queue: UseQueue) -> None:
    queue = use_queue(by_rate)
    tuning = tune(trials=3)
    found = trials(tuning)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 3
    for trial in found:
        assert trial.value == 60 * trial.params["optimizer.adamw.lr"]
        settings = queue.settings[trial.user_attrs["experiment"]]
        assert settings == trial.params
        assert list(trial.intermediate_values) == [1, 2, 3, 4, 5, 6, 7]
    header, *rows = table(tuning).splitlines()
    assert header.split() == ["lr", "dim", "val_map_at_r", "epochs", "state", "experiment"]
    assert len(rows) == 3
    values = [float(row.split()[2]) for row in rows]
    assert values == sorted(values, reverse=True)
    best = max(found, key=lambda trial: trial.value)
    assert studies.describe_best(tuning.study, tuning.metric).splitlines() == [
        f"the best by validation, val_map_at_r {best.value:.3f}:",
        f"  optimizer.adamw.lr: {best.params['optimizer.adamw.lr']}",
        f"  head.dim: {best.params['head.dim']}",
        f"to use it, with its results: dvc exp apply {best.user_attrs['experiment']}",
        "to see all: dvc exp show",
    ]


@pytest.mark.parametrize("looks", [3, 14])
def test_an_interrupted_search_continues_as_it_would_have(looks: int, use_queue: UseQueue) -> None:
    use_queue(by_rate)
    undisturbed = [trial.params for trial in trials(tune())]
    Path("tune.db").unlink()
    queue = use_queue(by_rate)
    queue.looks_left = looks
    with pytest.raises(KeyboardInterrupt):
        tune()
    queue.looks_left = 10_000
    assert [trial.params for trial in trials(tune())] == undisturbed


def test_a_lost_trial_is_queued_again_and_not_counted_twice(
    use_queue: UseQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue = use_queue(by_rate)
    queue.looks_left = 4
    with pytest.raises(KeyboardInterrupt):
        tune(trials=2)
    (lost,) = queue.states
    queue.states[lost] = "Failed"  # its processes were killed too
    queue.looks_left = 10_000
    caplog.clear()
    found = trials(tune(trials=2))
    assert caplog.messages[0].endswith(": queued")
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 2
    assert found[0].user_attrs["experiment"] == lost


def test_more_trials_continue_and_other_settings_begin_another_study(use_queue: UseQueue) -> None:
    use_queue(by_rate)
    assert len(trials(tune(trials=2))) == 2
    assert len(trials(tune(trials=3))) == 3
    assert len(trials(tune(trials=1))) == 3
    assert len(trials(tune(trials=1, **{"head.hidden": 64}))) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_point_is_tried_twice_and_the_search_ends_after_the_last_one(
    use_queue: UseQueue, caplog: pytest.LogCaptureFixture, jobs: int
) -> None:
    queue = use_queue(lambda settings: [settings["head.dim"] / 100])
    space = {"head.dim": [16, 32, 64], "train.patience": {"low": 1, "high": 2}}
    tuning = tune(trials=20, jobs=jobs, space=space)
    assert caplog.messages[0] == "the space has only 6 points, so there are 6 trials"
    assert len(queue.settings) == 6
    done = [trial for trial in trials(tuning) if trial.state == TrialState.COMPLETE]
    assert len(done) == len({str(trial.params) for trial in done}) == 6
    assert len(table(tuning).splitlines()) == 7
    assert not studies.list_failures(tuning.study)


def test_a_trial_that_was_interrupted_while_sampling_is_replaced(use_queue: UseQueue) -> None:
    use_queue(by_rate)
    tune(trials=1).study.ask()  # and the command is killed
    found = trials(tune(trials=2))
    complete, lost = TrialState.COMPLETE, TrialState.FAIL
    assert [trial.state for trial in found] == [complete, lost, complete]


def test_as_many_trials_as_jobs_run_at_a_time(use_queue: UseQueue) -> None:
    queue = use_queue(by_rate)
    at_once = []
    read_states = queue.read_states

    def read() -> dict[str, str]:
        states = read_states()
        at_once.append(sum(state in dvc_queue.PENDING for state in states.values()))
        return states

    dvc_queue.read_states = read  # the fixture restores it
    assert len(trials(tune(trials=6, jobs=3))) == 6
    assert max(at_once) == 3


def test_a_trial_below_the_median_is_ended_early_and_its_run_marked(use_queue: UseQueue) -> None:
    rates: list[float] = []

    def falling(settings: dict[str, Any]) -> list[float]:
        rate = settings["optimizer.adamw.lr"]
        if rate not in rates:
            rates.append(rate)
        level = 0.5 if rates.index(rate) < 5 else 0.1
        return [level * share for share in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)]

    queue = use_queue(falling)
    tuning = tune(trials=6)
    *complete, pruned = trials(tuning)
    assert {trial.state for trial in complete} == {TrialState.COMPLETE}
    assert pruned.state == TrialState.PRUNED
    assert pruned.intermediate_values == pytest.approx({1: 0.01, 2: 0.03})
    assert queue.killed == queue.ended_runs == [pruned.user_attrs["experiment"]]
    assert table(tuning).splitlines()[-1].split()[2:] == ["0.030", "2", "pruned", "-"]


def test_without_mlflow_nothing_is_ended_early(
    use_queue: UseQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = use_queue(lambda settings: [settings["optimizer.adamw.lr"]] * 7)
    monkeypatch.setattr(TrackedExperiments, "epochs", lambda *_: {})
    assert {trial.state for trial in trials(tune(trials=6))} == {TrialState.COMPLETE}
    assert not queue.killed


def test_a_failed_trial_is_named_with_its_reason_and_the_search_goes_on(
    use_queue: UseQueue,
) -> None:
    use_queue(lambda settings: [] if settings["head.dim"] == 32 else [0.1, 0.2])
    tuning = tune(trials=6)
    failed = [trial for trial in trials(tuning) if trial.state == TrialState.FAIL]
    assert {trial.params["head.dim"] for trial in failed} == {32}
    assert studies.list_failures(tuning.study)[0].startswith(f"trial {failed[0].number}: lr=")
    name = failed[0].user_attrs["experiment"]
    assert studies.list_failures(tuning.study)[0].endswith(
        f"dim=32: train: no memory (dvc queue logs {name})"
    )
    assert table(tuning).splitlines()[-1].split()[2:] == ["-", "-", "failed", "-"]


def test_values_that_are_not_allowed_together_are_a_failed_trial(use_queue: UseQueue) -> None:
    use_queue(by_rate)
    space = {"loss.name": ["multi_similarity", "smooth_ap"], "miner.name": ["none", "batch_hard"]}
    recipe = Recipe(Path("recipes/tiny.yaml"), "Tiny", {}, (), {"trials": 12, "space": space})
    params = Path("params.yaml")
    use_queue(lambda _: [0.1])
    with tuner.open_tuning(recipe, queued_runs.read_origin(params), params=params) as tuning:
        tuning.run_trials(trials=None, jobs=1)
    assert any(
        "loss.name=smooth_ap miner.name=batch_hard: miner.name: found 'batch_hard'" in line
        for line in studies.list_failures(tuning.study)
    )


def test_a_search_whose_first_trials_all_fail_stops(
    use_queue: UseQueue, caplog: pytest.LogCaptureFixture
) -> None:
    use_queue(lambda _: [])
    with pytest.raises(UserError) as error:
        tune()
    assert str(error.value) == (
        "recipes/tiny.yaml: the first 3 trials all failed; see above; correct what they have "
        "in common, and run again"
    )
    assert sum("no memory" in line for line in caplog.messages) == 3


def test_a_change_of_code_or_params_stops_the_search(
    use_queue: UseQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = use_queue(by_rate)

    def edit(settings: dict[str, Any]) -> list[float]:
        Path("params.yaml").write_text(PARAMS.replace("seed: 7 ", "seed: 8 "))
        return by_rate(settings)

    monkeypatch.setattr(queue, "epochs", edit)
    with pytest.raises(UserError) as error:
        tune()
    assert str(error.value) == (
        "params.yaml: it, the code or the commit has changed since this study began; running "
        "trials go on, no more are queued; undo the change and run again, or run again to begin "
        "another study"
    )


def test_two_commands_do_not_tune_at_once(use_queue: UseQueue) -> None:
    use_queue(by_rate)
    recipe = Recipe(Path("recipes/tiny.yaml"), "Tiny", {}, (), {"trials": 8, "space": SPACE})
    params = Path("params.yaml")
    origin = queued_runs.read_origin(params)
    with (
        tuner.open_tuning(recipe, origin, params=params),
        pytest.raises(UserError) as error,
    ):
        tune()
    assert str(error.value) == (
        "tune.db: another `lookalike tune` is running here; wait for it, or end it"
    )
