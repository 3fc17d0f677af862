"""Many users and tasks trained side by side on the LM's slots, each finished once; and `train`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import dspy

from personaagent.data import Task, validation
from personaagent.data.normal import normal
from personaagent.data.validation import suggestion
from personaagent.errors import BudgetError, DataError, PersonaAgentError
from personaagent.lm import PersonaLM, Usage
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.changes import settle_all
from personaagent.memory.tasks import task_named, task_of, tasks_of
from personaagent.optimizers import Setting
from personaagent.optimizers.estimate import Calls, Estimate, Rates
from personaagent.optimizers.user_pool import side_by_side
from personaagent.service.chats import unread
from personaagent.service.publish import Compiled
from personaagent.service.trainer import Material, Trained, Trainer, Watcher

if TYPE_CHECKING:
    from personaagent.data import Interaction, Persona
    from personaagent.optimizers import Prior, Step, Watched

_NOT_BEGUN = "not begun: the budget is used up"
Job = tuple[str, str]
"""A user and the name of a task."""
Report = Callable[[str, "Step | Watched | str"], None]
"""Is called with a user, and a step that has ended, why the champion was rolled back, or a note."""


class Board(Protocol):
    """Shows what happens to many; `who` is a user, with the task where there are several."""

    def begin(self, who: str) -> Watcher:
        """Somebody's work begins, and is told to this watcher."""
        ...

    def end(self, who: str, outcome: Compiled | str) -> None:
        """Somebody is done; or why not."""
        ...

    def note(self, text: str) -> None:
        """Something that should be known."""
        ...


@dataclass
class Many:
    """One run over many users of one task or several.

    Attributes:
        tasks: by name.
        todo: those with something to do, with what there is to learn from, the longest history
            first: so no slot waits long at the end.
        before: those that were finished before, by the same setting and LMs.
        failed: why, by user.
        done: those that were finished now.
        seconds: wall clock of the work.
    """

    trainer: Trainer
    tasks: Mapping[str, Task]
    todo: dict[Job, Material] = field(default_factory=dict)
    before: dict[Job, Compiled] = field(default_factory=dict)
    failed: dict[Job, str] = field(default_factory=dict)
    done: dict[Job, Compiled] = field(default_factory=dict)
    seconds: float = 0.0

    def choose(self, users: Sequence[str], *, new: bool = False, restart: bool = False) -> None:
        """Sort users into those with something to do, those that are finished, and those without
        anything to learn from; with `new`, leave out who has no new interactions."""
        todo: dict[Job, Material] = {}
        seen: list[tuple[str, str, int]] = []
        for job in self._jobs(users):
            user, task = job[0], self.tasks[job[1]]
            try:
                material = self.trainer.material(user, task)
            except DataError as error:
                self.failed[job] = str(error)
                continue
            memo, trainset = self.trainer.memo(user, task), material.trainset
            if restart:
                memo.forget()
            if new and not memo.fresh(trainset):
                seen.append((user, task.name, material.newest))
                continue
            if (known := memo.known(trainset)) is not None:
                self.before[job] = known
            else:
                todo[job] = material
        if not self.trainer.memory.store.database.readonly:
            settle_all(self.trainer.memory.store, seen)
        self.todo = dict(sorted(todo.items(), key=lambda item: -len(item[1].trainset)))

    def estimate(self) -> Estimate:
        """What the work ahead will cost, by what compilations with this LM did cost so far."""
        trainer, lm = self.trainer, self.trainer.lm
        spent = [Usage(**one.usage) for one in self.before.values()]  # type: ignore[arg-type]
        calls: list[Calls] = []
        texts: list[Interaction] = []
        chats: list[Interaction] = []
        for user, name in self.todo:
            task, past = self.tasks[name], self._ahead((user, name))
            (chats if task.conversational else texts).extend(past)
            champion = trainer.memory.store.of(user).persona(name)
            profile = trainer.prior is None or trainer.prior.start.profile
            calls.append(Calls.ahead(task, past, trainer.setting, lm, champion, profile=profile))
        rates = Rates.measured(spent) or Rates.guessed(lm, texts, chats)
        return Estimate.of(calls, rates, lm.slots)

    def _ahead(self, job: Job) -> Sequence[Interaction]:
        """What there is to learn from; of conversations, what was not read yet."""
        user, task = job[0], self.tasks[job[1]]
        past = self.todo[job].trainset
        return unread(self.trainer.memory.store, user, task, past) if task.conversational else past

    def run(self, board: Board, *, restart: bool = False, tracked: bool = False) -> None:
        """Do the work; whoever fails is in `failed`, with those that a used-up budget kept."""
        began = time.monotonic()

        def work(job: Job) -> Trained | Compiled:
            trainer = replace(self.trainer, lm=dspy.settings.lm)  # the one that can be stopped
            user, task = job[0], self.tasks[job[1]]
            watcher, material = board.begin(self.name(job)), self.todo[job]
            return trainer.train_new(user, task, watcher, material=material, restart=restart)

        with (
            dspy.context(lm=self.trainer.lm),
            closing(side_by_side(work, list(self.todo), self.trainer.lm)) as everyone,
        ):
            for one in everyone:
                self.seconds = time.monotonic() - began
                if one.error is not None:
                    self.end(one.user, told(one.error), board)
                    if isinstance(one.error, BudgetError):
                        break
                    continue
                assert one.result is not None
                self.end(one.user, one.result, board, tracked=tracked)
        for job in self.todo:
            if not any(job in ended for ended in (self.done, self.before, self.failed)):
                self.failed[job] = _NOT_BEGUN

    def end(
        self, job: Job, outcome: Trained | Compiled | str, board: Board, *, tracked: bool = False
    ) -> None:
        """Note what became of a job: trained now, or before, or why not."""
        name = self.name(job)
        if isinstance(outcome, str):
            self.failed[job] = outcome
            board.end(name, outcome)
        elif isinstance(outcome, Compiled):
            self.before[job] = outcome
            board.end(name, outcome)
        else:
            self.done[job] = outcome.done
            board.end(name, outcome.done)
            if tracked:
                self.trainer.track(self.tasks[job[1]], outcome, board.note)

    def name(self, job: Job) -> str:
        """Whose work it is, with the task where there are several."""
        user, task = job
        return f"{user}, {task}" if len(self.tasks) > 1 else user

    def busy(self, used: Usage) -> float:
        """The share of the LM's slots that were at work, over the whole run."""
        return used.seconds / (self.trainer.lm.slots * self.seconds) if self.seconds else 0.0

    def _jobs(self, users: Sequence[str]) -> list[Job]:
        """Of several tasks those that each user has."""
        if len(self.tasks) == 1:
            return [(user, name) for name in self.tasks for user in users]
        mine = {user: tasks_of(self.trainer.memory.store, user) for user in users}
        return [(user, name) for name in self.tasks for user in users if name in mine[user]]


