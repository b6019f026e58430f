"""Tuning: optuna draws points of a recipe's search space, each an experiment in DVC's queue.

A point is judged by validation alone: by `val_<train.monitor>` of its best epoch. optuna keeps its
trials in tune.db. A study is named after what makes it, the commit, the code, the params and the
space, so whoever was interrupted goes on in it, and changed code begins another.
"""

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

from app.experiments import dvc_adapter
from app.experiments.queued_runs import (
    Origin,
    QueueWatch,
    Run,
    Tell,
    enqueue,
    find_reason,
    make_run,
    read_origin,
    shorten,
)
from app.experiments.recipes import Recipe, applied
from app.experiments.search_spaces import Space, read_space
from app.experiments.studies import STORAGE, VOID, open_study
from pipeline import tracking
from pipeline.errors import UserError

TRAIN = "metrics/train.json"  # the only figures that are looked at
DRAWN_AT_RANDOM = 5  # trials, before those that are done guide the next
FAILURES = 3  # that a run of the command may begin with


@dataclass(frozen=True)
class Live:
    """A trial whose experiment waits or runs.

    epochs: that it trains. reported: those that optuna knows of.
    """

    trial: optuna.Trial
    run: Run
    epochs: int
    reported: set[int] = field(default_factory=set)

    @property
    def is_pruned(self) -> bool:
        """Whether it was ended early, or is about to be."""
        return "pruned" in self.trial.user_attrs


