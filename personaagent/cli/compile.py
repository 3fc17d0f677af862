"""`compile`: learn personas from what users really answered, and publish them."""

from __future__ import annotations

from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import (
    AcceptName,
    Batch,
    Config,
    Database,
    Engine,
    GradientBase,
    GradientLM,
    Iterations,
    Json,
    LMChoice,
    LongestProfile,
    Preset,
    PriorFile,
    ProfileWords,
    Recalling,
    ReplayCount,
    RetrieverName,
    SamplerName,
    Seed,
    SensitiveName,
    SkipMalformed,
    TaskName,
    TopK,
    UpdateName,
    as_user,
)
from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.optimizers import Prior, Setting

_MANY, _LAMP = "Many users", "LaMP"


def compile_persona(
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="Whose persona.", show_default=False, callback=as_user),
    ] = None,
    everyone: Annotated[
        bool,
        typer.Option("--all", help="Every user who has interactions.", rich_help_panel=_MANY),
    ] = False,
    users: Annotated[
        str, typer.Option("--users", help="Names with commas between.", rich_help_panel=_MANY)
    ] = "",
    new: Annotated[
        bool,
        typer.Option(
            "--new",
            help="Those with interactions that no 'compile' has seen.",
            rich_help_panel=_MANY,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what it will cost, and do nothing.",
            rich_help_panel=_MANY,
        ),
    ] = False,
    task: TaskName = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions",
            help="A questions file of LaMP: this user's history in it is imported first.",
            rich_help_panel=_LAMP,
        ),
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(
            "--outputs",
            help="Its gold answers: the user's questions are answered with the persona before and "
            "after. They teach it nothing.",
            rich_help_panel=_LAMP,
        ),
    ] = None,
    skip_malformed: SkipMalformed = False,
    config: Config = None,  # noqa: ARG001  (its callback takes it)
    preset: Preset = None,  # noqa: ARG001  (the same)
    iterations: Iterations = 4,
    batch: Batch = 4,
    k: TopK = 4,
    replay: ReplayCount = 12,
    update: UpdateName = "auto",
    accept: AcceptName = "replay",
    sampler: SamplerName = "auto",
    retriever: RetrieverName = "dense",
    profile: ProfileWords = 30,
    longest: LongestProfile = 150,
    sensitive: SensitiveName = "keep",
    recall: Recalling = None,
    seed: Seed = 0,
    prior: PriorFile = None,
    engine: Engine = "local",
    no_track: Annotated[bool, typer.Option("--no-track", help="Keep no MLflow run of it.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an interrupted run has done.")
    ] = False,
    db: Database = None,
    *,
    choice: LMChoice,
    gradient_lm: GradientLM = None,
    gradient_api_base: GradientBase = None,
    as_json: Json = False,
) -> None:
    """Learn a user's persona, or many users', and publish it as the next version.

    Each step answers past queries again, criticizes the answers against the
    user's own (textual gradients), proposes personas, and accepts one only if
    it does better on interactions that wrote none of them. Stop it at any
    time: the same command goes on from there.

    Of imported conversations only those that are new are read, and what they
    tell of the user is added to what is known; nothing is replayed.

    Many users are worked on side by side, as many as the LM has slots, in all
    their tasks unless --task names one. Who is finished is not done again by
    the same options; who fails does not stop the rest, and the command then
    ends with 1. With --engine ray the users are worked on by all nodes of a
    Ray cluster, which share the LM's slots.

    [bold]Examples[/bold]

    personaagent compile --user amira
    personaagent compile --all --dry-run
    personaagent compile --new --config tuning/setting.json
    personaagent compile --all --engine ray --slots 64 --lm openai/gpt-4o-mini
    personaagent compile --user elif --gradient-lm openai/gpt-4o --max-calls 500
    personaagent compile --user 110 --task lamp-2m --questions dev_questions.json
    personaagent compile --user amira --preset paper
    """
    from personaagent.optimizers import Setting, read_prior

    setting = Setting(
        iterations,
        batch,
        k,
        update,
        accept,
        sampler,
        retriever,
        profile,
        replay,
        seed,
        longest,
        sensitive,
        recall,
    )
    options: dict[str, Any] = {
        "task": task,
        "gradient_lm": gradient_lm,
        "gradient_api_base": gradient_api_base,
        "prior": read_prior(prior) if prior else None,
        "tracked": not no_track,
        "restart": restart,
        "db": db,
        "as_json": as_json,
    }
    if [user is not None, everyone, bool(users), new].count(True) != 1:
        raise DataError("whose persona? Give --user NAME, --users A,B, --all or --new")
    if user is not None and engine == "ray":
        raise DataError("--engine ray is for many users: give --users A,B, --all or --new")
    if user is not None and not dry_run:
        lamp = questions, outputs, skip_malformed
        _one(user, setting, choice, lamp, **options)
        return
    if questions or outputs:
        raise DataError(
            "--questions goes with --user: 'personaagent import QUESTIONS --task TASK' imports "
            "the histories of a whole file"
        )
    _many(user, users, setting, choice, engine, new=new, dry_run=dry_run, **options)


