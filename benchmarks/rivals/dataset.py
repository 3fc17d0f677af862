"""What arms learn from, and what is held out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from personaagent.data import Choice, Interaction, Query, self_supervised_pairs
from personaagent.errors import DataError
from personaagent.experiments.cohort import EvaluationData, Sample
from personaagent.experiments.protocol import digest
from personaagent.memory import EpisodicMemory

LEAST = 6  # interactions of a user: some to learn from, some to decide by
_SEED = 0  # of made-up questions
_EPOCH = datetime.min.replace(tzinfo=UTC)


def material(
    data: EvaluationData, memory: EpisodicMemory, users: Collection[str], latest: int
) -> dict[str, list[Interaction]]:
    """By user, the latest interactions before the first question, oldest first.

    They enter memory on the way, and nothing else does: no arm knows more than another. For a
    choice, questions are made of these users' papers.

    Args:
        users: of the store.
        latest: so many a user at most.

    Raises:
        DataError: a user has too few.
    """
    owners = {one.owner for one in data.samples if one.query.user in users}
    pasts = _pasts(data, owners)
    found = {user: pasts.get(user, [])[-latest:] for user in users}
    for user, past in found.items():
        if len(past) < LEAST:
            raise DataError(
                f"user '{user}' has {len(past)} interactions to learn from and needs {LEAST}: "
                "choose other users, or hold out fewer"
            )
        memory.store.add(past)
    memory.ready(*found, progress=True)
    return _paired(found) if isinstance(data.task, Choice) else found


def well_known(data: EvaluationData, least: int) -> EvaluationData:
    """The data with the questions of those users only who have so much to learn from.

    Raises:
        DataError: nobody has.
    """
    enough = {user for user, past in _pasts(data, None).items() if len(past) >= least}
    samples = tuple(one for one in data.samples if one.query.user in enough)
    if not samples:
        raise DataError(
            f"{data.name}: no user has {least} interactions before a question: ask for fewer"
        )
    return replace(data, samples=samples)


def hold_out(data: EvaluationData, count: int, owners: Collection[str]) -> EvaluationData:
    """The data with the latest interactions of these users as questions besides, and out of their
    histories: where a user is asked one question only, an arm's quality is else a coin's.

    Args:
        count: so many of each user.
        owners: as in the files.
    """
    of: dict[str, list[Interaction]] = {}
    for one in data.histories(owners):
        if one.response:
            of.setdefault(one.user, []).append(one)
    owner = {sample.query.user: sample.owner for sample in data.samples}
    held = [
        Sample(Query(one.id, user, one.task, one.query, one.response, one.time), owner[user])
        for user, past in of.items()
        for one in sorted(past, key=lambda one: one.time or _EPOCH)[-count:]
    ]
    gone = {(one.query.user, one.query.id) for one in held}

    def histories(only: Iterable[str] | None) -> Iterator[Interaction]:
        return (one for one in data.histories(only) if (one.user, one.id) not in gone)

    return replace(
        data,
        digest=digest([data.digest, sorted(map(list, gone))]),
        samples=(*data.samples, *held),
        histories=histories,
    )


def _pasts(data: EvaluationData, owners: Collection[str] | None) -> dict[str, list[Interaction]]:
    """By store user, what can be learned from, oldest first: nothing from the first question on,
    and answers only, but for a choice."""
    asked, choice = {one.query.id for one in data.samples}, isinstance(data.task, Choice)
    cutoffs = data.cutoffs
    found: dict[str, dict[str, Interaction]] = {}
    for one in data.histories(owners):
        cutoff = cutoffs.get(one.user)
        early = cutoff is None or one.time is None or one.time < cutoff
        if early and one.id not in asked and (one.response or choice):
            found.setdefault(one.user, {}).setdefault(one.id, one)
    return {
        user: sorted(past.values(), key=lambda one: one.time or _EPOCH)
        for user, past in found.items()
    }


def _paired(papers: dict[str, list[Interaction]]) -> dict[str, list[Interaction]]:
    made: dict[str, list[Interaction]] = {user: [] for user in papers}
    for one in self_supervised_pairs(papers, _SEED):
        made[one.user].append(one)
    return made