class Tuning:
    """A study of a recipe's search space, upon what is in the working tree."""

    def __init__(self, recipe: Recipe, origin: Origin, *, params: Path, tell: Tell) -> None:
        self._recipe, self._origin, self._params, self._tell = recipe, origin, params, tell
        self.space: Space = read_space(recipe, origin.params)
        where = str(recipe.path)
        plain, checked = applied(origin.params, recipe.settings, where=where)
        self._seed, self._epochs = checked.seed, checked.train.epochs
        self.metric = f"val_{checked.train.monitor}"
        self.short = shorten(self.space.dimensions)
        self._tracked = tracking.TrackedEpochs(Path.cwd(), checked.track.experiment)
        drawn = {key: distribution_to_json(each) for key, each in self.space.dimensions.items()}
        self.study = open_study(f"{recipe.path.stem}_{origin.digest(plain, drawn)}")
        self._live: list[Live] = []
        self._killed: set[str] = set()
        self._ended: list[TrialState] = []

    def work(self, *, trials: int | None, jobs: int) -> None:
        """Go on until the study has so many trials, those of earlier runs included.

        trials: None for as many as the recipe says. jobs: at most so many at a time.

        Raises:
            UserError: the first trials all fail, or what is tuned was changed meanwhile.
        """
        trials = trials or self.space.trials
        if trials > self.space.size:
            trials = int(self.space.size)
            self._tell(f"the space has {trials} points, so there are as many trials")
        self._take_up()
        watch = QueueWatch(jobs=jobs, tell=self._tell)
        while True:
            states = watch.look([live.run for live in self._live])
            self._end(states)
            self._prune(states)
            if len(self._live) < jobs and self._begun() < trials:
                self._ask()
            elif self._live:
                watch.rest(len(self._live))
            else:
                return

    def _take_up(self) -> None:
        """Follow the trials that an interrupted run of the command left."""
        for frozen in self.study.get_trials(states=(TrialState.RUNNING,)):
            # optuna gives a trial by its number only frozen, as a copy that nothing is told.
            self._begin(optuna.Trial(self.study, frozen._trial_id))
        lost = [live.run for live in self._live if not live.is_pruned]
        if lost:
            enqueue(lost, commit=self._origin.commit, tell=self._tell)

    def _ask(self) -> None:
        self._check_origin()
        if len(self._ended) >= FAILURES and set(self._ended) == {TrialState.FAIL}:
            raise UserError(
                f"{self._recipe.path}: the first {len(self._ended)} trials all failed; see above; "
                "mend what they have in common, and run again"
            )
        # A seed a trial, so that an interrupted study goes on as it would have.
        drawn = self._drawn()
        seed = (self._seed * 1_000_003 + len(drawn)) % 2**32
        sampler: BaseSampler = TPESampler(seed=seed, n_startup_trials=DRAWN_AT_RANDOM)
        if drawn and VOID in drawn[-1].user_attrs:
            # What guided it there would do so again, and never come to the last points of a space.
            sampler = RandomSampler(seed=seed)
        self.study.sampler = sampler
        live = self._begin(self.study.ask(dict(self.space.dimensions)))
        if live:
            enqueue([live.run], commit=self._origin.commit, tell=self._tell)

    def _drawn(self) -> list[FrozenTrial]:
        # Points that a person has told optuna to try next wait, and come first.
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.WAITING]

    def _begun(self) -> int:
        return sum(VOID not in trial.user_attrs for trial in self._drawn())

    def _begin(self, trial: optuna.Trial) -> Live | None:
        """Return a trial with its experiment, known by its params; None if it has none of its own.

        A point that was drawn before would be the same experiment: it is not tried again.
        """
        drawn = self._drawn()
        duplicates = [
            other.number
            for other in drawn
            if other.number < trial.number
            and other.params == trial.params
            and VOID not in other.user_attrs
        ]
        lost = trial.params.keys() != self.space.dimensions.keys()
        if lost or duplicates:
            why = "lost while it was drawn" if lost else f"the same as trial {duplicates[0]}"
            trial.set_user_attr(VOID, why)
            # Of a failed trial optuna learns nothing: a value told twice would weigh double.
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        try:
            run = make_run(self._recipe, trial.params, self._origin, short=self.short)
        except UserError as error:
            self._fail(trial, str(error))
            return None
        trial.set_user_attr("experiment", run.name)
        (known,) = (other for other in drawn if other.number == trial.number)
        epochs = trial.params.get("train.epochs", self._epochs)
        live = Live(trial, run, epochs, set(known.intermediate_values))
        self._live.append(live)
        return live

    def _check_origin(self) -> None:
        # A trial is of the working tree as it is when it is queued, which may be hours later.
        if read_origin(self._params) != self._origin:
            raise UserError(
                f"{self._params}: it, the code or the commit was changed since this study began; "
                "what runs goes on, no more is queued; put it back, or begin another; run again"
            )

    def _end(self, states: Mapping[str, str]) -> None:
        """Tell optuna of the trials whose experiment neither waits nor runs any more."""
        ended = [live for live in self._live if live.run.name not in states]
        done = dvc_adapter.finished(self._origin.commit) if ended else {}
        for live in ended:
            self._live.remove(live)
            if live.run.name in done:
                self._complete(live, done[live.run.name])
            elif live.is_pruned:
                self._tracked.end(live.run.name)
                self.study.tell(live.trial, state=TrialState.PRUNED)
                self._ended.append(TrialState.PRUNED)
            else:
                reason = find_reason(dvc_adapter.log(live.run.name))
                line = f"{live.run.label}: {reason} (dvc queue logs {live.run.name})"
                self._fail(live.trial, line)

    def _complete(self, live: Live, commit: str) -> None:
        self._report(live)  # the last epochs too, which the median of the others is made of
        figures = dvc_adapter.read_metrics(commit, TRAIN)
        live.trial.set_user_attr("commit", commit)
        live.trial.set_user_attr("epochs", figures["epochs"])
        self.study.tell(live.trial, figures[self.metric])
        self._ended.append(TrialState.COMPLETE)
        self._tell(f"{live.run.label}: {self.metric} {figures[self.metric]:.3f}")

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)
        self._ended.append(TrialState.FAIL)
        self._tell(f"trial {trial.number}: {reason}")

    def _prune(self, states: Mapping[str, str]) -> None:
        """Report the epochs of what runs, and end what is behind the median of the others.

        Not at its last epoch: that is paid for, and its figure is worth more than the time left.
        """
        for live in self._live:
            if states.get(live.run.name) == "Running" and live.run.name not in self._killed:
                if not live.is_pruned and (epoch := self._report(live)) < live.epochs:
                    self._decide(live, epoch)
                # Also what was pruned just before this command was killed. Once: a worker that is
                # interrupted twice leaves its experiment as if it ran.
                if live.is_pruned and dvc_adapter.kill(live.run.name):
                    self._killed.add(live.run.name)

    def _decide(self, live: Live, epoch: int) -> None:
        if live.trial.should_prune():
            live.trial.set_user_attr("pruned", epoch)
            self._tell(f"{live.run.label}: pruned after {epoch} epochs")

    def _report(self, live: Live) -> int:
        epochs = self._tracked.epochs(live.run.name, self.metric)
        for epoch, value in epochs.items():
            if epoch not in live.reported and math.isfinite(value):
                live.trial.report(value, epoch)
                live.reported.add(epoch)
        return max(epochs, default=0)


@contextmanager
def open_tuning(recipe: Recipe, origin: Origin, *, params: Path, tell: Tell) -> Iterator[Tuning]:
    """Yield the study of a recipe upon what is in the working tree, for one command at a time.

    params: the file that `origin` has read.

    Raises:
        UserError: another command has it, or as `read_space` does.
    """
    try:
        with FileLock(f"{STORAGE}.lock", timeout=0):
            yield Tuning(recipe, origin, params=params, tell=tell)
    except Timeout:
        raise UserError(
            f"{STORAGE}: another `lookalike tune` is at work here; wait for it, or end it"
        ) from None
