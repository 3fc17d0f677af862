"""`worker` and `queue`: alignment beside the serving of answers, which never waits for it."""

from __future__ import annotations

from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from personaagent.cli.options import (
    Database,
    Engine,
    Json,
    LMChoice,
    PriorFile,
    TaskName,
    as_user,
)
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.memory.queue import Job, Trigger
    from personaagent.optimizers.ray_pool import RayPool
    from personaagent.service import Trainer


def worker(
    once: Annotated[
        bool, typer.Option("--once", help="Stop when nothing is due; by default wait for more.")
    ] = False,
    threshold: Annotated[
        int, typer.Option(min=1, help="New interactions that make an alignment due.")
    ] = 5,
    every: Annotated[
        float | None,
        typer.Option(
            min=0, help="Hours after which any new interaction makes one due.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A JSON or TOML file of alignment options, such as 'tune' writes."),
    ] = None,
    sensitive: Annotated[
        Literal["keep", "mask", "leave-out"] | None,
        typer.Option(
            help="As of 'compile'; it goes before what the file says.", show_default=False
        ),
    ] = None,
    prior: PriorFile = None,
    engine: Engine = "local",
    no_track: Annotated[bool, typer.Option("--no-track", help="Keep no MLflow runs.")] = False,
    db: Database = None,
    *,
    choice: LMChoice,
) -> None:
    """Align the personas that are due, one after another, and publish them.

    With --engine ray as many at once as the LM has slots, on all nodes of a
    Ray cluster.

    What is due is kept in the database: `queue` shows it. Any number of
    workers may run; no two of them, nor one and a `compile`, work for the
    same user. One that is stopped gives its job back, and one that dies is
    replaced by the next, which goes on from there. `ask` takes the persona
    that is published and waits for nobody.

    [bold]Examples[/bold]

    personaagent worker
    personaagent worker --once --threshold 1
    personaagent worker --config tuning/setting.json
    personaagent worker --every 24 --lm openai/gpt-4o-mini
    personaagent worker --engine ray --slots 64 --lm openai/gpt-4o-mini
    """
    from personaagent.cli import render, session
    from personaagent.cli.progress import Line
    from personaagent.memory import named_embedder
    from personaagent.memory.queue import NewInteractions, Queue, Schedule
    from personaagent.optimizers import HabitsChanged, Setting, ray_pool, read_prior
    from personaagent.service.worker import Worker

    triggers: list[Trigger] = [NewInteractions(threshold), HabitsChanged(named_embedder())]
    if every is not None:
        triggers.append(Schedule(timedelta(hours=every)))
    setting = Setting.read(config) if config else Setting()
    if sensitive is not None:
        setting = replace(setting, sensitive=sensitive)
    start = read_prior(prior) if prior else None
    screen = render.screen(as_json=True)
    with redirect_stdout(screen.file), session.open_store(db) as store, ExitStack() as stack:
        jobs = Queue(store)

        def trainer() -> Trainer:
            return session.trainer_of(store, setting, session.connect(choice), prior=start)

        def line(job: Job) -> Line:
            return Line(screen, _who(job))

        def on_ray(made: Trainer) -> RayPool[Trainer]:
            make = session.trainers(store, db, setting, choice, prior=start)
            return ray_pool.RayPool(make, made.lm, store)

        given = {"pool": on_ray} if engine == "ray" else {}
        work = Worker(jobs, triggers, trainer, not no_track, **given)
        if engine == "ray":
            ray_pool.refuse_budget(choice.budget)
            stack.enter_context(ray_pool.cluster())
        for job, done in work.work(line, once=once):
            said = (
                done if isinstance(done, str) else f"{render.name_of(done.persona)}, {done.reason}"
            )
            screen.print(f"{_who(job)}: {said}", soft_wrap=True)
        for left in jobs.jobs():
            said = f"{_who(left)}: left alone: {left.waiting(store.now())}"
            screen.print(render.plain(said), soft_wrap=True)


def queue(
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="Add a job for this user.", callback=as_user),
    ] = None,
    task: TaskName = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Give failed jobs another chance.")
    ] = False,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show the alignments that are due or under way; --user adds one.

    [bold]Examples[/bold]

    personaagent queue
    personaagent queue --user amira
    personaagent queue --retry
    """
    from personaagent.cli import render, session
    from personaagent.memory.queue import Queue, described
    from personaagent.memory.tasks import task_of

    with session.open_store(db) as store:
        jobs = Queue(store)
        if user is not None:
            jobs.add(user, task_of(store, user, task).name, "request")
        if retry:
            jobs.retry()
        found, now = jobs.jobs(), store.now()
    if as_json:
        render.print_json(
            {
                "jobs": [
                    {
                        "user": one.user,
                        "task": one.task,
                        "state": one.state(now),
                        "trigger": one.trigger,
                        "created": render.instant(one.created),
                        "due": render.instant(one.due),
                        "attempts": one.attempts,
                        "held_by": described(one.worker) if one.held(now) else None,
                        "until": render.instant(one.lease) if one.held(now) else None,
                        "problem": one.problem or None,
                    }
                    for one in found
                ]
            }
        )
        return
    screen = render.screen(as_json=False)
    if not found:
        screen.print("nothing is due")
        return
    rows = [
        [
            one.user,
            one.task,
            one.state(now),
            one.trigger,
            f"{one.created:%Y-%m-%d %H:%M}",
            f"{one.due:%Y-%m-%d %H:%M}",
            render.short(described(one.worker) if one.held(now) else one.problem),
        ]
        for one in found
    ]
    columns = ["user", "task", "state", "trigger", "since", "due", "details"]
    screen.print(Table(columns=columns, rows=rows).rich())


def _who(job: Job) -> str:
    from personaagent.cli import render

    return render.plain(f"{job.user} · {job.task}")
