"""Tuning: optuna samples points of a recipe's search space, each an experiment in DVC's queue.

A point is judged by validation alone: by `val_<train.monitor>` of its best epoch. optuna keeps the
trials in tune.db. A study is named after the commit, the code, the params and the space: so a
command that was interrupted continues its study, and changed code starts another one.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import distribution_to_json
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from app.experiments.dvc_adapter import queue, revisions
from app.experiments.dvc_adapter.run_log import find_failure_reason
from app.experiments.queued_runs import (
    Origin,
    QueueWatch,
    Run,
    enqueue,
    make_run,
    read_origin,
    shorten_keys,
)
from app.experiments.recipes import Recipe, check_settings
from app.experiments.search_spaces import Space, read_space
from app.experiments.studies import STORAGE, VOID, open_study
from app.experiments.sweeps import TRAIN
from pipeline.errors import UserError
from pipeline.tracking.experiments import TrackedExperiments

RANDOM_TRIALS = 5  # before the results guide the sampling
MAX_FAILURES = 3  # at the start of the command, if nothing else has ended

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PendingTrial:
    """A trial whose experiment is queued or running.

    epochs: how many it trains. reported: the epochs that optuna has the values of.
    """

    trial: optuna.Trial
    run: Run
    epochs: int
    reported: set[int] = field(default_factory=set)

    @property
    def is_pruned(self) -> bool:
        """Whether it was ended early, or will be."""
        return "pruned" in self.trial.user_attrs


class Tuning:
    """The study of a recipe's search space, for the working tree as it is."""

    def __init__(self, recipe: Recipe, origin: Origin, *, params: Path) -> None:
        self._recipe, self._origin, self._params = recipe, origin, params
        self.space: Space = read_space(recipe, origin.params)
        plain, checked = check_settings(origin.params, recipe.settings, where=recipe.where)
        self._seed, self._epochs = checked.seed, checked.train.epochs
        self.metric = f"val_{checked.train.monitor}"
        self.short = shorten_keys(self.space.dimensions)
        self._tracked = TrackedExperiments(Path.cwd(), checked.track.experiment)
        self._parent = f"tune {recipe.path.stem}, {origin.commit[:7]}"
        space = {key: distribution_to_json(each) for key, each in self.space.dimensions.items()}
        self.study = open_study(f"{recipe.path.stem}_{origin.digest(plain, space)}")
        self._pending: list[PendingTrial] = []
        self._killed: set[str] = set()
        self._ended: list[TrialState] = []

    def run_trials(self, *, trials: int | None, jobs: int) -> None:
        """Run trials until the study has `trials`, those of earlier runs included.

        trials: None for the number in the recipe. jobs: experiments at a time.

        Raises:
            UserError: the first trials all fail, or what is tuned has changed meanwhile.
        """
        trials = trials or self.space.trials
        if trials > self.space.size:
            trials = int(self.space.size)
            logger.info("the space has only %d points, so there are %d trials", trials, trials)
        self._resume()
        watch = QueueWatch(jobs=jobs)
        while True:
            states = watch.look([pending.run for pending in self._pending])
            self._end_trials(states)
            self._prune_trials(states)
            if len(self._pending) < jobs and self._count_started() < trials:
                self._start_trial()
            elif self._pending:
                watch.rest(len(self._pending))
            else:
                return

    def _resume(self) -> None:
        """Take over the trials that an interrupted run of the command has left."""
        for frozen in self.study.get_trials(states=(TrialState.RUNNING,)):
            # By its number, optuna gives only a frozen copy of a trial, without its methods.
            self._make_pending(optuna.Trial(self.study, frozen._trial_id))
        runs = [pending.run for pending in self._pending if not pending.is_pruned]
        if runs:
            enqueue(runs, commit=self._origin.commit)

    def _start_trial(self) -> None:
        self._check_origin()
        if len(self._ended) >= MAX_FAILURES and set(self._ended) == {TrialState.FAIL}:
            raise UserError(
                f"{self._recipe.path}: the first {len(self._ended)} trials all failed; see above; "
                "correct what they have in common, and run again"
            )
        # Each trial has its seed, so that an interrupted study continues as it would have.
        sampled = self._list_sampled()
        seed = (self._seed * 1_000_003 + len(sampled)) % 2**32
        sampler: BaseSampler = TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
        if sampled and VOID in sampled[-1].user_attrs:
            # The guided sampler may repeat a point again and again, and never reach the last ones.
            sampler = RandomSampler(seed=seed)
        self.study.sampler = sampler
        pending = self._make_pending(self.study.ask(dict(self.space.dimensions)))
        if pending:
            enqueue([pending.run], commit=self._origin.commit)

    def _list_sampled(self) -> list[FrozenTrial]:
        # Points that the user has given to optuna as the next ones are in state WAITING.
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.WAITING]

    def _count_started(self) -> int:
        return sum(VOID not in trial.user_attrs for trial in self._list_sampled())

    def _make_pending(self, trial: optuna.Trial) -> PendingTrial | None:
        """Return a trial with its experiment; None if it has none.

        A point that was sampled before would be the same experiment, so it is not tried again.
        """
        sampled = self._list_sampled()
        same = [
            other.number
            for other in sampled
            if other.number < trial.number
            and other.params == trial.params
            and VOID not in other.user_attrs
        ]
        incomplete = trial.params.keys() != self.space.dimensions.keys()
        if incomplete or same:
            reason = "interrupted while sampling" if incomplete else f"the same as trial {same[0]}"
            trial.set_user_attr(VOID, reason)
            # optuna ignores failed trials: a repeated value would count double.
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        try:
            run = make_run(self._recipe, trial.params, self._origin, short=self.short)
        except UserError as error:
            self._fail_trial(trial, str(error))
            return None
        trial.set_user_attr("experiment", run.name)
        (frozen,) = (other for other in sampled if other.number == trial.number)
        epochs = trial.params.get("train.epochs", self._epochs)
        pending = PendingTrial(trial, run, epochs, set(frozen.intermediate_values))
        self._pending.append(pending)
        return pending

    def _check_origin(self) -> None:
        # A trial runs on the working tree as it is when queued, which may be hours later.
        if read_origin(self._params) != self._origin:
            raise UserError(
                f"{self._params}: it, the code or the commit has changed since this study began; "
                "running trials go on, no more are queued; undo the change and run again, or run "
                "again to begin another study"
            )

    def _end_trials(self, states: Mapping[str, str]) -> None:
        """Give optuna the results of the trials whose experiment is not queued or running."""
        ended = [pending for pending in self._pending if pending.run.name not in states]
        finished = queue.list_finished(self._origin.commit) if ended else {}
        for pending in ended:
            self._pending.remove(pending)
            name = pending.run.name
            self._tracked.put_under(self._parent, [name])
            if name in finished:
                self._complete_trial(pending, finished[name])
            elif pending.is_pruned:
                self._tracked.end(name)
                self.study.tell(pending.trial, state=TrialState.PRUNED)
                self._ended.append(TrialState.PRUNED)
            else:
                reason = find_failure_reason(queue.read_log(name))
                line = f"{pending.run.label}: {reason} (dvc queue logs {name})"
                self._fail_trial(pending.trial, line)

    def _complete_trial(self, pending: PendingTrial, commit: str) -> None:
        self._report_epochs(pending)  # the last ones too: later trials are compared with them
        metrics = revisions.read_revision_metrics(commit, TRAIN)
        pending.trial.set_user_attr("commit", commit)
        pending.trial.set_user_attr("epochs", metrics["epochs"])
        self.study.tell(pending.trial, metrics[self.metric])
        self._ended.append(TrialState.COMPLETE)
        logger.info("%s: %s %.3f", pending.run.label, self.metric, metrics[self.metric])

    def _fail_trial(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)
        self._ended.append(TrialState.FAIL)
        logger.info("trial %d: %s", trial.number, reason)

    def _prune_trials(self, states: Mapping[str, str]) -> None:
        """Report the epochs of running trials, and end those below the median of the others.

        Not at the last epoch: it is already trained, and its value is worth more than the rest of
        the run.
        """
        for pending in self._pending:
            name = pending.run.name
            if states.get(name) != "Running" or name in self._killed:
                continue
            if not pending.is_pruned:
                self._prune_if_behind(pending, epoch=self._report_epochs(pending))
            # Also a trial that was pruned just before this command was killed. Only once: a worker
            # that is interrupted twice leaves its experiment as if it were running.
            if pending.is_pruned and queue.kill(name):
                self._killed.add(name)

    def _prune_if_behind(self, pending: PendingTrial, *, epoch: int) -> None:
        if epoch < pending.epochs and pending.trial.should_prune():
            pending.trial.set_user_attr("pruned", epoch)
            logger.info("%s: pruned after %d epochs", pending.run.label, epoch)

    def _report_epochs(self, pending: PendingTrial) -> int:
        """Report the new epochs of a trial to optuna, and return the number of its last one."""
        epochs = self._tracked.epochs(pending.run.name, self.metric)
        for epoch, value in epochs.items():
            if epoch not in pending.reported and math.isfinite(value):
                pending.trial.report(value, epoch)
                pending.reported.add(epoch)
        return max(epochs, default=0)


@contextmanager
def open_tuning(recipe: Recipe, origin: Origin, *, params: Path) -> Iterator[Tuning]:
    """Yield the tuning of a recipe, for one command at a time.

    params: the file that `origin` was read from.

    Raises:
        UserError: another command is tuning; or as `read_space`.
    """
    try:
        with FileLock(f"{STORAGE}.lock", timeout=0):
            yield Tuning(recipe, origin, params=params)
    except Timeout:
        raise UserError(
            f"{STORAGE}: another `lookalike tune` is running here; wait for it, or end it"
        ) from None
