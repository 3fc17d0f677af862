"""The work of `tune`: whom settings are tried on, the search, and the check on unseen users."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from personaagent.cli import render
from personaagent.errors import DataError
from personaagent.experiments.cohort import Half, half_of, ranked
from personaagent.experiments.protocol import digest, lm_to_dict, task_to_dict
from personaagent.experiments.tuning import Checked, Findings
from personaagent.files import private_folder
from personaagent.optimizers.crossval import FEWEST, HeldOut, Outcome, Split
from personaagent.optimizers.ray_pool import RayPool
from personaagent.optimizers.setting import Setting, Space
from personaagent.optimizers.tuner import Cost, Tried, Tuner
from personaagent.progress import bars
from personaagent.service.trainer import names_of
from personaagent.tracking import TrackingWarning

if TYPE_CHECKING:
    from personaagent.data import Interaction, Task
    from personaagent.lm import PersonaLM

Splits = Mapping[str, Split]


class Search:
    """A search of settings in a folder.

    Args:
        lm: answers; `gradient_lm`, where there is one, criticizes and rewrites.
        folder: holds Optuna's journal and, while the search is not finished, a database of what
            was asked for each cohort, which holds the users' texts.
        held_out: interactions of a user that judge, at most.
        screen: where people read.
        elsewhere: connects, in another process, the LM with so many slots and the gradient LM; with
            it the work is done on the Ray cluster that this process is connected to.
        begin_work, end_work: called with such a database, and with its users, before it is made,
            and when it is gone.
    """

    def __init__(
        self,
        task: Task,
        lm: PersonaLM,
        gradient_lm: PersonaLM | None,
        space: Space,
        folder: Path,
        *,
        single: bool,
        cost: Cost,
        held_out: int,
        seed: int,
        screen: Console,
        elsewhere: Callable[[int], tuple[PersonaLM, PersonaLM | None]] | None = None,
        begin_work: Callable[[Iterable[str], Path], None] = lambda _users, _path: None,
        end_work: Callable[[Path], None] = lambda _path: None,
    ) -> None:
        self.task = task
        self.lm = lm
        self.gradient_lm = gradient_lm
        self.space = space
        self.folder = folder
        self.single = single
        self.cost = cost
        self.held_out = held_out
        self.seed = seed
        self.screen = screen
        self.elsewhere = elsewhere
        self.begin_work = begin_work
        self.end_work = end_work
        self.name = ""  # of the study, once there is one
        self._asked: set[Path] = set()

    def cohorts(
        self,
        histories: Mapping[str, Sequence[Interaction]],
        users: int,
        check: int,
        half: Half | None,
    ) -> tuple[Splits, Splits]:
        """Those that are searched on, and those that the winner is checked on.

        Raises:
            DataError: fewer than two users have enough interactions.
        """
        answered = {user: [one for one in mine if one.response] for user, mine in histories.items()}
        asking = any(answered.values())  # or else they are papers, which questions are made of
        usable: Mapping[str, Sequence[Interaction]] = answered if asking else histories
        able = [
            user
            for user, mine in usable.items()
            if len(mine) >= FEWEST and half in (None, half_of(user))
        ]
        if len(able) < 2:
            raise DataError(
                f"task '{self.task.name}': settings are compared on users with {FEWEST} "
                f"interactions at least, and there are {len(able)} of them (two are needed)"
            )

        def splits(some: Sequence[str]) -> Splits:
            if asking:
                return {user: Split.latest(usable[user], self.held_out) for user in some}
            return Split.papers({user: usable[user] for user in some}, self.held_out, self.seed)

        order = ranked(able, self.seed)
        return splits(order[:users]), splits(order[users : users + check])

    def run(self, cohort: Splits, trials: int) -> Findings:
        """Search until so many settings were tried."""
        said = [self.space.base.to_dict(), self.space.names, self.single, self.cost]
        self.name = f"{self.task.name}-{digest([self._run(cohort), said])[:12]}"
        with self._judging(cohort) as judge, bars(on=self.screen) as bar:
            watched = _Watched(judge, bar)
            self._tuner = tuner = Tuner(
                watched,
                self.space,
                self.folder,
                self.name,
                single=self.single,
                cost=self.cost,
                seed=self.seed,
                report=self._tell,
                note=lambda said: self.screen.print(said, soft_wrap=True),
            )
            tried = tuner(trials)
        if not any(not one.dropped for one in tried):
            raise DataError("other workers are at it, and no setting is tried to the end yet")
        return Findings(
            tried, self.space.base, self.cost, self.space.names, self.single, tuner.importances()
        )

    def check(self, findings: Findings, unseen: Splits) -> Checked:
        """Try the winner and the defaults on users that the search did not see."""
        self.screen.print(f"checking on {render.counted(len(unseen), 'further user')}")
        tuner, run = self._tuner, self._run(unseen)
        with (
            tuner.at_work(),
            self._judging(unseen) as judge,
            bars(on=self.screen) as bar,
        ):
            watched = _Watched(judge, bar)
            both = []
            for setting in (findings.winner.setting, findings.default):
                key = f"checked {run[:12]} {digest(setting.to_dict())[:12]}"
                outcomes = tuner.kept(key, judge.users)
                if outcomes is None:
                    outcomes = dict(watched(setting))
                    tuner.keep(key, outcomes)
                both.append(outcomes)
        return Checked(len(unseen), *both)

    def make_place(self) -> Path:
        """The folder for the report, made; another search is never replaced."""
        place = self._tuner.place
        if place != self.folder:
            self.screen.print(
                f"{self.folder} holds the search of another cohort or other options, so this one "
                f"goes to {place}",
                soft_wrap=True,
            )
        private_folder(place)
        return place

    def clear(self) -> None:
        """Delete the databases of what was asked, unless others are at work: what they were for is
        in the journal, as numbers."""

        def delete() -> None:
            from personaagent.memory.exports import delete_database

            for path in self._asked:
                delete_database(path)
                self.end_work(path)

        self._tuner.when_alone(delete)

    def track(
        self,
        findings: Findings,
        checked: Checked | None,
        about: Mapping[str, str],
        files: Sequence[Path],
    ) -> str | None:
        """The id of the MLflow run of the search, None where MLflow cannot be used."""
        from personaagent.experiments.tuning_tracking import track_tuning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tracked = track_tuning(findings, checked, name=self.name, about=about, files=files)
        for warning in caught:
            if issubclass(warning.category, TrackingWarning):
                self.screen.print(str(warning.message), soft_wrap=True)
        return tracked

    @contextmanager
    def _judging(self, splits: Splits) -> Iterator[HeldOut]:
        """The judge, with a database of its own for these splits: what is later in one of them may
        be known in another."""
        import dspy

        from personaagent import memory

        run = self._run(splits)
        path = self.folder / f"asked-{run[:12]}.db"
        self.begin_work(splits, path)
        self._asked.add(path)
        with (
            memory.Store(path) as store,
            dspy.context(lm=self.lm),
            ExitStack() as stack,
        ):
            episodic = memory.EpisodicMemory(store, memory.named_embedder())
            judge = HeldOut(self.task, episodic, splits, run, gradient_lm=self.gradient_lm)
            if self.elsewhere is not None:
                where = str(path.absolute())
                make = partial(_judge_elsewhere, self.elsewhere, self.task, where, splits, run)
                judge.pool = stack.enter_context(RayPool(make, self.lm, store))
            yield judge

    def _run(self, splits: Splits) -> str:
        """The same task, LMs and interactions give the same key."""
        told = {
            user: [[one.digest for one in part] for part in (split.earlier, split.later)]
            for user, split in splits.items()
        }
        names = names_of(self.lm, self.gradient_lm)
        said = {key: one for key, one in lm_to_dict(self.lm, self.task).items() if key != "spec"}
        return digest([task_to_dict(self.task), names, said, told])

    def _tell(self, one: Tried) -> None:
        setting = ", ".join(f"{name} {getattr(one.setting, name)}" for name in self.space.names)
        how = f"dropped after {len(one.outcomes)} users" if one.dropped else f"loss {one.loss:.3f}"
        self.screen.print(
            f"trial {one.number}: {setting}: {how}, {one.cost:,.0f} {self.cost} a user",
            soft_wrap=True,
        )


def _judge_elsewhere(
    connect: Callable[[int], tuple[PersonaLM, PersonaLM | None]],
    task: Task,
    where: str,
    splits: Splits,
    run: str,
    slots: int,
) -> tuple[PersonaLM, HeldOut]:
    """The judge in another process, on the same database."""
    from personaagent import memory

    lm, gradient_lm = connect(slots)
    episodic = memory.EpisodicMemory(memory.Store(where), memory.named_embedder())
    return lm, HeldOut(task, episodic, splits, run, gradient_lm=gradient_lm)


class _Watched:
    """A judge with a bar of the users that the present setting was tried on."""

    def __init__(self, judge: HeldOut, bar: Progress) -> None:
        self._judge = judge
        self._bar = bar

    @property
    def users(self) -> Sequence[str]:
        return self._judge.users

    def __call__(self, setting: Setting) -> Generator[tuple[str, Outcome]]:
        row: Any = self._bar.add_task("users", total=len(self.users))
        try:
            for one in self._judge(setting):
                self._bar.advance(row)
                yield one
        finally:
            self._bar.remove_task(row)
