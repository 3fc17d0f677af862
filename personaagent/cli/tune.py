"""`tune`: search the settings of alignment on a cohort of users, and write the best one down."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from personaagent.cli.options import (
    Database,
    Engine,
    GradientBase,
    GradientLM,
    Json,
    LMChoice,
    Preset,
    SkipMalformed,
    TaskName,
)
from personaagent.errors import BudgetError, DataError

if TYPE_CHECKING:
    from personaagent.data import Interaction, Task

_LAMP, _COHORT, _SEARCH = "LaMP", "Cohort", "Search"


def tune(
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, all in all.")] = 20,
    task: TaskName = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            help="A questions file of LaMP, instead of the memory database.",
            rich_help_panel=_LAMP,
        ),
    ] = None,
    skip_malformed: SkipMalformed = False,
    users: Annotated[
        int, typer.Option(min=2, help="Try every setting on so many.", rich_help_panel=_COHORT)
    ] = 12,
    half: Annotated[
        Literal["dev", "report"] | None,
        typer.Option(
            help="One half of the users, as in 'evaluate': tune on dev.", rich_help_panel=_COHORT
        ),
    ] = None,
    held_out: Annotated[
        int,
        typer.Option(
            min=1,
            help="A user's latest interactions that judge; never more than a third.",
            rich_help_panel=_COHORT,
        ),
    ] = 8,
    check: Annotated[
        int,
        typer.Option(
            min=0,
            help="Try the winner and the defaults on so many further users at the end.",
            rich_help_panel=_COHORT,
        ),
    ] = 0,
    seed: Annotated[
        int, typer.Option(help="Chooses the cohort, and seeds the search.", rich_help_panel=_COHORT)
    ] = 0,
    search: Annotated[
        str,
        typer.Option(
            help="Also search these, with commas between: update, accept, retriever, profile.",
            rich_help_panel=_SEARCH,
        ),
    ] = "",
    objective: Annotated[
        Literal["both", "loss"],
        typer.Option(
            help="Loss and cost, or loss alone: then hopeless settings are dropped early.",
            rich_help_panel=_SEARCH,
        ),
    ] = "both",
    cost: Annotated[
        Literal["tokens", "seconds"],
        typer.Option(help="What is spent per user.", rich_help_panel=_SEARCH),
    ] = "tokens",
    config: Annotated[
        Path | None,
        typer.Option(
            help="A JSON or TOML file of alignment options: the defaults to start from.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    preset: Preset = None,
    out: Annotated[Path, typer.Option(help="The folder of the search and its report.")] = Path(
        "tuning"
    ),
    track: Annotated[
        bool,
        typer.Option("--track", help="Keep it in MLflow: a run, and a child run for every trial."),
    ] = False,
    engine: Engine = "local",
    db: Database = None,
    *,
    choice: LMChoice,
    gradient_lm: GradientLM = None,
    gradient_api_base: GradientBase = None,
    as_json: Json = False,
) -> None:
    """Search batch size, iterations and top-k for low held-out loss and low cost.

    Each user's latest interactions are held out. Every setting learns from the
    earlier ones and is judged on the later ones, with the same users. The
    paper's defaults and yours are tried first. Stop it at any time: the same
    command goes on from there, and run in several terminals it shares the work.

    The folder holds report.html, report.md, and, if a setting was found that is
    better than the defaults, setting.json, which 'compile --config' takes. A
    search of other users or options in the same folder gets one of its own in
    it. What was asked is kept only until the search is done.

    [bold]Examples[/bold]

    personaagent tune --trials 20
    personaagent tune --task lamp-2n --questions dev_questions.json --half dev \\
        --users 12 --check 12
    personaagent tune --objective loss --search update,accept
    personaagent tune --engine ray --slots 64 --lm openai/gpt-4o-mini
    personaagent compile --all --config tuning/setting.json
    """
    from personaagent.cli import render, session
    from personaagent.cli.search import Search
    from personaagent.experiments import tuning_report
    from personaagent.optimizers import ray_pool
    from personaagent.optimizers.setting import PRESETS, Setting, Space, read_choices

    screen = render.screen(as_json=as_json)
    with redirect_stdout(screen.file), ExitStack() as stack:
        start = PRESETS[preset] if preset else Setting()
        base = replace(start, **read_choices(config)) if config else start
        kind, histories = _lamp(task, questions, skip_malformed) if questions else _own(task, db)
        space = Space.of(kind, base, (one.strip() for one in search.split(",") if one.strip()))
        # An answer of the response cache would cost no tokens and no seconds.
        connected = session.connect(choice).copy(cache=False)
        second = session.connect_gradient(gradient_lm, gradient_api_base, choice, connected)
        if engine == "ray":
            ray_pool.refuse_budget(connected.budget)
            stack.enter_context(ray_pool.cluster())
        elsewhere = session.uncached(choice, gradient_lm, gradient_api_base)
        tuning = Search(
            kind,
            connected,
            second.copy(cache=False) if second else None,
            space,
            out,
            single=objective == "loss",
            cost=cost,
            held_out=held_out,
            seed=seed,
            screen=screen,
            elsewhere=elsewhere if engine == "ray" else None,
            **(_noted_by_default() if questions else _noted(db)),
        )
        cohort, unseen = tuning.cohorts(histories, users, check, half)
        try:
            findings = tuning.run(cohort, trials)
            checked = tuning.check(findings, unseen) if unseen else None
        except BudgetError as error:
            raise BudgetError(f"{error}; the same command goes on from there") from error
        place = tuning.make_place()
        setting = tuning_report.write_setting(findings, checked, place)
        about = {
            "task": kind.name,
            "LM": connected.spec,
            "users": f"{len(cohort)}, {held_out} held-out interactions each at most",
            "trials": f"{len(findings.tried)}, of which "
            f"{sum(one.dropped for one in findings.tried)} dropped early",
        }
        written = [*tuning_report.write_tuning_report(findings, checked, about, place), *setting]
        files = [*written, *sorted(place.glob("*.svg"))]
        tracked = tuning.track(findings, checked, about, files) if track else None
        tuning.clear()
    shown = [str(path) for path in written]
    if as_json:
        render.print_json(
            {**tuning_report.summary(findings, checked), "files": shown, "tracked": tracked}
        )
        return
    screen.print(tuning_report.verdict(findings), soft_wrap=True)
    if checked:
        screen.print(tuning_report.checked_verdict(checked), soft_wrap=True)
    if not setting:
        screen.print(tuning_report.NO_SETTING, soft_wrap=True)
    screen.print(render.spent(connected.meter.snapshot()))
    for path in shown:
        screen.print(path, soft_wrap=True)
    if tracked:
        screen.print(f"tracked as MLflow run {tracked}")


def _lamp(
    task: str | None, questions: Path, skip_malformed: bool
) -> tuple[Task, dict[str, list[Interaction]]]:
    """The task and everyone's history in a file of LaMP, oldest first."""
    from datetime import UTC, datetime

    from personaagent.cli import importing
    from personaagent.data import ImportSummary

    if task is None:
        raise DataError("--questions goes with --task: name the task of LaMP, such as lamp-2m")
    kind = importing.lamp_task(task)
    epoch = datetime.min.replace(tzinfo=UTC)
    found: dict[str, list[Interaction]] = {}
    account = ImportSummary(skip_malformed)
    with importing.reading(account):
        histories, _ = importing.lamp_histories(kind, [questions], None, account)
    importing.report(account)
    for one in histories:
        found.setdefault(one.user, []).append(one)
    return kind, {
        user: sorted(mine, key=lambda one: one.time or epoch) for user, mine in found.items()
    }


def _noted(db: str | None) -> dict[str, Any]:
    """What tells the memory database of files with its users' texts, so that an erasure finds
    them."""
    from personaagent.cli import session
    from personaagent.memory import exports

    def begin(users: Iterable[str], path: Path) -> None:
        with session.open_store(db) as store:
            exports.begin_work(store, users, path)

    def end(path: Path) -> None:
        with session.open_store(db) as store:
            exports.end_work(store, path)

    return {"begin_work": begin, "end_work": end}


def _noted_by_default() -> dict[str, Any]:
    """The same for users of a file, some of whom the default database may know."""
    from personaagent.cli import session

    return {"begin_work": session.note_work, "end_work": session.note_work_gone}


def _own(task: str | None, db: str | None) -> tuple[Task, dict[str, list[Interaction]]]:
    """The task and everyone's history in the memory database, oldest first."""
    from personaagent.cli import session
    from personaagent.service.many import task_of_all

    with session.open_store(db) as store:
        kind = task_of_all(store, [one.user for one in store.users()], task)
        return kind, {
            one.user: store.of(one.user).interactions(kind.name) for one in store.users(kind.name)
        }
