"""Which interactions a step learns from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from personaagent.data import Interaction, validation
from personaagent.data.influence import PER_DAY, latest_first
from personaagent.optimizers.replay import Replayed

REACH = 40  # of the latest interactions that are not judging write a persona
SIMULATE = 12  # of these are simulated in each step, beside those that were before it


class BatchSampler(Protocol):
    """Picks a batch from the writing interactions, replayed under the present persona."""

    def sample(
        self, replayed: Sequence[Replayed], size: int, tried: Collection[str]
    ) -> list[Replayed]:
        """At most `size` of `replayed` (oldest first), empty when nothing is left to learn from.

        `tried` are the ids of interactions that batches before this one were made of.
        """
        ...


class LatestBatch:
    """The latest n interactions in every iteration, as in the paper (Algorithm 1)."""

    def sample(
        self, replayed: Sequence[Replayed], size: int, tried: Collection[str]
    ) -> list[Replayed]:
        return list(replayed[-size:])


class HardBatch:
    """The interactions that surprise the most, among those with one common response.

    What the user answered alike has a reason in common, which a batch of mixed answers hides.
    Choose it where users have habits; `LatestBatch` to follow the paper.
    """

    def __init__(self, *, easy: float = 0.7) -> None:
        validation.number("easy", easy, 0, 1)
        self.easy = easy  # nats below which an answer is no surprise (a probability of one half)

    def sample(
        self, replayed: Sequence[Replayed], size: int, tried: Collection[str]
    ) -> list[Replayed]:
        groups: dict[str, list[Replayed]] = defaultdict(list)
        for one in replayed:
            if one.loss > self.easy and one.interaction.id not in tried:
                groups[one.interaction.response].append(one)
        hardest = max(groups.values(), key=lambda g: sum(one.loss for one in g), default=[])
        return sorted(hardest, key=lambda one: -one.loss)[:size]


def due(writing: Sequence[Interaction], *, size: int, already: int, more: int) -> list[Interaction]:
    """The latest of the writing interactions, which are replayed first, oldest first.

    Of one day no more than a third of `more` come before all others have had their turn.

    Args:
        writing: oldest first.
        size: of a batch.
        already: how many an earlier step has simulated.
        more: how many others are simulated at a time.
    """
    turns = [one.id for one in latest_first(writing, max(size, int(PER_DAY * more)))]
    taken = set(turns[: already + max(more, size)])
    return [one for one in writing if one.id in taken]


def widening(
    writing: Sequence[Interaction], *, size: int, already: int, more: int
) -> Iterator[list[Interaction]]:
    """Ever more of the writing interactions, until a batch is found in them: `due` and on; the last
    are all."""
    while True:
        some = due(writing, size=size, already=already, more=more)
        yield some
        already = len(some)
        if already == len(writing):
            return
