"""Memories of mem0 as evidence about its users.

A memory is what an LM made of what a user said, not what the user said. So it becomes an
interaction without an answer: it is recalled and goes into the first profile, with little weight,
and no persona is ever judged by it.

The form is that of mem0's `get_all`: a list of memories, or an object with the list in `results`.
The platform gives it in pages, with the `count` of all memories and the address of the `next` page.
mem0's other export, by a schema of one's own, has no form that could be read here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict

from personaagent.data.files import Document, documents, exported_instant, instant
from personaagent.data.import_summary import ImportSummary
from personaagent.data.importers import Importer
from personaagent.data.interaction import Interaction
from personaagent.data.normal import normal
from personaagent.data.validation import Filled, Row, parse_json, validated
from personaagent.errors import DataError

WEIGHT = 0.25
"""How much a memory counts beside something that the user really answered."""

MEMORY = "memory"
EMPTY = "empty"
EXPIRED = "expired"
AGENT = "of an agent, not of a user"
OTHER = "of another user"
NOBODY = "names no user: give one"
TWICE = "taken already: the same id and text"

_Moment = Annotated[datetime, BeforeValidator(exported_instant)]


def _day(value: object) -> datetime:
    """The end of a day, or the moment that is given."""
    try:
        day = date.fromisoformat(str(value))
    except ValueError:
        return instant(value)
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


class _Memory(Row):
    # What else mem0 knows of a memory (hash, score, categories, organization) is not needed here.
    model_config = ConfigDict(strict=True, extra="ignore")

    id: Filled
    memory: str | None
    user_id: str | None = None  # an empty one names nobody
    agent_id: str | None = None
    created_at: _Moment | None = None
    updated_at: _Moment | None = None
    expiration_date: Annotated[datetime, BeforeValidator(_day)] | None = None


def read_mem0(
    path: str | Path, task: str, *, user: str | None = None, account: ImportSummary | None = None
) -> Iterator[Interaction]:
    """The memories of an export, in its order.

    Args:
        path: JSON, may be gzip; or a folder or zip archive of pages.
        task: the name of the task that they are evidence for.
        user: only this user's, and those that name no user; by default everybody's.
        account: counts what was taken, and why the rest was left.

    Raises:
        DataError: not such a file; names the record and the field.
    """
    account = ImportSummary() if account is None else account
    user = account.user(user) if user else None
    now, seen = datetime.now(UTC), set()
    for number, document, entry in _entries(path, account):
        try:
            memory = validated(_Memory, entry, partial(_refuse, document, number))
        except DataError as error:
            account.refuse(error)
            continue
        named = normal(memory.user_id or "")
        whose = named or (None if memory.agent_id else user)
        moment = memory.updated_at or memory.created_at
        # mem0 rewrites a memory under its id; here what was stored stays as it is.
        content = f"{memory.memory} {moment} {memory.expiration_date}".encode(errors="replace")
        id = f"mem0-{memory.id}-{hashlib.sha256(content).hexdigest()[:8]}"
        if why := _unusable(memory, whose, user, now) or (TWICE if id in seen else None):
            account.left[why] += 1
            continue
        seen.add(id)
        account.taken[MEMORY] += 1
        yield Interaction(
            id=id,
            user=account.user(memory.user_id) if named and memory.user_id else str(whose),
            task=task,
            query=str(memory.memory).strip(),
            response="",
            time=moment,
            weight=WEIGHT,
            source="mem0",
            expires=memory.expiration_date,
        )


def _refuse(document: Document, number: int, field: str, problem: str) -> DataError:
    return DataError(f"{document}: record {number}: field '{field}': {problem}")


def _entries(path: str | Path, account: ImportSummary) -> Iterator[tuple[int, Document, object]]:
    for document in documents(path, r".*\.json", "JSON file with memories"):
        with document.opened() as stream:
            data = parse_json(stream.read(), str(document))
        found = data.get("results") if isinstance(data, dict) else data
        if not isinstance(found, list):
            raise DataError(
                f"{document}: a list of memories is due, or an object with one in 'results': save "
                "what mem0's get_all gives"
            )
        if isinstance(data, dict):
            account.page(found, data.get("count"), more=bool(data.get("next")))
        for number, entry in enumerate(found, 1):
            yield number, document, entry


def _unusable(memory: _Memory, whose: str | None, wanted: str | None, now: datetime) -> str | None:
    """Why a memory is left, None if it is taken."""
    if not (memory.memory or "").strip():
        return EMPTY
    if whose is None:
        return AGENT if memory.agent_id else NOBODY
    if wanted is not None and whose != wanted:
        return OTHER
    if memory.expiration_date is not None and memory.expiration_date <= now:
        return EXPIRED
    return None


IMPORTER = Importer(read_mem0, messages=False, named=True)
