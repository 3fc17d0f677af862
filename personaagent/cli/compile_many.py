"""`compile` for many users and tasks: side by side on the LM's slots, each finished once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from personaagent.cli import align, render, session
from personaagent.cli.board import Board
from personaagent.cli.compiled import Compiled, Memo
from personaagent.cli.learning import Learned, Material, learn
from personaagent.cli.leasing import held
from personaagent.errors import BudgetError, DataError, PersonaAgentError

if TYPE_CHECKING:
    from personaagent.data import Task
    from personaagent.lm import PersonaLM, Usage
    from personaagent.memory import Store
    from personaagent.optimizers import Prior, Setting
    from personaagent.optimizers.estimate import Estimate

_NOT_BEGUN = "not begun: the budget is used up"
Job = tuple[str, str]
"""A user and the name of a task."""


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

    store: Store
    tasks: Mapping[str, Task]
    setting: Setting
    lm: PersonaLM
    gradient_lm: PersonaLM | None = None
    prior: Prior | None = None
    todo: dict[Job, Material] = field(default_factory=dict)
    before: dict[Job, Compiled] = field(default_factory=dict)
    failed: dict[Job, str] = field(default_factory=dict)
    done: dict[Job, Compiled] = field(default_factory=dict)
    seconds: float = 0.0

    def choose(self, users: Sequence[str], *, new: bool, restart: bool) -> None:
        """Sort users into those with something to do, those that are finished, and those without
        anything to learn from; with `new`, leave out who has no new interactions."""
        todo: dict[Job, Material] = {}
        for job in self._jobs(users):
            user, task = job
            try:
                material = Material.of(self.store, user, self.tasks[task], self.setting.seed)
            except DataError as error:
                self.failed[job] = str(error)
                continue
            memo, trainset = self._memo(job), material.trainset
            if restart:
                memo.forget()
            if new and not memo.fresh(trainset):
                continue
            if (known := memo.known(trainset)) is not None:
                self.before[job] = known
            else:
                todo[job] = material
        self.todo = dict(sorted(todo.items(), key=lambda item: -len(item[1].trainset)))

    def estimate(self) -> Estimate:
        """What the work ahead will cost, by what compilations with this LM did cost so far."""
        from personaagent.lm import Usage
        from personaagent.optimizers.estimate import Estimate, Rates

        spent = [Usage(**one.usage) for one in self.before.values()]  # type: ignore[arg-type]
        texts = [one for mine in self.todo.values() for one in mine.trainset]
        rates = Rates.measured(spent) or Rates.guessed(self.lm, texts)
        ahead = [
            (self.tasks[task], len(self.todo[user, task].trainset)) for user, task in self.todo
        ]
        return Estimate.of(ahead, self.setting, rates, self.lm.slots)

    def run(self, board: Board, *, restart: bool, tracked: bool) -> None:
        """Do the work; whoever fails is in `failed`, with those that a used-up budget kept."""
        from personaagent.optimizers.fleet import side_by_side
        from personaagent.programs import PersonaAgent

        began = time.monotonic()
        some = next(iter(self.tasks.values()))
        with session.agent_of(self.store, some, self.lm) as one_agent:
            memory = one_agent.memory
            agents = {name: PersonaAgent(task, memory) for name, task in self.tasks.items()}

            def learned(job: Job) -> Learned | Compiled:
                """What is learned, or what another process has finished meanwhile."""
                lms, (user, task) = (self.lm, self.gradient_lm), job
                watcher = board.begin(self.name(job))
                with held(self.store, user, task) as end:
                    memo, trainset = self._memo(job), self.todo[job].trainset
                    if not restart and (known := memo.known(trainset)) is not None:
                        return known
                    return learn(
                        agents[task],
                        self.todo[job],
                        self.setting,
                        lms,
                        watcher,
                        prior=self.prior,
                        restart=restart,
                        then=end,
                    )

            with closing(side_by_side(learned, list(self.todo), self.lm)) as everyone:
                for one in everyone:
                    self.seconds = time.monotonic() - began
                    job, name = one.user, self.name(one.user)
                    if one.error is not None:
                        self.failed[job] = _told(one.error)
                        board.end(name, self.failed[job], failed=True)
                        if isinstance(one.error, BudgetError):
                            break
                        continue
                    assert one.result is not None
                    if isinstance(one.result, Compiled):
                        self.before[job] = one.result
                        board.end(name, verdict(one.result), failed=False)
                        continue
                    self.done[job] = one.result.done
                    board.end(name, verdict(one.result.done), failed=False)
                    if tracked:
                        learned_of, run = one.result.log, one.result.run
                        align.track(agents[job[1]], learned_of, self.lm, run, board.note)
        for job in self.todo:
            if not any(job in ended for ended in (self.done, self.before, self.failed)):
                self.failed[job] = _NOT_BEGUN

    def name(self, job: Job) -> str:
        """Whose work it is, with the task where there are several."""
        user, task = job
        return f"{user}, {task}" if len(self.tasks) > 1 else user

    def _jobs(self, users: Sequence[str]) -> list[Job]:
        """Of several tasks those that each user has."""
        from personaagent.memory.tasks import tasks_of

        if len(self.tasks) == 1:
            return [(user, name) for name in self.tasks for user in users]
        mine = {user: tasks_of(self.store, user) for user in users}
        return [(user, name) for name in self.tasks for user in users if name in mine[user]]

    def _memo(self, job: Job) -> Memo:
        lms, (user, task) = (self.lm, self.gradient_lm), job
        return Memo.of(self.store, user, self.tasks[task], self.setting, lms, self.prior)


def tasks_of_all(
    store: Store, users: Sequence[str], name: str | None, prior: Prior | None
) -> dict[str, Task]:
    """The task of this name, or all that these users have, by name.

    Raises:
        DataError: there is no such task, or none; or there are others than the prior's.
    """
    from personaagent.memory.tasks import tasks_of

    if name is not None:
        return {name: session.task_named(store, name)}
    names = sorted({task for user in users for task in tasks_of(store, user)})
    if not names:
        raise _nothing(store)
    if prior and names != [prior.task]:
        raise DataError(
            f"these users have other tasks than the prior's: name that with --task {prior.task}"
        )
    return {one: session.task_named(store, one) for one in names}


def task_of_all(store: Store, users: Sequence[str], name: str | None) -> Task:
    """The task of this name, or the only one that these users have.

    Raises:
        DataError: there is no such task, or none or several to choose from.
    """
    from personaagent.memory.tasks import tasks_of

    if name is not None:
        return session.task_named(store, name)
    names = sorted({task for user in users for task in tasks_of(store, user)})
    if len(names) == 1:
        return session.task_named(store, names[0])
    if names:
        raise DataError(f"there are several tasks: name one with --task ({', '.join(names)})")
    raise _nothing(store)


def _nothing(store: Store) -> DataError:
    return DataError(
        f"{store.name} has no interactions of these users: add some with 'personaagent import'"
    )


def chosen_users(store: Store, named: str, task: str | None) -> list[str]:
    """The users of a list of names, or all of them (of a task).

    Raises:
        DataError: a name is not known.
    """
    from personaagent.data.normal import normal
    from personaagent.data.rows import suggestion

    known = [one.user for one in store.users(task)]
    names = (normal(name) for name in named.split(","))
    wanted = list(dict.fromkeys(name for name in names if name))
    for name in wanted:
        if name not in known:
            raise DataError(f"there is no user '{name}'{suggestion(name, known[:20])}")
    return wanted or known


def verdict(done: Compiled) -> str:
    """What became of a user's persona, and why."""
    if not done.changed:
        return f"{render.name_of(done.persona)} stays: nothing better was found; {done.stopped}"
    return f"{render.name_of(done.persona)}, {done.reason}"