def tasks_of_all(
    store: Store, users: Sequence[str], name: str | None, prior: Prior | None = None
) -> dict[str, Task]:
    """The task of this name, or all that these users have, by name.

    Raises:
        DataError: there is no such task, or none; or there are others than the prior's.
    """
    if name is not None:
        return {name: task_named(store, name)}
    names = sorted({task for user in users for task in tasks_of(store, user)})
    if not names:
        raise _nothing(store)
    if prior and names != [prior.task]:
        raise DataError(
            f"these users have other tasks than the prior's: name that with --task {prior.task}"
        )
    return {one: task_named(store, one) for one in names}


def task_of_all(store: Store, users: Sequence[str], name: str | None) -> Task:
    """The task of this name, or the only one that these users have.

    Raises:
        DataError: there is no such task, or none or several to choose from.
    """
    found = tasks_of_all(store, users, name)
    if len(found) > 1:
        raise DataError(f"there are several tasks: name one with --task ({', '.join(found)})")
    return next(iter(found.values()))


def _nothing(store: Store) -> DataError:
    return DataError(
        f"{store.name} has no interactions of these users: add some with 'personaagent import'"
    )


def chosen_users(store: Store, named: Sequence[str], task: str | None) -> list[str]:
    """The users of these names, or where there are none all of them (of a task).

    Raises:
        DataError: a name is not known.
    """
    known = [one.user for one in store.users(task)]
    names = (normal(name) for name in named)
    wanted = list(dict.fromkeys(name for name in names if name))
    for name in wanted:
        if name not in known:
            raise DataError(f"there is no user '{name}'{suggestion(name, known[:20])}")
    return wanted or known


def told(error: Exception) -> str:
    """Why somebody's work failed, in words."""
    if isinstance(error, PersonaAgentError):
        return str(error)
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True, slots=True)
class TrainedUsers:
    """What came of a training of several users, by (user, name of the task).

    Attributes:
        done: what was made, now or before by the same settings and LMs.
        failed: why not.
    """

    done: Mapping[Job, Compiled]
    failed: Mapping[Job, str]

    @property
    def personas(self) -> dict[Job, Persona]:
        """The persona that each of them has now."""
        return {job: one.persona for job, one in self.done.items()}


@overload
def train(  # type: ignore[overload-overlap]  # a text is a sequence of texts too
    users: str,
    *,
    task: Task | str | None = None,
    memory: EpisodicMemory | Store | str | Path | None = None,
    lm: PersonaLM | None = None,
    gradient_lm: PersonaLM | None = None,
    settings: Setting | None = None,
    prior: Prior | None = None,
    restart: bool = False,
    track: bool = True,
    report: Report | None = None,
) -> Compiled: ...


@overload
def train(
    users: Sequence[str] | None = None,
    *,
    task: Task | str | None = None,
    memory: EpisodicMemory | Store | str | Path | None = None,
    lm: PersonaLM | None = None,
    gradient_lm: PersonaLM | None = None,
    settings: Setting | None = None,
    prior: Prior | None = None,
    restart: bool = False,
    track: bool = True,
    report: Report | None = None,
) -> TrainedUsers: ...


