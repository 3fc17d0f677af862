"""A training for a task of conversations: what is new since the last one is read.

Which messages were read is kept in a journal, by the transaction that publishes the persona. An
erasure empties journals; then what the champion was made of counts as read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from personaagent.data.items import render, word_count
from personaagent.errors import BudgetError, ConflictError, LMError
from personaagent.optimizers.conversations import ConversationReader, Learned, persona_of
from personaagent.optimizers.log import AlignmentLog

if TYPE_CHECKING:
    import sqlalchemy as sa

    from personaagent.data import Action, Interaction, Persona, Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import Journal, Store
    from personaagent.optimizers import Setting
    from personaagent.service.trainer import Trainer

WORD_SHARE = 1 / 6  # words of items for each token of the LM's context: a quarter of it


@dataclass(frozen=True)
class Lesson:
    """What was read, before it is published.

    Attributes:
        log: with the persona; it has no steps, for nothing was replayed.
        run: names the run.
        learned: what reading taught.
        made_of: ids of the messages that were read.
        notes, kept: the journals of what was read, and of the run.
    """

    log: AlignmentLog
    run: str
    learned: Learned
    made_of: tuple[str, ...]
    notes: Journal
    kept: Journal

    def keep(self, connection: sa.Connection) -> None:
        """Write down what was read, in the transaction that publishes the persona."""
        if self.made_of:
            self.notes.write(connection, _digest(self.made_of), list(self.made_of))
        self.kept.write(connection, "learned", self.learned.to_dict())


def unread(store: Store, user: str, task: Task, past: Sequence[Interaction]) -> list[Interaction]:
    """The messages that no training has read, oldest first."""
    known = _known(store, user, task)
    return [one for one in past if one.id not in known]


def keep_unread(store: Store, user: str, task: Task) -> Callable[[sa.Connection], None]:
    """Writes down what was read, for the transaction that publishes what a person wrote: that the
    persona says something by now is no sign that everything was read."""
    ids = sorted(_known(store, user, task))
    noted = store.of(user).journal(_read_in(task.name))

    def keep(connection: sa.Connection) -> None:
        noted.write(connection, _digest(ids), ids)

    return keep


def lesson(
    trainer: Trainer, task: Task, past: Sequence[Interaction], *, restart: bool = False
) -> Lesson:
    """Read what is new.

    Args:
        trainer: with the LM and the setting.
        task: of conversations.
        past: all messages of one user, oldest first.
        restart: read everything again, also what was read.

    Raises:
        ConflictError: interactions were erased meanwhile.
        LMError: the LM failed, or its budget is used up; the same call goes on from there.
    """
    store, user = trainer.memory.store, past[0].user
    mine = store.of(user)
    journal, noted = mine.journal(f"reading/{task.name}"), mine.journal(_read_in(task.name))
    # Only now would an erasure stop the journal.
    if len(mine.seqs(one.id for one in past)) < len(past):
        raise ConflictError(
            f"interactions of user '{user}' were erased meanwhile: the same command starts again, "
            "without them"
        )
    if restart:
        journal.clear()
    champion = mine.persona(task.name)
    start = persona_of(champion, user, task)
    afresh = restart or start is not champion
    new = list(past) if afresh else unread(store, user, task, past)
    setting = trainer.setting
    run = _digest([start.hash, trainer.names, setting.sensitive, *(one.id for one in new)])
    kept = mine.journal(run)
    reader = ConversationReader(
        partial(trainer.memory.embed_kept, user), journal, trainer.gradient_lm, setting.sensitive
    )
    try:
        read = reader.read(start.items, new, past)
    except LMError as error:
        kind = BudgetError if isinstance(error, BudgetError) else LMError
        raise kind(
            f"{error}; what was read so far is kept: the same command goes on from there"
        ) from error
    last = replace(
        start,
        items=read.items,
        actions=_actions(setting, start),
        words=_budget(trainer.lm, replace(start, items=read.items)) if new else start.words,
    )
    before = set() if afresh else _known(store, user, task)
    lm = trainer.gradient_lm or trainer.lm
    log = AlignmentLog(
        user=user,
        task=task.name,
        first=start,
        last=last,
        first_loss=0.0,
        first_score=0.0,
        steps=(),
        judged=(),
        stopped="everything new was read" if new else "nothing new to read",
        settings={
            "lm": lm.spec,
            "lm.fingerprint": lm.fingerprint,
            "sensitive": setting.sensitive,
            "recall": setting.recall,
            "embedder": trainer.memory.embedder.fingerprint,
        },
        usage=read.usage,
    )
    return Lesson(log, run, read.learned, tuple(sorted({*before, *read.ids})), noted, kept)


def _known(store: Store, user: str, task: Task) -> set[str]:
    """The ids of messages that were read."""
    mine = store.of(user)
    noted = mine.journal(_read_in(task.name)).entries()
    if noted:
        return {id for ids in noted.values() for id in ids}
    champion = mine.persona(task.name)
    if champion is None or champion.role != task.role:
        return set()
    with store.database.read() as connection:
        return set(mine.chain(task.name).evidence(connection).get(champion.hash, {}))


def _actions(setting: Setting, persona: Persona) -> tuple[Action, ...] | None:
    """What the persona does for every message: what it did, nothing, or it recalls earlier messages
    too."""
    none, recalling = setting.policies()
    if setting.recall is None:
        return persona.actions
    return recalling if setting.recall else none


def _budget(lm: PersonaLM, persona: Persona) -> int | None:
    """The words that items may have in a prompt, where an LM's context is too small for all."""
    context = lm.capabilities.context
    if context is None:
        return None
    words = round(context * WORD_SHARE)
    return words if word_count(render(persona.items)) > words else None


def _read_in(task: str) -> str:
    return f"read/{task}"


def _digest(content: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(content)).encode()).hexdigest()[:24]