def forecast(estimate: Estimate, many: Many) -> str:
    """The estimate in words."""
    slots = many.lm.slots
    parts = [
        f"about {render.counted(estimate.calls, 'LM call')} (at most {estimate.most:,})",
        f"about {render.counted(estimate.tokens, 'token')}",
        "time unknown before the first user is done"
        if estimate.seconds is None
        else f"about {render.duration(estimate.seconds)} on {render.counted(slots, 'slot')}",
    ]
    if estimate.money is None:
        parts.append("price unknown")
    elif estimate.money:
        parts.append(f"about ${estimate.money:.2f}")
    return f"{_counted(many, len(many.todo))}: {', '.join(parts)}"


def _counted(many: Many, jobs: int) -> str:
    """So many users; of several tasks, so many personas."""
    return render.counted(jobs, "user" if len(many.tasks) == 1 else "persona")


def show(many: Many, used: Usage, screen: Console) -> None:
    """The table of everyone, and what it took."""
    numbers = ("loss before", "after", "accepted", "calls")
    table = render.table("user", *numbers, "outcome", right=numbers)
    for job, one in many.done.items():
        table.add_row(
            render.plain(many.name(job)),
            f"{one.first_loss:.3f}",
            f"{one.last_loss:.3f}",
            str(one.accepted),
            f"{one.usage.get('calls', 0):,.0f}",
            render.name_of(one.persona) if one.changed else f"kept: {one.stopped}",
        )
    for job, problem in many.failed.items():
        table.add_row(
            render.plain(many.name(job)), *[""] * 4, f"failed: {render.short(problem, 60)}"
        )
    if table.row_count:
        screen.print(table)
    if many.before:
        screen.print(f"{_counted(many, len(many.before))} finished before")
    if many.done or many.failed:
        busy = f", {render.counted(many.lm.slots, 'slot')} busy {busy_share(many, used):.0%}"
        took = render.duration(many.seconds)
        screen.print(f"{render.spent(used)}; {took} in all{busy if many.seconds else ''}")


