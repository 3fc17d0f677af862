"""A policy of your own: which interactions a step of an alignment learns from."""

from collections.abc import Collection, Sequence

from personaagent.optimizers.replay import Replayed
from personaagent.policies import SAMPLERS


class Shortest:
    """The shortest queries that were answered wrongly: what they turn on is easy to name."""

    def sample(
        self, replayed: Sequence[Replayed], size: int, tried: Collection[str]
    ) -> list[Replayed]:
        new = [one for one in replayed if one.interaction.id not in tried]
        wrong = [one for one in new if one.answer != one.interaction.response]
        return sorted(wrong, key=lambda one: len(one.interaction.query))[:size]


# From now on `Setting(sampler="shortest")`; an entry point of the group `personaagent.samplers`
# makes `compile --sampler shortest` work, too.
SAMPLERS.add("shortest", Shortest)
