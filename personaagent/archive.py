"""All data of a user in one file: JSON Lines that `sync` takes in again.

The first line says what the file is, the last one holds the number of lines and their SHA-256, so
that a file that was cut or changed is told from a whole one. In between a line is a task, an
interaction, one in quarantine, a persona with its place in the history, a tombstone, or an entry
of the working tables, which `sync` leaves alone. Vectors are left out: they follow from the texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from personaagent.artifacts import replace_file
from personaagent.data import Interaction, Persona, Task
from personaagent.errors import ArtifactError, DataError
from personaagent.files import private_folder
from personaagent.memory import Store, exports, sync
from personaagent.memory.definitions import definition, task_from
from personaagent.memory.encoding import microseconds
from personaagent.memory.quarantine import Quarantined
from personaagent.memory.schema import alignments, journal, preferences, turns, waiting
from personaagent.memory.schema import exports as exported
from personaagent.memory.sync import History, Replica, Tombstone, Version
from personaagent.memory.tasks import load_tasks

SCHEMA = 1
_KIND = "personaagent user"
_WORKING = (journal, alignments, turns, exported, waiting, preferences)
_AGAIN = "export it again with 'personaagent export-all'"


def export_all(store: Store, user: str, path: str | Path) -> int:
    """Write all that is known of a user to a file, whole or not at all; the number of entries.

    Only its owner may read the file. The store remembers where it is, so that `forget` finds it.

    Raises:
        DataError: nothing is known of the user.
        ArtifactError: the file cannot be written.
    """
    path, user = Path(path), store.of(user).user
    text, count = archived(store, user)
    try:
        private_folder(path.parent)
        replace_file(path, text)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written: {error}") from error
    exports.record(store, user, [path], exports.EVERYTHING)
    return count


def archived(store: Store, user: str) -> tuple[str, int]:
    """All that is known of a user, as the text of such a file, and the number of its entries.

    Raises:
        DataError: nothing is known of the user.
    """
    user = store.of(user).user
    with store.database.read() as connection:
        known = sync.read(store, connection, user)
        working = [
            {table.name: dict(row)}
            for table in _WORKING
            for row in connection.execute(sa.select(table).where(table.c.user == user)).mappings()
        ]
    if not (known.interactions or known.histories or known.quarantine):
        raise DataError(f"nothing is known of user '{user}' in {store.name}")
    tasks = load_tasks(store)
    named = {one.task for one in known.interactions.values()} | known.histories.keys()
    named |= {one.interaction.task for one in known.quarantine.values()}
    entries = [
        *({"task": definition(tasks[name])} for name in sorted(named & tasks.keys())),
        *_entries(known),
        *working,
    ]
    head = {"kind": _KIND, "schema": SCHEMA, "user": user, "created": microseconds(store.now())}
    lines = [json.dumps(one, ensure_ascii=False, sort_keys=True) for one in (head, *entries)]
    end = {"lines": len(lines), "sha256": _sha256(lines)}
    return "".join(f"{line}\n" for line in (*lines, json.dumps(end))), len(entries)


def read_archive(path: str | Path) -> tuple[Replica, list[Task]]:
    """What a file knows of its user, and the tasks that it describes.

    Raises:
        ArtifactError: the file cannot be read, is something else, or is damaged.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from error
    if lines.pop() or len(lines) < 2:
        raise ArtifactError(f"{path}: not an export of a user, or cut off: {_AGAIN}")
    try:
        head, *entries, end = map(json.loads, lines)
        if head["kind"] != _KIND or end != {"lines": len(lines) - 1, "sha256": _sha256(lines[:-1])}:
            raise ValueError("the checksum is wrong, so it was changed or cut off")
        if head["schema"] != SCHEMA:
            raise ArtifactError(
                f"{path}: its form is version {head['schema']}, this PersonaAgent reads version "
                f"{SCHEMA}: upgrade with 'pip install -U personaagent'"
            )
        return _replica(head["user"], entries), [
            task_from(one["task"]) for one in entries if "task" in one
        ]
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise ArtifactError(f"{path}: not a whole export of a user ({error}): {_AGAIN}") from error


def _entries(known: Replica) -> Iterator[dict[str, Any]]:
    for one in known.interactions.values():
        yield {"interaction": _data(one)}
    for aside in known.quarantine.values():
        said = {"reason": aside.reason, "created": aside.created.isoformat()}
        yield {"quarantine": {"interaction": _data(aside.interaction), **said}}
    for (kind, digest), laid in known.erasures.items():
        yield {"erasure": {"kind": kind, "digest": digest, **asdict(laid)}}
    for task, history in known.histories.items():
        for v in history.versions.values():
            yield {
                "persona": {
                    "task": task,
                    "champion": v.hash == history.champion,
                    "hash": v.hash,
                    "version": v.version,
                    "parent": v.parent,
                    "persona": v.persona.to_dict() if v.persona else None,
                    "reason": v.reason,
                    "created": v.created,
                    "made_of": dict(v.made_of),
                    "sources": sorted(v.sources),
                }
            }


def _data(one: Interaction) -> dict[str, Any]:
    data = asdict(one) | {"metadata": dict(one.metadata)}
    return data | {at: data[at] and data[at].isoformat() for at in ("time", "expires")}


def _replica(user: str, entries: list[dict[str, Any]]) -> Replica:
    from pydantic import TypeAdapter

    interaction, suspect = TypeAdapter(Interaction), TypeAdapter(Quarantined)
    known = [interaction.validate_python(e["interaction"]) for e in entries if "interaction" in e]
    aside = [suspect.validate_python(e["quarantine"]) for e in entries if "quarantine" in e]
    if strangers := {one.user for one in (*known, *(one.interaction for one in aside))} - {user}:
        raise ValueError(f"interactions of user '{min(strangers)}' in it")
    erasures = {}
    for one in (entry["erasure"] for entry in entries if "erasure" in entry):
        erasures[one.pop("kind"), one.pop("digest")] = Tombstone(**one)
    versions: dict[str, dict[str, Version]] = {}
    champions: dict[str, str] = {}
    for one in (entry["persona"] for entry in entries if "persona" in entry):
        task, leads, said = one.pop("task"), one.pop("champion"), one.pop("persona")
        persona = Persona.from_dict(said) if said else None
        if persona and (persona.hash, persona.user, persona.task) != (one["hash"], user, task):
            raise ValueError(f"persona {one['hash'][:12]} is not the one that was exported")
        version = Version(**one | {"persona": persona, "sources": frozenset(one["sources"])})
        versions.setdefault(task, {})[version.hash] = version
        if leads:
            champions[task] = version.hash
    histories = {task: History(some, champions[task]) for task, some in versions.items()}
    suspects = {one.interaction.id: one for one in aside}
    return Replica(user, {one.id: one for one in known}, erasures, histories, suspects)


def _sha256(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
