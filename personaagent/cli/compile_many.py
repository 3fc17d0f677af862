"""What `compile` says of many users: what it will cost, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from personaagent.cli import render
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.lm import Usage
    from personaagent.optimizers.estimate import Estimate
    from personaagent.service import Compiled
    from personaagent.service.many import Job, Many


def forecast(estimate: Estimate, many: Many) -> str:
    """The estimate in words."""
    slots = many.trainer.lm.slots
    parts = [
        f"about {render.counted(estimate.calls, 'LM call')} "
        f"(at least {estimate.least:,}, at most {estimate.most:,})",
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
    rows = [
        [
            many.name(job),
            *_judged(one),
            f"{one.usage.get('calls', 0):,.0f}",
            render.name_of(one.persona) if one.changed else f"kept: {one.stopped}",
        ]
        for job, one in many.done.items()
    ]
    for job, problem in many.failed.items():
        rows.append([many.name(job), *[""] * 4, f"failed: {render.short(problem, 60)}"])
    if rows:
        columns = ["user", *numbers, "outcome"]
        screen.print(Table(columns=columns, rows=rows, right=numbers).rich())
    if many.before:
        screen.print(f"{_counted(many, len(many.before))} finished before")
    if many.done or many.failed:
        busy = f", {render.counted(many.trainer.lm.slots, 'slot')} busy {many.busy(used):.0%}"
        took = render.duration(many.seconds)
        screen.print(f"{render.spent(used)}; {took} in all{busy if many.seconds else ''}")


def _judged(one: Compiled) -> tuple[str, str, str]:
    """Loss before and after, and steps accepted; nothing where nothing was replayed."""
    if not one.judged:
        return "", "", ""
    return f"{one.first_loss:.3f}", f"{one.last_loss:.3f}", str(one.accepted)


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
        "slots": {"count": many.trainer.lm.slots, "busy": many.busy(used)},
    }


def forecast_dict(estimate: Estimate, many: Many) -> dict[str, Any]:
    """The estimate as JSON data."""
    return {"users": len({user for user, _ in many.todo}), **asdict(estimate)}
