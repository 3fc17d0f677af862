"""`ablate`, `scale`, `efficiency` and `coldstart`: the experiments that are plans of several."""

from __future__ import annotations

from typing import Annotated

import typer

from personaagent.cli.evaluate import chosen
from personaagent.cli.experiment import carry_out
from personaagent.cli.experiment_options import ExperimentOptions, Systems, numbers
from personaagent.errors import DataError

AXES = ("batch=1,2,4,6,8", "iterations=0,1,2,3,4,5", "k=1,2,4,8,16")
_LEAST = {"batch": 1, "iterations": 0, "k": 1}


def ablate(given: ExperimentOptions) -> None:
    """Take a part of PersonaAgent away and see what it was worth.

    PersonaAgent and its ablations on the same samples, each against the whole
    by a paired test, and the non-personalized system for scale. What
    'evaluate' has answered already is not asked again.

    [bold]Examples[/bold]

    personaagent ablate --task lamp-2n --questions dev_questions.json \\
        --outputs dev_outputs.json --samples 40 --half report --report out
    """
    from personaagent.cli.experiment_tables import show_all
    from personaagent.experiments.lineup import NON_PERSONALIZED, entrants
    from personaagent.experiments.protocol import Trial

    systems = [one for one in entrants() if one.needs_personas or one.name == NON_PERSONALIZED]
    carry_out(given, [Trial(given.setup(), tuple(systems))], show_all)


def scale(
    given: ExperimentOptions,
    systems: Systems = "rag,personaagent",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="An axis and its values; again for another axis. By default "
            + " ".join(AXES)
            + ".",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Vary what alignment and memory are given, one axis at a time, and draw the curves.

    The axes are 'batch' (interactions a step), 'iterations' (steps) and 'k'
    (memories that are read), around what --batch, --iterations and --k say.
    Systems that are not aligned are asked again only where k differs.

    [bold]Examples[/bold]

    personaagent scale --task lamp-2m --questions dev_questions.json \\
        --outputs dev_outputs.json --users 20 --report out
    personaagent scale --task inbox --history history.jsonl \\
        --queries queries.jsonl --tasks tasks.json --vary k=1,4,16
    """
    from personaagent.cli.experiment_tables import show_curves
    from personaagent.experiments.protocol import scaling

    axes = dict(_axis(one) for one in vary or AXES)
    carry_out(given, scaling(given.setup(), chosen(systems), axes), show_curves)


def efficiency(
    given: ExperimentOptions,
    systems: Systems = "all",
    parallel: Annotated[int, typer.Option(min=1, help="Samples side by side.")] = 1,
) -> None:
    """Measure what an answer costs: seconds, calls, tokens and money, against quality.

    One sample at a time unless --parallel says otherwise, so that no answer
    waits for another. Seconds of 'evaluate' were taken side by side: these are
    measured anew.

    [bold]Examples[/bold]

    personaagent efficiency --task lamp-2n --questions dev_questions.json \\
        --outputs dev_outputs.json --samples 20 --half report --report out
    """
    from personaagent.cli.experiment_tables import show_costs
    from personaagent.experiments.protocol import Trial

    setup = given.setup().varied("parallel", parallel)
    carry_out(given, [Trial(setup, tuple(chosen(systems)))], show_costs)


def coldstart(
    given: ExperimentOptions,
    systems: Systems = "majority,knn,non-personalized,rag,personaagent",
    interactions: Annotated[
        str, typer.Option(help="How many of the latest interactions are known.")
    ] = "0,2,5,10,20",
) -> None:
    """Answer for users of whom little is known yet, and draw how that changes with more.

    [bold]Examples[/bold]

    personaagent coldstart --task lamp-3 --questions dev_questions.json \\
        --outputs dev_outputs.json --samples 40 --half report --report out
    """
    from personaagent.cli.experiment_tables import show_curves
    from personaagent.experiments.protocol import cold_starts

    counts = numbers(interactions, "--interactions", least=0)
    carry_out(given, cold_starts(given.setup(), chosen(systems), counts), show_curves)


def _axis(text: str) -> tuple[str, list[int]]:
    """An axis as `batch=1,2,4`."""
    name, _, values = text.partition("=")
    if name not in _LEAST:
        raise DataError(f"--vary '{text}': write an axis and its values, such as {AXES[0]}")
    return name, numbers(values, f"--vary {name}", least=_LEAST[name])
