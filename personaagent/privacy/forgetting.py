"""`forget`: an erasure everywhere, from the database to MLflow, with a receipt.

The database comes first, in one transaction; it also notes that the places outside are still to be
cleaned. So a kill, or a server that is down, leaves nothing undone for good: the same call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from personaagent.errors import DataError
from personaagent.lm.written import clear_responses
from personaagent.memory import Store, exports
from personaagent.memory.encoding import microseconds
from personaagent.memory.erasure import Erased, erase
from personaagent.memory.schema import unfinished
from personaagent.memory.tombstones import owner_of
from personaagent.privacy import untracking
from personaagent.tracking import connection as mlflow

_LOG = (
    "PostgreSQL keeps what was deleted in its write-ahead log, in backups and on replicas until it "
    "recycles them: ask its administrator"
)
_REPORTS = (
    "reports of experiments, in files and in MLflow, may name the user on a persona map, and quote "
    "where --traces was given: delete them, and write them again with 'evaluate --recompute'"
)
_TRASH = (
    "the MLflow server keeps numbers of deleted runs and models, and the user's name as their tag, "
    "until its administrator runs 'mlflow gc'"
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was deleted where: hashes, counts and a time; no text and no name.

    Attributes:
        owner: the hash that stands for the user.
        time: when, ISO 8601 in UTC.
        erased: what left the database.
        outside: by place, how many files, entries or responses were deleted.
        left: by place, why something may be left there; may name paths, and is not in `to_dict`
            but for the places.
        beyond: by place, what no program of the user's can reach, or can find; nothing of it
            makes the receipt incomplete.
        moved: files that are not where they were written; may name the user, and is not in
            `to_dict`.
    """

    owner: str
    time: str
    erased: Erased
    outside: dict[str, int]
    left: dict[str, str]
    beyond: dict[str, str] = field(default_factory=dict)
    moved: tuple[Path, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every place was cleaned."""
        return not self.left

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "owner": self.owner,
            "time": self.time,
            "interactions": list(self.erased.interactions),
            "vectors": self.erased.vectors,
            "personas": list(self.erased.personas),
            "published": list(self.erased.published),
            "derived": self.erased.derived,
            **self.outside,
            "complete": self.complete,
            "left": sorted(self.left),
            "beyond": self.beyond,
        }


def forget(
    store: Store,
    user: str,
    *,
    ids: Collection[str] = (),
    source: str | None = None,
    everything: bool = False,
    results: Collection[Path] = (),
    tracking_uri: str | None = None,
) -> Receipt:
    """Erase a user's interactions, and all that was derived from them, wherever it is known to be.

    Deletes the rows (in quarantine too), vectors, journals and persona texts in the database,
    exported files that hold some of it, databases of unfinished searches of settings, the user's
    part of experiments, all of the user's runs, traces, prompts and models in MLflow, and DSPy's
    response cache; then compacts the database file. docs/erasure.md lists every place. Personas
    lose what rested on the interactions; the next alignment derives it again from what remains.
    Doing it again finishes what was left.

    Args:
        store: the database.
        user: whose interactions.
        ids: those of these ids.
        source: those of this source.
        everything: all of them, and everything else that is known of the user.
        results: what experiments left beside those that the database knows of: results databases,
            and folders of predictions or of `tune`.
        tracking_uri: MLflow's, as in `tracking.track`.

    Raises:
        DataError: nothing is known of the user, in the database or in one of `results`, or of one
            of the ids; nothing was erased.
        StoreError: one of `results` is something else; nothing was erased.
    """
    user = store.of(user).user
    begun = user in unfinished_users(store)
    if not begun:
        _refuse_unknown(user, results)
    if everything and not (results or begun or user in store.everyone()):
        raise DataError(f"nothing is known of user '{user}' in {store.name}")
    erased = erase(store, user, ids=ids, source=source, everything=everything)
    if results:
        _note(store, user, results)
    done = finish(store, user, tracking_uri=tracking_uri)
    time = store.now().isoformat(timespec="seconds")
    beyond = {}
    if store.database.keeps_log:
        beyond["database"] = _LOG
    if done.outside.get("workfiles"):
        beyond["reports"] = _REPORTS
    if done.outside.get("mlflow") and _is_server(tracking_uri):
        beyond["mlflow"] = _TRASH
    if done.moved:
        count = len(done.moved)
        beyond["files"] = (
            f"{count} file is not where it was written: delete it where it is, if it was moved or "
            "is on another machine"
            if count == 1
            else f"{count} files are not where they were written: delete them where they are, if "
            "they were moved or are on another machine"
        )
    return Receipt(owner_of(user), time, erased, done.outside, done.left, beyond, done.moved)


def unfinished_users(store: Store) -> list[str]:
    """Users of whom something that was erased may still be found outside of the database."""
    with store.database.read() as connection:
        return sorted(connection.scalars(sa.select(unfinished.c.user)))


@dataclass(frozen=True, slots=True)
class Finished:
    """What was cleaned outside of the database: `outside`, `left` and `moved` as in `Receipt`."""

    outside: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    moved: tuple[Path, ...] = ()


def finish(store: Store, user: str, *, tracking_uri: str | None = None) -> Finished:
    """Clean the places outside of the database after an erasure. Without an unfinished erasure
    nothing is done."""
    if user not in unfinished_users(store):
        return Finished()
    outside: dict[str, int] = {}
    left: dict[str, str] = {}
    moved: list[Path] = []

    def clean(place: str, work: Callable[[], int]) -> None:
        try:
            outside[place] = work()
        except Exception as error:  # file systems, MLflow and its servers raise anything
            outside[place] = 0
            left[place] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    def files() -> int:
        found = exports.delete_doomed(store, user)
        if found.changed:
            left["exports"] = "changed since they were exported, so they are left to you: " + (
                ", ".join(map(str, found.changed))
            )
        moved.extend(found.moved)
        return found.deleted

    def searches() -> int:
        from personaagent.experiments import leavings

        found = exports.delete_work(store, user, leavings.erase)
        moved.extend(found.moved)
        return found.deleted

    def compacted() -> int:
        if not store.database.compact():
            left["database"] = "another process reads it: its log may hold deleted rows until then"
        return 1

    clean("exports", files)
    clean("workfiles", searches)
    clean("mlflow", lambda: untracking.forget(user, tracking_uri=tracking_uri))
    clean("responses", clear_responses)
    clean("compacted", compacted)
    if not left.keys() - {"exports"}:
        with store.database.write() as connection:
            connection.execute(unfinished.delete().where(unfinished.c.user == user))
        store.database.compact()  # its name stood in what was just deleted
    return Finished(outside, left, tuple(moved))


def _refuse_unknown(user: str, results: Collection[Path]) -> None:
    from personaagent.experiments import leavings

    for place in results:
        if not leavings.knows(place, user):
            raise DataError(f"nothing is known of user '{user}' in {place}: nothing was erased")


def _note(store: Store, user: str, results: Collection[Path]) -> None:
    """Write down what is to be cleaned, so that it is cleaned whatever happens."""
    for place in results:
        exports.begin_work(store, [user], place)
    row = {"user": user, "since": microseconds(store.now())}
    with store.database.write() as connection:
        store.database.upsert(connection, unfinished, row)


def _is_server(tracking_uri: str | None) -> bool:
    return urlsplit(mlflow.address(tracking_uri)).scheme in ("http", "https")
