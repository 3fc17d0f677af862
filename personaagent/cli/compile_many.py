"""`compile` for many users: side by side on the LM's slots, each user finished once."""

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


@dataclass
class Many:
    """One run over many users of a task.

    Attributes:
        todo: those with something to do, with what there is to learn from, the longest history
            first: so no slot waits long at the end.
        before: those that were finished before, by the same setting and LMs.
        failed: why, by user.
        done: those that were finished now.
        seconds: wall clock of the work.
    """

    store: Store
    task: Task
    setting: Setting
    lm: PersonaLM
    gradient_lm: PersonaLM | None = None
    prior: Prior | None = None
    todo: dict[str, Material] = field(default_factory=dict)
    before: dict[str, Compiled] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    done: dict[str, Compiled] = field(default_factory=dict)
    seconds: float = 0.0

    def choose(self, users: Sequence[str], *, new: bool, restart: bool) -> None:
        """Sort users into those with something to do, those that are finished, and those without
        anything to learn from; with `new`, leave out who has no new interactions."""
        todo: dict[str, Material] = {}
        for user in users:
            try:
                material = Material.of(self.store, user, self.task, self.setting.seed)
            except DataError as error:
                self.failed[user] = str(error)
                continue
            memo, trainset = self._memo(user), material.trainset
            if restart:
                memo.forget()
            if new and not memo.fresh(trainset):
                continue
            if (known := memo.known(trainset)) is not None:
                self.before[user] = known
            else:
                todo[user] = material
        self.todo = dict(sorted(todo.items(), key=lambda item: -len(item[1].trainset)))

    def estimate(self) -> Estimate:
        """What the work ahead will cost, by what compilations with this LM did cost so far."""
        from personaagent.lm import Usage
        from personaagent.optimizers.estimate import Estimate, Rates

        spent = [Usage(**one.usage) for one in self.before.values()]  # type: ignore[arg-type]
        texts = [one for mine in self.todo.values() for one in mine.trainset]
        rates = Rates.measured(spent) or Rates.guessed(self.lm, texts)
        counts = [len(mine.trainset) for mine in self.todo.values()]
        return Estimate.of(self.task, self.setting, counts, rates, self.lm.slots)

    def run(self, board: Board, *, restart: bool, tracked: bool) -> None:
        """Do the work; whoever fails is in `failed`, with those that a used-up budget kept."""
        from personaagent.optimizers.fleet import side_by_side

        began = time.monotonic()
        with session.agent_of(self.store, self.task, self.lm) as agent:

            def learned(user: str) -> Learned | Compiled:
                """What is learned, or what another process has finished meanwhile."""
                lms = self.lm, self.gradient_lm
                watcher = board.begin(user)
                with held(self.store, user, self.task.name) as end:
                    memo, trainset = self._memo(user), self.todo[user].trainset
                    if not restart and (known := memo.known(trainset)) is not None:
                        return known
                    return learn(
                        agent,
                        self.todo[user],
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
                    if one.error is not None:
                        self.failed[one.user] = _told(one.error)
                        board.end(one.user, self.failed[one.user], failed=True)
                        if isinstance(one.error, BudgetError):
                            break
                        continue
                    assert one.result is not None
                    if isinstance(one.result, Compiled):
                        self.before[one.user] = one.result
                        board.end(one.user, verdict(one.result), failed=False)
                        continue
                    self.done[one.user] = one.result.done
                    board.end(one.user, verdict(one.result.done), failed=False)
                    if tracked:
                        align.track(agent, one.result.log, self.lm, one.result.run, board.note)
        for user in self.todo:
            if not any(user in ended for ended in (self.done, self.before, self.failed)):
                self.failed[user] = _NOT_BEGUN

    def _memo(self, user: str) -> Memo:
        lms = self.lm, self.gradient_lm
        return Memo.of(self.store, user, self.task, self.setting, lms, self.prior)


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
    raise DataError(
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


def forecast(estimate: Estimate, users: int, slots: int) -> str:
    """The estimate in words."""
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
    return f"{render.counted(users, 'user')}: {', '.join(parts)}"


def show(many: Many, used: Usage, screen: Console) -> None:
    """The table of everyone, and what it took."""
    numbers = ("loss before", "after", "accepted", "calls")
    table = render.table("user", *numbers, "outcome", right=numbers)
    for user, one in many.done.items():
        table.add_row(
            render.plain(user),
            f"{one.first_loss:.3f}",
            f"{one.last_loss:.3f}",
            str(one.accepted),
            f"{one.usage.get('calls', 0):,.0f}",
            render.name_of(one.persona) if one.changed else f"kept: {one.stopped}",
        )
    for user, problem in many.failed.items():
        table.add_row(render.plain(user), *[""] * 4, f"failed: {render.short(problem, 60)}")
    if table.row_count:
        screen.print(table)
    if many.before:
        screen.print(f"{render.counted(len(many.before), 'user')} finished before")
    if many.done or many.failed:
        busy = f", {render.counted(many.lm.slots, 'slot')} busy {busy_share(many, used):.0%}"
        took = render.duration(many.seconds)
        screen.print(f"{render.spent(used)}; {took} in all{busy if many.seconds else ''}")


def busy_share(many: Many, used: Usage) -> float:
    """The share of the LM's slots that were at work, over the whole run."""
    return used.seconds / (many.lm.slots * many.seconds) if many.seconds else 0.0


def to_dict(many: Many, estimate: Estimate, used: Usage) -> dict[str, Any]:
    """The run as JSON data."""

    def said(found: Mapping[str, Compiled], state: str) -> list[dict[str, Any]]:
        return [
            {
                "user": user,
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
            for user, one in found.items()
        ]

    return {
        "task": many.task.name,
        "estimate": forecast_dict(estimate, many),
        "users": [
            *said(many.done, "compiled"),
            *said(many.before, "finished before"),
            *(
                {"user": user, "state": "failed", "problem": why}
                for user, why in many.failed.items()
            ),
        ],
        "failed": len(many.failed),
        "used": used.to_dict(),
        "seconds": many.seconds,
        "slots": {"count": many.lm.slots, "busy": busy_share(many, used)},
    }


def forecast_dict(estimate: Estimate, many: Many) -> dict[str, Any]:
    """The estimate as JSON data."""
    return {"users": len(many.todo), **asdict(estimate)}


def _told(error: Exception) -> str:
    if isinstance(error, PersonaAgentError):
        return str(error)
    return f"{type(error).__name__}: {error}"
