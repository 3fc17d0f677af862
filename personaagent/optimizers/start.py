"""Where an alignment starts: from the published persona, or from a first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from personaagent.data import Choice, Interaction, Persona
from personaagent.optimizers.prior import Start
from personaagent.optimizers.record import Record
from personaagent.optimizers.student import Student
from personaagent.optimizers.writers import Writers
from personaagent.programs.situation import derived_from


def bare_of(agent: Student, user: str, start: Start) -> list[Persona]:
    """What `start_of` gives, without its profile; empty where that is not all that it says."""
    persona = agent.persona_of(user)
    if persona.directives:
        return []
    actions = persona.actions if persona.profile else start.actions
    return [replace(persona, profile="", actions=actions)]


def start_of(
    agent: Student,
    user: str,
    writing: Sequence[Interaction],
    judging: Sequence[Interaction],
    start: Start,
    writers: Writers,
    record: Record,
) -> Persona:
    """The published persona, or a first one as the cohort starts: by default a profile.

    Args:
        agent: its task and memory.
        user: whose persona.
        writing: what may write a persona.
        judging: what judges it, and must not write it.
        start: how a first one begins.
        writers: write the profile.
        record: keeps it.
    """
    persona = agent.persona_of(user)
    if persona.profile or persona.directives:
        return persona
    if not start.profile:
        return replace(persona, actions=start.actions, trust=start.trust)
    # Derived interactions say little of the user; what they were made from says more.
    sources = {id for one in writing for id in derived_from(one)}
    hidden = {id for one in judging for id in derived_from(one)}
    mine = agent.memory.store.of(user)
    papers = mine.get(sorted(sources - hidden))
    # What is known of the user without an answer (a Choice's papers judge, too).
    last = max((one.time for one in (*writing, *judging) if one.time), default=None)
    told = (
        []
        if isinstance(agent.task, Choice)
        else mine.interactions(agent.task.name, before=last, unanswered=True)
    )
    profile = writers.profile(agent.task, papers or [*told, *writing], record)
    return replace(persona, profile=profile, actions=start.actions, trust=start.trust)
