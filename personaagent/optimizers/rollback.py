"""Automatic rollback: a champion that newer interactions turn against gives way to its parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from personaagent.data import Interaction, Persona
from personaagent.data.pins import keeping
from personaagent.optimizers.evidence import (
    ALPHA,
    BETS,
    ROLLBACK,
    Bet,
    Contests,
    e_value,
    evidence,
    identity,
    kind_of,
    shares,
)
from personaagent.optimizers.replay import Replay
from personaagent.optimizers.selection import Trial
from personaagent.optimizers.split import evidence_of
from personaagent.optimizers.worklog import MemoryWorkLog, Record
from personaagent.programs import PersonaAgent

LATEST = 12  # newer interactions that are replayed at a time


@dataclass(frozen=True, slots=True)
class Watched:
    """A champion that was watched: who is the champion now, whether that is a rollback, the
    evidence in words, and on how many interactions both were replayed."""

    champion: Persona
    rolled_back: bool
    reason: str
    replayed: int


def watch_champion(
    agent: PersonaAgent,
    user: str,
    newer: Sequence[Interaction],
    *,
    contests: Contests,
    record: Record | None = None,
    alpha: float = ALPHA,
    bets: Mapping[str, Bet] = BETS,
) -> Watched | None:
    """Replay the published champion and its parent on newer interactions; roll back on evidence.

    The test is that of `AcceptOnEvidence`: the parent bets against the champion, and what it wins
    is kept, so several watches add up. The chain only grows: the parent's content becomes the next
    version, with what a person has pinned since. What speaks for the parent then speaks against the
    champion's return.

    Args:
        agent: answers the replay, with DSPy's LM.
        user: whose champion.
        newer: what the user did after the champion was written, oldest first.
        contests: the user's evidence.
        record: where the replay is kept, so that it goes on after a kill.
        alpha: the probability that a parent that is no better ever returns.
        bets: by kind of edit; `ROLLBACK` counts.

    Returns:
        None where there is nothing to watch: no parent that says anything else, nothing newer.

    Raises:
        ConflictError: somebody published in between; nothing was changed.
        LMError: the LM failed; the same call with the same record goes on from there.
    """
    memory = agent.memory.store.of(user)
    chain = memory.personas(agent.task.name)
    if len(chain) < 2:
        return None
    parent, champion = keeping(chain[-1], chain[-2]), chain[-1]
    if identity(parent) == identity(champion):
        return None
    wrote = evidence_of(champion) | evidence_of(parent)
    judging = [one for one in newer if one.id not in wrote][-LATEST:]
    if not judging:
        return None
    replay = Replay(agent, record or MemoryWorkLog())
    trial = Trial(champion, parent, replay(champion, judging), replay(parent, judging))
    known = contests.add(champion, parent, shares(trial), kind=ROLLBACK)
    e = e_value(known.saved.values(), bets[ROLLBACK])
    reason = f"{evidence(known, e, alpha)}, on what came after version {champion.version}"
    if e < 1 / alpha:
        return Watched(champion, False, reason, len(judging))
    against = {id: -share for id, share in known.saved.items()}
    contests.add(parent, champion, against, kind=kind_of(parent, champion))
    again = replace(parent, version=champion.version + 1, parent=champion.hash)
    reason = f"rolled back to version {parent.version}: {reason}"
    # What the parent was made of, the champion after it was made of too.
    memory.publish(again, expected=champion.hash, reason=reason, made_of=())
    return Watched(again, True, reason, len(judging))
