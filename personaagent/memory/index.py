"""Indexes as a cache of the store: one per user, built when first asked for.

The store is read before every search, for the rows after the last one seen, so what other processes
add is found at once. How vectors are searched is a `VectorIndex`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from personaagent.data.influence import NOWHERE
from personaagent.errors import StoreError
from personaagent.memory.embedder import Embedder
from personaagent.memory.encoding import microseconds
from personaagent.memory.lru import LRU
from personaagent.memory.stored_vectors import matrix_of
from personaagent.memory.tombstones import owner_of
from personaagent.memory.user import UserMemory
from personaagent.memory.vectors import Seqs, VectorIndex

MakeIndex: TypeAlias = Callable[[int], VectorIndex]
"""Makes an empty index for vectors of so many dimensions."""
UNDATED = np.iinfo(np.int64).min  # sorts before every time, as in the store
_NEVER = np.iinfo(np.int64).max
# Beside its vector, a row costs its seq twice, two times, task, source, a node of IndexIDMap2.
_ROW_BYTES = 104
_NUMBERS = 10_000  # ids whose seqs are kept
_VECTORS_AT_ONCE = 50_000  # read as Python objects at once


def _none() -> Seqs:
    return np.empty(0, dtype=np.int64)


class ErasedMeanwhile(Exception):
    """What is being recalled has lost rows since it was read: read it again."""


@dataclass(eq=False)
class UserIndex:
    """One user's rows and vectors in memory; whoever reads or changes it holds `lock`.

    seqs, times, expires, tasks, sources: [n], in the order of seq; times in microseconds since
    1970, tasks and sources as numbers, "user" as `NOWHERE`. `erasure` is the number of the latest
    erasure that this knows of. `turns` by task are kept until there are others.
    """

    seqs: Seqs = field(default_factory=_none)
    times: Seqs = field(default_factory=_none)
    expires: Seqs = field(default_factory=_none)
    tasks: Seqs = field(default_factory=_none)
    sources: Seqs = field(default_factory=_none)
    erasure: int = 0
    turns: dict[str, Any] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _codes: dict[str, int] = field(default_factory=dict)
    _origins: dict[str, int] = field(default_factory=lambda: {"user": NOWHERE})
    _vectors: VectorIndex | None = None
    _turned: int = 0
    _numbers: dict[str, int | None] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """About how much memory this takes."""
        vectors = 0 if self._vectors is None else self._vectors.bytes
        return len(self.seqs) * _ROW_BYTES + vectors

    def refresh(self, memory: UserMemory) -> bool:
        """Read the rows that were added since the last time; whether there were any.

        After an erasure everything is read again: FAISS would keep what is gone.
        """
        known = int(self.seqs[-1]) if len(self.seqs) else 0
        newest, erasure, turned = memory.pulse()
        if turned != self._turned:
            self.turns.clear()
            self._turned = turned
        if (newest, erasure) == (known, self.erasure):
            return False
        self._numbers.clear()
        rows, erasure = memory.after(known)
        if erasure != self.erasure:
            self.seqs, self.times, self.expires = _none(), _none(), _none()
            self.tasks, self.sources = _none(), _none()
            self._vectors = None
            rows, self.erasure = memory.after(0)
        if not rows:
            return False
        seqs, tasks, times, expires, sources = zip(*rows, strict=True)
        codes = [self._codes.setdefault(task, len(self._codes)) for task in tasks]
        origins = [self._origins.setdefault(source, len(self._origins)) for source in sources]
        self.seqs = _extended(self.seqs, seqs)
        self.tasks = _extended(self.tasks, codes)
        self.sources = _extended(self.sources, origins)
        self.times = _extended(self.times, [UNDATED if t is None else t for t in times])
        self.expires = _extended(self.expires, [_NEVER if t is None else t for t in expires])
        return True

    def eligible(
        self, now: datetime, task: str | None, before: datetime | None, excluded: Sequence[int]
    ) -> NDArray[np.bool_]:
        """Which rows [n] may be recalled: of the task, not expired, before `before`."""
        allowed = self.expires > microseconds(now)
        if task is not None:
            allowed &= self.tasks == self._codes.get(task, -1)
        if before is not None:
            allowed &= self.times < microseconds(before)
        if len(excluded):
            allowed &= ~np.isin(self.seqs, excluded)
        return allowed

    def numbers(self, memory: UserMemory, ids: Collection[str]) -> list[int]:
        """The seqs of these ids; unknown ids are left out."""
        if new := [id for id in ids if id not in self._numbers]:
            if len(self._numbers) > _NUMBERS:
                self._numbers.clear()
                new = list(ids)
            self._numbers |= dict.fromkeys(new) | memory.seqs(new)
        return [seq for id in ids if (seq := self._numbers[id]) is not None]

    def load(
        self,
        memory: UserMemory,
        embedder: Embedder,
        make: MakeIndex,
        embed_missing: Callable[[], object],
    ) -> VectorIndex:
        """The index, with the vectors of all rows.

        Args:
            memory: where they are read from.
            embedder: whose vectors.
            make: an empty index, where there is none yet.
            embed_missing: called if the store lacks some: puts them there.

        Raises:
            ErasedMeanwhile: some of the rows are gone since they were read.
            StoreError: vectors are not there even then.
        """
        if self._vectors is None:
            self._vectors = make(embedder.dimensions)
        loaded = len(self._vectors)
        if loaded == len(self.seqs):
            return self._vectors
        matrix = np.empty((len(self.seqs) - loaded, embedder.dimensions), dtype=np.float32)
        for first in range(loaded, len(self.seqs), _VECTORS_AT_ONCE):
            part = slice(first - loaded, first - loaded + _VECTORS_AT_ONCE)
            if not self._read(memory, embedder.fingerprint, first, matrix[part]):
                embed_missing()
                if not self._read(memory, embedder.fingerprint, first, matrix[part]):
                    if memory.pulse()[1] != self.erasure:
                        raise ErasedMeanwhile
                    raise StoreError(
                        f"{memory.database.name}: vectors of user '{memory.user}' vanish as they "
                        "are written: another process uses this database with another embedding "
                        "model"
                    )
        self._vectors.add(self.seqs[loaded:], matrix)
        return self._vectors

    def _read(
        self, memory: UserMemory, fingerprint: str, first: int, matrix: NDArray[np.float32]
    ) -> bool:
        """Fill `matrix` [m, d] with the vectors of the m rows from `first`; False if one lacks."""
        wanted = self.seqs[first : first + len(matrix)]
        after = int(self.seqs[first - 1]) if first else 0
        seqs, encoded = memory.vectors(fingerprint, after, limit=len(wanted))
        if not np.array_equal(seqs, wanted):
            return False
        matrix[:] = matrix_of(encoded, matrix.shape[1])
        return True


class IndexCache:
    """The indexes of the users asked for last, within `budget` bytes; thread-safe."""

    def __init__(
        self, budget: int, make: MakeIndex, erased: Callable[[], None] = lambda: None
    ) -> None:
        """`erased` is called when something of a user was erased that this may have held."""
        self._make = make
        self._erased = erased
        self._users: LRU[str, UserIndex] = LRU(budget)

    def of(self, memory: UserMemory) -> UserIndex:
        """The user's index with all rows that the store has now; vectors wait for `load`."""
        index = self._users.get(memory.user) or self._users.keep(memory.user, UserIndex(), 0)
        with index.lock:
            known = index.erasure
            if index.refresh(memory):
                self._users.keep(memory.user, index, index.bytes)
            erased = index.erasure != known
        if erased:
            self._erased()
        return index

    def load(
        self,
        memory: UserMemory,
        index: UserIndex,
        embedder: Embedder,
        embed_missing: Callable[[], object],
    ) -> VectorIndex:
        """`UserIndex.load`, and make room for what it took; the caller holds the index's lock."""
        before = index.bytes
        vectors = index.load(memory, embedder, self._make, embed_missing)
        if index.bytes != before:
            self._users.keep(memory.user, index, index.bytes)
        return vectors

    def drop(self, owners: Collection[str]) -> None:
        """Let go of the indexes of these users, as `tombstones.owner_of` names them."""
        self._users.drop(lambda user: owner_of(user) in owners)
        self._erased()

    def __len__(self) -> int:
        return len(self._users)


def _extended(array: Seqs, more: Sequence[int]) -> Seqs:
    return np.concatenate([array, np.asarray(more, dtype=np.int64)])
