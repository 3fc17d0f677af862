"""`evaluate`: systems against each other on held-out questions, with statistics and a report."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from personaagent.cli.options import (
    ApiBase,
    Json,
    LMChoice,
    LMName,
    MaxCalls,
    MaxMoney,
    MaxTokens,
)
from personaagent.errors import BudgetError, DataError

if TYPE_CHECKING:
    from personaagent.evaluation.cohort import EvaluationData
    from personaagent.evaluation.results import Results

_LAMP, _OWN, _COHORT, _SETUP, _OUT = "LaMP", "Your own data", "Cohort", "Variants", "Results"
DEFAULT = "non-personalized,rag,personaagent"
PERSONAS = "personas"


def evaluate(
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="The task: lamp-2n, say, or one of yours.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="A questions file of LaMP.", rich_help_panel=_LAMP)
    ] = None,
    outputs: Annotated[
        Path | None, typer.Option(help="Its gold answers.", rich_help_panel=_LAMP)
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Interactions as JSON Lines, as for 'import'.", rich_help_panel=_OWN),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries as JSON Lines; 'response' is the gold answer.", rich_help_panel=_OWN
        ),
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(help="A JSON list of the tasks that they name.", rich_help_panel=_OWN),
    ] = None,
    systems: Annotated[
        str, typer.Option("--systems", "-s", help="Names with commas between them, or all.")
    ] = DEFAULT,
    samples: Annotated[
        int | None, typer.Option(min=1, help="So many at most.", rich_help_panel=_COHORT)
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Of so many users at most.", rich_help_panel=_COHORT)
    ] = None,
    half: Annotated[
        Literal["dev", "report"] | None,
        typer.Option(
            help="One half of the users: develop on dev, report the other. A user's half never "
            "changes.",
            rich_help_panel=_COHORT,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the cohort.", rich_help_panel=_COHORT)] = 0,
    latest: Annotated[
        int | None,
        typer.Option(
            min=0, help="Cold start: users have only so many interactions.", rich_help_panel=_SETUP
        ),
    ] = None,
    k: Annotated[
        int | None, typer.Option(min=1, help="Memories shown to the LM.", rich_help_panel=_SETUP)
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(min=0, help="Steps of the alignment.", rich_help_panel=_SETUP)
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Interactions a step.", rich_help_panel=_SETUP)
    ] = None,
    sampled: Annotated[
        bool,
        typer.Option(
            "--sampled",
            help="Let the LM write its answers, instead of reading the labels' likelihoods.",
            rich_help_panel=_SETUP,
        ),
    ] = False,
    results: Annotated[
        Path, typer.Option(help="The database of answers.", rich_help_panel=_OUT)
    ] = Path("results.db"),
    report: Annotated[
        Path | None,
        typer.Option(
            help="A folder for report.html and report.md, of everything in the database.",
            rich_help_panel=_OUT,
        ),
    ] = None,
    traces: Annotated[
        bool,
        typer.Option(
            "--traces",
            help="Some answers in full in the report. They quote the data: mind its licence.",
            rich_help_panel=_OUT,
        ),
    ] = False,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Ask nothing: compute everything again from the database.",
            rich_help_panel=_OUT,
        ),
    ] = False,
    redo: Annotated[
        str,
        typer.Option(
            help="Forget what these systems answered, or 'personas', after a change of code.",
            rich_help_panel=_OUT,
        ),
    ] = "",
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Samples side by side; by default the LM's slots.")
    ] = None,
    lm: LMName = "embedded",
    api_base: ApiBase = None,
    max_calls: MaxCalls = None,
    max_tokens: MaxTokens = None,
    max_money: MaxMoney = None,
    as_json: Json = False,
) -> None:
    """Compare systems on held-out questions, and say how sure the result is.

    Each answer is kept as it is given: stop at any time, and the same command
    goes on from there. Other systems, more samples and another LM add to what
    is known. A failed sample is counted, never scored, and asked again.

    [bold]Examples[/bold]

    personaagent evaluate --task lamp-2n --questions dev_questions.json \\
        --outputs dev_outputs.json --samples 40 --half report --report out
    personaagent evaluate --task inbox --history history.jsonl \\
        --queries queries.jsonl --tasks tasks.json --systems all
    personaagent evaluate --recompute --results results.db --report report
    """
    from personaagent.cli import render
    from personaagent.cli.standings import show
    from personaagent.evaluation.analysis import summary
    from personaagent.evaluation.report import analyses_of, write_report
    from personaagent.evaluation.results import Results

    screen = render.screen(as_json=as_json)
    only: list[str] = []
    with redirect_stdout(screen.file), Results(results, must_exist=recompute) as database:
        if not recompute:
            from personaagent.evaluation.cohort import Cohort
            from personaagent.evaluation.protocol import Setup

            steps = {"iterations": iterations, "batch": batch}
            only = [
                _answer(
                    _data(task, questions, outputs, history, queries, tasks),
                    systems=_names(systems),
                    redo=_names(redo),
                    choice=LMChoice(lm, api_base, max_calls, max_tokens, max_money),
                    sampled=sampled,
                    database=database,
                    screen=screen,
                    cohort=Cohort(samples, users, seed, half),
                    setup=Setup(latest, k, {n: v for n, v in steps.items() if v is not None}),
                    parallel=parallel,
                )
            ]
        found = analyses_of(database, only)
        written = write_report(database, report, traces=traces) if report else ()
    if as_json:
        render.print_json(
            {
                "experiments": [summary(one) for one in found],
                "report": [str(path) for path in written],
            }
        )
        return
    for one in found:
        show(one, screen)
    for path in written:
        screen.print(str(path), soft_wrap=True)


def _data(
    task: str | None,
    questions: Path | None,
    outputs: Path | None,
    history: Path | None,
    queries: Path | None,
    tasks: Path | None,
) -> EvaluationData:
    """The data that the options name.

    Raises:
        DataError: they do not go together, or a file breaks the format.
    """
    from personaagent.cli import intake
    from personaagent.data import LAMP_TASKS, read_tasks
    from personaagent.data.rows import suggestion
    from personaagent.evaluation.cohort import lamp_data, own_data

    if task is None:
        raise DataError("name the task with --task, such as lamp-2n")
    if questions and outputs and not (history or queries):
        return lamp_data(intake.lamp_task(task), questions, outputs)
    if history and queries and not (questions or outputs):
        known = LAMP_TASKS | (read_tasks(tasks) if tasks else {})
        if task not in known:
            raise DataError(f"there is no task '{task}'{suggestion(task, known)}: give --tasks")
        return own_data(known[task], history, queries, known)
    raise DataError(
        "give --questions and --outputs (LaMP), or --history and --queries (your own data)"
    )


def _answer(
    data: EvaluationData,
    *,
    systems: list[str],
    redo: list[str],
    choice: LMChoice,
    sampled: bool,
    database: Results,
    screen: Console,
    **options: Any,
) -> str:
    """Ask what is not answered yet; the experiment's id."""
    from personaagent import memory
    from personaagent.cli import session
    from personaagent.cli.standings import Watch
    from personaagent.evaluation.lineup import entrants
    from personaagent.evaluation.runner import Experiment
    from personaagent.evaluation.trace import workplace

    chosen = entrants([] if systems == ["all"] else systems)
    again = entrants([one for one in redo if one != PERSONAS]) if set(redo) - {PERSONAS} else []
    lm = session.connect(choice)
    if sampled:
        lm.identity = replace(lm.identity, likelihoods=False)
    where = workplace(database.path, data.digest, options["setup"].latest)
    with memory.Store(where) as store, Watch(screen, data) as watch:
        episodic = memory.EpisodicMemory(store, memory.SentenceEmbedder())
        experiment = Experiment(data, chosen, lm, episodic, database, watch=watch, **options)
        if PERSONAS in redo:  # whoever answered under them answers again
            again += [one for one in entrants() if one.needs_personas and one not in again]
        if again or redo:
            gone = experiment.redo(again, personas=PERSONAS in redo)
            watch.note(f"forgot {gone:,} answers")
        try:
            return experiment()
        except BudgetError as error:
            raise BudgetError(f"{error}; what was answered is kept") from error


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