def train(
    users: str | Sequence[str] | None = None,
    *,
    task: Task | str | None = None,
    memory: EpisodicMemory | Store | str | Path | None = None,
    lm: PersonaLM | None = None,
    gradient_lm: PersonaLM | None = None,
    settings: Setting | None = None,
    prior: Prior | None = None,
    restart: bool = False,
    track: bool = True,
    report: Report | None = None,
) -> Compiled | TrainedUsers:
    """Learn personas from what users really answered, and publish them: `compile` in Python.

    Who is finished is not done again by the same settings and LMs. An interrupted training goes
    on from where it was, whether it is called here or by the command line.

    Args:
        users: a user; or several, who are trained side by side on the LM's slots; or None for
            all that the memory has.
        task: of the personas; without one, the only task that the user has, or of several users
            all that they have.
        memory: an `EpisodicMemory`, a `Store` or the path of its database; by default the
            database of the command line.
        lm: of `connect`; by default the one that is configured for DSPy.
        gradient_lm: writes gradients and updates, where that is to be another.
        settings: how to align.
        prior: where a new persona starts.
        restart: forget what an interrupted training, or a finished one, has done.
        track: keep an MLflow run of every alignment.
        report: called with a user and what happens to them, a `Step`, a `Watched` or a note as
            text; from several threads where there are several users.

    Returns:
        What was made of the user: `persona`, whether it `changed`, why, the losses and scores
        before and after, what it cost. For several users `TrainedUsers`: one who fails does not
        stop the rest, and why is in `failed`.

    Raises:
        DataError: there is no such user or task, or nothing to learn from; no LM is given.
        StoreError: there is no such database.
        BusyError: somebody else works for the user; nothing was asked of the LM.
        ConflictError: somebody published in between, or interactions were erased: call again.
        LMError: the LM failed, or its budget is used up (`BudgetError`): call again to go on.

    Example:
        >>> amira = train("amira", memory="memory.db", lm=connect("embedded"))  # doctest: +SKIP
        >>> print(amira.persona.render(), amira.reason)  # doctest: +SKIP
    """
    lm = dspy.settings.lm if lm is None else lm
    for name, one in (("lm", lm), ("gradient_lm", gradient_lm or lm)):
        validation.instance(
            name, one, PersonaLM, 'give one of connect, such as connect("embedded")'
        )
    settings = Setting() if settings is None else settings
    validation.instance("settings", settings, Setting, "give a Setting")
    with _memory(memory) as recalling:
        store = recalling.store
        trainer = Trainer(recalling, lm, settings, gradient_lm, prior)
        if isinstance(users, str):
            user = store.of(users).user
            kind = task if isinstance(task, Task) else task_of(store, user, task)
            return _one(trainer, user, kind, restart, track, report)
        given = None if users is None else validation.every("users", users, str, "give their names")
        if given == []:
            return TrainedUsers({}, {})
        names = [store.of(one).user for one in given or ()]
        if isinstance(task, Task):
            everyone, tasks = chosen_users(store, names, task.name), {task.name: task}
        else:
            everyone = chosen_users(store, names, task)
            tasks = tasks_of_all(store, everyone, task, prior)
        many = Many(trainer, tasks)
        many.choose(everyone, restart=restart)
        many.run(_Told("", report), restart=restart, tracked=track)
    return TrainedUsers(many.before | many.done, many.failed)


def _one(
    trainer: Trainer, user: str, task: Task, restart: bool, track: bool, report: Report | None
) -> Compiled:
    watcher = _Told(user, report)
    trained = trainer.train_new(user, task, watcher, restart=restart)
    if isinstance(trained, Compiled):
        return trained
    if track:
        trainer.track(task, trained, watcher.note)
    return trained.done


@contextmanager
def _memory(given: EpisodicMemory | Store | str | Path | None) -> Iterator[EpisodicMemory]:
    """The memory that is meant; a database that was opened for it is closed."""
    from personaagent.memory import named_embedder

    if isinstance(given, EpisodicMemory):
        yield given
    elif isinstance(given, Store):
        yield EpisodicMemory(given, named_embedder())
    else:
        validation.instance(
            "memory", given, (str, Path, type(None)), "give an EpisodicMemory, a Store or a path"
        )
        with Store(given, create=False) as store:
            yield EpisodicMemory(store, named_embedder())


@dataclass(frozen=True, slots=True)
class _Told:
    """Tells a caller's function, if there is one: of one user, or as the board of many."""

    user: str
    report: Report | None

    def note(self, text: str) -> None:
        self._tell(text)

    def rolled_back(self, watched: Watched) -> None:
        self._tell(watched)

    def step(self, step: Step) -> None:
        self._tell(step)

    def begin(self, who: str) -> _Told:
        return replace(self, user=who)

    def end(self, who: str, outcome: Compiled | str) -> None:
        """Comes with what `train` returns."""

    def _tell(self, said: Step | Watched | str) -> None:
        if self.report is not None:
            self.report(self.user, said)