def busy_share(many: Many, used: Usage) -> float:
    """The share of the LM's slots that were at work, over the whole run."""
    return used.seconds / (many.lm.slots * many.seconds) if many.seconds else 0.0


def to_dict(many: Many, estimate: Estimate, used: Usage) -> dict[str, Any]:
    """The run as JSON data."""

    def said(found: Mapping[Job, Compiled], state: str) -> list[dict[str, Any]]:
        return [
            {
                "user": user,
                "task": task,
                "state": state,
                "version": one.persona.version,
                "hash": one.persona.hash,
                "changed": one.changed,
                "reason": one.reason,
                "stopped": one.stopped,
                "loss": {"first": one.first_loss, "last": one.last_loss},
                "score": {"first": one.first_score, "last": one.last_score},
                "calls": one.usage.get("calls", 0),
                "seconds": one.seconds,
            }
            for (user, task), one in found.items()
        ]

    return {
        "tasks": list(many.tasks),
        "estimate": forecast_dict(estimate, many),
        "users": [
            *said(many.done, "compiled"),
            *said(many.before, "finished before"),
            *(
                {"user": user, "task": task, "state": "failed", "problem": why}
                for (user, task), why in many.failed.items()
            ),
        ],
        "failed": len(many.failed),
        "used": used.to_dict(),
        "seconds": many.seconds,
        "slots": {"count": many.lm.slots, "busy": busy_share(many, used)},
    }


def forecast_dict(estimate: Estimate, many: Many) -> dict[str, Any]:
    """The estimate as JSON data."""
    return {"users": len({user for user, _ in many.todo}), **asdict(estimate)}


def _told(error: Exception) -> str:
    if isinstance(error, PersonaAgentError):
        return str(error)
    return f"{type(error).__name__}: {error}"