def _one(
    user: str,
    setting: Setting,
    choice: LMChoice,
    lamp: tuple[Path | None, Path | None, bool],
    *,
    task: str | None,
    gradient_lm: str | None,
    gradient_api_base: str | None,
    prior: Prior | None,
    tracked: bool,
    restart: bool,
    db: str | None,
    as_json: bool,
) -> None:
    import dspy

    from personaagent.cli import importing, questions, render, session
    from personaagent.cli.progress import Display, scores
    from personaagent.data import ImportSummary
    from personaagent.memory.tasks import task_of

    screen = render.screen(as_json=as_json)
    fresh = lamp[0] is not None  # their histories may be the first data
    with redirect_stdout(screen.file), session.open_store(db, create=fresh) as store:
        file, outputs, skip_malformed = lamp
        account = ImportSummary(skip_malformed)
        asked = questions.import_lamp(store, user, task, file, outputs, account)
        importing.report(account)
        kind = task_of(store, user, task)
        champion = store.of(user).persona(kind.name)
        connected = session.connect(choice)
        second = session.connect_gradient(gradient_lm, gradient_api_base, choice, connected)
        trainer = session.trainer_of(store, setting, connected, second, prior)
        with (
            dspy.context(lm=connected),
            Display(screen, connected.meter, setting.iterations, champion) as display,
        ):
            if kind.conversational:
                display.doing("reading what is new")
            else:
                display.iteration(1)
            trained = trainer.train(user, kind, display, restart=restart)
            log, persona = trained.log, trained.log.last
            used = connected.meter.snapshot()
            held_out = questions.answer_held_out(trainer.agent(kind), asked, log, display)
            display.doing("tracking")
            run_id = trainer.track(kind, trained, display.note) if tracked else None
    champion = trained.before
    lines = render.changes(champion, persona)
    if as_json:
        render.print_json(
            {
                "user": user,
                "task": kind.name,
                "version": persona.version,
                "hash": persona.hash,
                "changed": persona != champion,
                "held": trained.done.held,
                "reason": trained.done.reason,
                "loss": {"first": log.first_loss, "last": log.last_loss},
                "score": {"first": log.first_score, "last": log.last_score},
                "held_out": held_out,
                "lines": [{"sign": sign, "text": text} for sign, text in lines],
                "tracked": run_id,
                "drift": trained.drift.kind,
                "watched": trained.watched
                and {
                    "rolled_back": trained.watched.rolled_back,
                    "reason": trained.watched.reason,
                },
                "learned": trained.learned and trained.learned.to_dict(),
                "log": log.to_dict(),
            }
        )
        return
    screen.print()
    screen.print(render.difference(lines))
    if trained.learned is None:
        screen.print(scores(log, held_out).rich())
        screen.print(f"{render.spent(used)}; stopped: {log.stopped}")
    else:
        screen.print(trained.learned.summary, soft_wrap=True)
        screen.print(render.spent(used))
    if persona == champion:
        why = "nothing better was found" if trained.learned is None else "it knows as much"
        screen.print(f"{render.name_of(persona)} stays: {why}")
    elif trained.done.held:
        screen.print(f"{render.name_of(persona)} {trained.done.reason}", soft_wrap=True)
    else:
        screen.print(f"published {render.name_of(persona)}: {trained.done.reason}", soft_wrap=True)
    if run_id:
        screen.print(f"tracked as MLflow run {run_id}")


def _many(
    user: str | None,
    named: str,
    setting: Setting,
    choice: LMChoice,
    engine: str,
    *,
    task: str | None,
    new: bool,
    dry_run: bool,
    gradient_lm: str | None,
    gradient_api_base: str | None,
    prior: Prior | None,
    tracked: bool,
    restart: bool,
    db: str | None,
    as_json: bool,
) -> None:
    from personaagent.cli import compile_many, render, session
    from personaagent.cli.progress import Board
    from personaagent.memory.changes import changed_users
    from personaagent.memory.tasks import task_named, task_of
    from personaagent.optimizers import ray_pool
    from personaagent.service import on_ray
    from personaagent.service.many import Many, chosen_users, tasks_of_all

    screen = render.screen(as_json=as_json)
    with redirect_stdout(screen.file), session.open_store(db) as store:
        if user is not None:
            kind = task_of(store, user, task)
            users, kinds = [user], {kind.name: kind}
        else:
            names = named.split(",")
            users = changed_users(store, task) if new else chosen_users(store, names, task)
            if users or not new:
                kinds = tasks_of_all(store, users, task, prior)
            else:
                kinds = {task: task_named(store, task)} if task else {}
        connected = session.connect(choice)
        second = session.connect_gradient(gradient_lm, gradient_api_base, choice, connected)
        many = Many(session.trainer_of(store, setting, connected, second, prior), kinds)
        many.choose(users, new=new, restart=restart and not dry_run)
        estimate = many.estimate()
        screen.print(compile_many.forecast(estimate, many))
        if many.todo and not dry_run:
            with ExitStack() as stack:
                if engine == "ray":
                    ray_pool.refuse_budget(connected.budget)
                    stack.enter_context(ray_pool.cluster())
                board = stack.enter_context(Board(screen, len(many.todo), setting.iterations))
                if engine == "ray":
                    make = session.trainers(
                        store, db, setting, choice, gradient_lm, gradient_api_base, prior
                    )
                    on_ray.run(many, make, board, restart=restart, tracked=tracked)
                else:
                    many.run(board, restart=restart, tracked=tracked)
    used = connected.meter.snapshot()
    if as_json:
        render.print_json(compile_many.to_dict(many, estimate, used))
    else:
        compile_many.show(many, used, screen)
    if many.failed:
        raise typer.Exit(1)
