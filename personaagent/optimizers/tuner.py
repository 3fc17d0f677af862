"""The tuner: Optuna searches settings on a cohort of users, under two objectives or one.

Every setting is tried on the same users and the same held-out interactions, so that users are
paired blocks. The folder holds everything: whoever is killed, and whoever works on it at the same
time, the same command goes on from there. A folder may hold several studies; none of them holds a
text or a name of a user, who is a hash there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Protocol

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from personaagent.errors import DataError
from personaagent.files import private_folder
from personaagent.memory.tombstones import owner_of
from personaagent.optimizers.crossval import Outcome
from personaagent.optimizers.setting import Setting, Space

Cost = Literal["tokens", "seconds"]
STARTUP = 5  # trials before the Gaussian process takes over
SURE = 0.05  # p below which a setting is dropped as worse than the best one
FEWEST_BLOCKS = 5  # users that a setting is tried on before it can be dropped
_DROPPED, _OUTCOMES, _WORKER, _WORKERS, _AGAIN = (
    "dropped", "outcomes", "worker", "workers", "again",
)  # fmt: skip


class Judge(Protocol):
    """Tries settings on users."""

    @property
    def users(self) -> Sequence[str]: ...

    def __call__(self, setting: Setting) -> Generator[tuple[str, Outcome]]:
        """Every user with what the setting brings, as it becomes known; closed where that is
        enough.

        Raises:
            PersonaAgentError: a user's outcome cannot be known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished trial. `loss` and `cost` are means over the users; where it was dropped early,
    `outcomes` are of some users only and `loss` is an estimate."""

    number: int
    setting: Setting
    loss: float
    cost: float
    outcomes: dict[str, Outcome]
    dropped: bool = False


class Tuner:
    """Searches a space in a folder.

    Args:
        judge: tries the settings.
        space: what is searched.
        folder: is made where it is missing; holds Optuna's journal, `study.log`.
        name: the study's; the judge and the space must be the same where it is.
        single: the held-out loss alone; hopeless settings are dropped before all users were tried.
        cost: what is spent a user, learning and answering together.
        seed: of the sampler; each worker goes on from it in its own way.
        report: called with every trial that ends.
        note: called with what else should be known.
    """

    def __init__(
        self,
        judge: Judge,
        space: Space,
        folder: Path,
        name: str,
        *,
        single: bool = False,
        cost: Cost = "tokens",
        seed: int = 0,
        report: Callable[[Tried], None] = lambda _: None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.judge = judge
        self.space = space
        self.folder = folder
        self.single = single
        self.cost = cost
        self.report = report
        private_folder(folder)
        self._seed = seed
        self._claims = FileLock(folder / "claim.lock")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._claims, warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the pruner
            self.study = optuna.create_study(
                study_name=name,
                storage=storage(folder, note),
                directions=["minimize"] if single else ["minimize", "minimize"],
                pruner=optuna.pruners.WilcoxonPruner(
                    p_threshold=SURE, n_startup_steps=FEWEST_BLOCKS
                ),
                load_if_exists=True,
            )

    def __call__(self, trials: int) -> list[Tried]:
        """Try settings until so many are finished or being tried by somebody; the finished ones.

        Raises:
            PersonaAgentError: a setting could not be tried; it is queued to be tried again.
        """
        with self.at_work() as worker:
            while (claimed := self._claim(trials, worker)) is not None:
                self._try(*claimed)
        return self.tried()

    @property
    def place(self) -> Path:
        """Where the report of this study belongs: the folder, or where another study was there
        first, a folder of its own in it."""
        names = optuna.get_all_study_names(self.study._storage)
        own = self.study.study_name
        return self.folder if names[0] == own else self.folder / own

    def keep(self, key: str, outcomes: Mapping[str, Outcome]) -> None:
        """Write down what else was tried, by user."""
        self.study.set_user_attr(
            key, {owner_of(user): one.to_dict() for user, one in outcomes.items()}
        )

    def kept(self, key: str, users: Sequence[str]) -> dict[str, Outcome] | None:
        """What `keep` wrote down, None where that is nothing."""
        known = self.study.user_attrs.get(key)
        return known and {user: Outcome(**known[owner_of(user)]) for user in users}

    def when_alone(self, work: Callable[[], None]) -> None:
        """Do something unless somebody else works in the folder; nobody can begin meanwhile."""
        with self._claims:
            locks = self.folder.glob("worker-*.lock")
            if not any(self._alive(int(one.stem.removeprefix("worker-"))) for one in locks):
                work()

    def tried(self) -> list[Tried]:
        """The trials that are finished, dropped ones too, in order."""
        finished = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [self._tried(one) for one in finished]

    def importances(self) -> dict[str, dict[str, float]]:
        """Each choice's share of what makes a setting good, by objective (PED-ANOVA); empty where
        there are too few trials."""
        objectives = ["loss"] if self.single else ["loss", self.cost]
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that low values are taken to be good: they are
                return {
                    name: optuna.importance.get_param_importances(
                        self.study,
                        evaluator=evaluator,
                        target=lambda trial, at=at: trial.values[at],
                    )
                    for at, name in enumerate(objectives)
                }
        except (ValueError, RuntimeError):
            return {}

    def _claim(self, trials: int, worker: int) -> tuple[optuna.Trial, Setting] | None:
        """The next trial, one at a time among all workers; None where there are enough."""
        with self._claims:
            self._requeue_orphans()
            known = self.study.get_trials(deepcopy=False)
            if not known:
                for first in self.space.first():
                    self.study.enqueue_trial(first)
            counting = (TrialState.COMPLETE, TrialState.RUNNING)
            if sum(one.state in counting for one in known) >= trials:
                return None
            trial = self.study.ask()
            trial.set_user_attr(_WORKER, worker)
            return trial, self.space.suggest(trial)

    def _try(self, trial: optuna.Trial, setting: Setting) -> None:
        outcomes: dict[str, Outcome] = {}
        places = {user: at for at, user in enumerate(self.judge.users)}
        dropped = False
        try:
            with closing(self.judge(setting)) as coming:
                for user, outcome in coming:
                    outcomes[user] = outcome
                    if not self.single:
                        continue
                    trial.report(outcome.loss, places[user])
                    if len(outcomes) < len(places) and trial.should_prune():
                        dropped = True
                        break
        except BaseException:  # Ctrl-C, too
            with self._claims:
                self._requeue(trial.number)
            raise
        ordered = {owner_of(user): outcomes[user].to_dict() for user in places if user in outcomes}
        trial.set_user_attr(_OUTCOMES, ordered)
        trial.set_user_attr(_DROPPED, dropped)
        loss = self._estimate(outcomes) if dropped else fmean(o.loss for o in outcomes.values())
        values = [loss] if self.single else [loss, self._cost(outcomes)]
        self.report(self._tried(self.study.tell(trial, values)))

    def _estimate(self, outcomes: dict[str, Outcome]) -> float:
        """The loss of a dropped setting: the best one's, plus how much worse it was user by user.

        Never below its own mean so far, so that it cannot become the best one itself.
        """
        best = self._tried(self.study.best_trial)
        worse = fmean(one.loss - best.outcomes[user].loss for user, one in outcomes.items())
        return max(best.loss + worse, fmean(one.loss for one in outcomes.values()))

    def _cost(self, outcomes: dict[str, Outcome]) -> float:
        return fmean(float(getattr(one, self.cost)) for one in outcomes.values())

    def _tried(self, trial: optuna.trial.FrozenTrial) -> Tried:
        names = {owner_of(user): user for user in self.judge.users}
        outcomes = {
            names[owner]: Outcome(**values) for owner, values in trial.user_attrs[_OUTCOMES].items()
        }
        return Tried(
            trial.number,
            self.space.suggest(optuna.trial.FixedTrial(trial.params)),
            trial.values[0],
            self._cost(outcomes),
            outcomes,
            trial.user_attrs[_DROPPED],
        )

    # Workers: each holds a lock for as long as it lives, whatever ends it

    @contextmanager
    def at_work(self) -> Iterator[int]:
        """Be a worker; its number."""
        with self._claims:
            number = self.study.user_attrs.get(_WORKERS, 0)
            self.study.set_user_attr(_WORKERS, number + 1)
            lock = self._lock_of(number)
            lock.acquire()
        self.study.sampler = optuna.samplers.GPSampler(
            seed=self._seed + 1_000 * number, n_startup_trials=STARTUP
        )
        try:
            yield number
        finally:
            lock.release()

    def _requeue_orphans(self) -> None:
        """Queue again what dead workers were trying; holds the claims, so nobody is in between."""
        for one in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = one.user_attrs.get(_WORKER)
            if worker is None or not self._alive(worker):
                self._requeue(one.number)

    def _alive(self, worker: int) -> bool:
        try:
            with self._lock_of(worker).acquire(blocking=False):
                return False
        except Timeout:
            return True

    def _requeue(self, number: int) -> None:
        one = self.study.get_trials(deepcopy=False)[number]
        self.study.tell(number, state=TrialState.FAIL)
        if params := one.params or one.system_attrs.get("fixed_params"):
            self.study.enqueue_trial(params, user_attrs={_AGAIN: number})

    def _lock_of(self, worker: int) -> FileLock:
        return FileLock(self.folder / f"worker-{worker}.lock")


def storage(
    folder: Path, note: Callable[[str], None] = lambda _: None
) -> optuna.storages.JournalStorage:
    """The journal of a folder, which several processes may write to.

    Raises:
        DataError: the journal is damaged.
    """
    path = folder / "study.log"
    lock = _Lock(str(path.with_suffix(".lock")))
    backend = _Journal(path, lock, note)
    try:
        return optuna.storages.JournalStorage(backend)
    except ValueError as error:
        raise DataError(
            f"{path}: a line in its middle is damaged ({error}): name another folder with --out, "
            "or take that line out"
        ) from error


class _Journal(JournalFileBackend):
    """Optuna's journal, which a kill in the middle of a write does not spoil.

    Half a line at the end is what its writer was about to say and nobody has read: it is dropped
    before anything is written behind it, or both would be one line that nobody can read.
    """

    def __init__(self, path: Path, lock: _Lock, note: Callable[[str], None]) -> None:
        super().__init__(str(path), lock_obj=lock)
        self._held = lock
        self._note = note
        self._mend()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._held.acquire()
        try:
            self._mend()
            super().append_logs(logs)
        finally:
            self._held.release()

    def _mend(self) -> None:
        path = Path(self._file_path)
        self._held.acquire()
        try:
            with path.open("rb+") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - 1))
                if file.read(1) in (b"", b"\n"):
                    return
                file.seek(0)
                whole = file.read().rfind(b"\n") + 1
                file.truncate(whole)
        finally:
            self._held.release()
        self._note(
            f"{path}: dropped {size - whole} bytes at its end, half a line: whoever wrote it was "
            "killed"
        )


class _Lock:
    """The operating system's lock in the form that Optuna's backend takes: unlike Optuna's own, it
    ends with the process that holds it."""

    def __init__(self, path: str) -> None:
        self._lock: Any = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()
