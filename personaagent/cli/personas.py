"""`personas`: how alike users' personas are, and whether each fits its own user best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaagent.cli.evaluate import chosen
from personaagent.cli.experiment import carry_out
from personaagent.cli.experiment_options import ExperimentOptions, Systems

if TYPE_CHECKING:
    from personaagent.experiments.runner import Experiment


def personas(
    given: ExperimentOptions,
    systems: Systems = "non-personalized,personaagent,personaagent-swapped",
) -> None:
    """Look at the personas: are they as different as their users are?

    Compares users by persona and by history (cosines, a Mantel test, nearest
    neighbours, a map), and does the swap test: every sample is answered under
    the user's own persona and under another user's, on the same memory.

    [bold]Examples[/bold]

    personaagent personas --task lamp-2n --questions dev_questions.json \\
        --outputs dev_outputs.json --users 40 --half report --report out
    """
    from personaagent.cli.experiment_tables import show_all
    from personaagent.experiments.protocol import Trial

    def look(experiment: Experiment) -> None:
        from personaagent.experiments.persona_map import survey

        if (found := survey(experiment)) is not None:
            experiment.results.record_map(experiment.id, found.to_dict())

    carry_out(given, [Trial(given.setup(), tuple(chosen(systems)))], show_all, after=look)
