"""`evaluate`: systems against each other on held-out questions, with statistics and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.experiment import Told, carry_out
from personaagent.cli.experiment_options import ExperimentOptions, Systems, names
from personaagent.cli.options import Engine
from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.experiments.lineup import SystemSpec

DEFAULT = "non-personalized,rag,personaagent"


def evaluate(
    given: ExperimentOptions,
    systems: Systems = DEFAULT,
    latest: Annotated[
        int | None,
        typer.Option(
            min=0, help="Cold start: users have only so many interactions.", rich_help_panel="Setup"
        ),
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Samples side by side; by default the LM's slots.")
    ] = None,
    engine: Engine = "local",
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Ask nothing: compute everything again from the database, or from a folder that "
            "--predictions wrote.",
            rich_help_panel="Results",
        ),
    ] = False,
) -> None:
    """Compare systems on held-out questions, and say how sure the result is.

    Each answer is kept as it is given: stop at any time, and the same command
    goes on from there. Other systems, more samples and another LM add to what
    is known, and the report is of everything in the database. A failed sample
    is counted, never scored, and asked again.

    [bold]Examples[/bold]

    personaagent evaluate --task lamp-2n --questions dev_questions.json \\
        --outputs dev_outputs.json --samples 40 --half report --report out
    personaagent evaluate --task inbox --history history.jsonl \\
        --queries queries.jsonl --tasks tasks.json --systems all
    personaagent evaluate --task lamp-2n --questions dev_questions.json \\
        --outputs dev_outputs.json --engine ray --slots 64 --lm openai/gpt-4o-mini
    personaagent evaluate --recompute --results results.db --report report
    """
    from personaagent.cli.experiment_tables import show_all
    from personaagent.experiments.protocol import Trial

    if recompute:
        again(given)
        return
    if engine == "ray" and parallel is not None:
        raise DataError("--parallel is of one process: --slots says how many calls Ray makes")
    setup = given.setup()
    if latest is not None:
        setup = setup.varied("interactions", latest)
    trial = Trial(setup, tuple(chosen(systems)))
    carry_out(given, [trial], show_all, parallel=parallel, engine=engine, whole=True)


def again(given: ExperimentOptions) -> None:
    """Everything that is known, computed again without asking anything."""
    from personaagent.cli import render
    from personaagent.cli.experiment_tables import show_all
    from personaagent.experiments.predictions import read_predictions
    from personaagent.experiments.results import Results

    screen = render.screen(as_json=given.as_json)
    if given.results.is_dir():
        told = Told.of(given, read_predictions(given.results))
    else:
        with Results(given.results, must_exist=True) as database:
            told = Told.of(given, database)
    told.tell(given, screen, show_all)


def chosen(systems: str) -> list[SystemSpec]:
    """The systems that an option names.

    Raises:
        DataError: there is none of a name.
    """
    from personaagent.experiments.lineup import entrants

    return entrants([] if systems == "all" else names(systems))
