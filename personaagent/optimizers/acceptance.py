"""Whether a candidate persona takes the champion's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from personaagent.optimizers.replay import Replayed


class Acceptance(Protocol):
    """Judges a candidate against the champion on interactions that wrote neither."""

    def accepts(
        self, champion: Sequence[Replayed], candidate: Sequence[Replayed]
    ) -> tuple[bool, str]:
        """The verdict and its reason; both replays are of the same interactions, in order."""
        ...


class AlwaysAccept:
    """The paper's: the latest rewrite is the persona."""

    def accepts(
        self, champion: Sequence[Replayed], candidate: Sequence[Replayed]
    ) -> tuple[bool, str]:
        del champion, candidate
        return True, "always accepted"


class AcceptOnReplay:
    """Only what lowers the loss on held-out interactions, and not by a few of the answers that it
    changes at the cost of most; without evidence the champion stays."""

    def __init__(self, *, margin: float = 0.5) -> None:
        self.margin = margin  # nats that the whole replay must save

    def accepts(
        self, champion: Sequence[Replayed], candidate: Sequence[Replayed]
    ) -> tuple[bool, str]:
        saved = [old.loss - new.loss for old, new in zip(champion, candidate, strict=True)]
        changed = [value for value in saved if value]
        if not changed:
            return False, "changes nothing on replay"
        better = sum(value > 0 for value in changed)
        verdict = sum(saved) > self.margin and 2 * better >= len(changed)
        of = f"better on {better} of {len(changed)} changed answers"
        return verdict, f"saves {sum(saved):.1f} nats on replay, {of}"
