"""Episodic memory, D^u in the paper (section 3.1): a user's interactions, searched by top-k."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Interaction, Task, validation
from personaagent.data.influence import weighed
from personaagent.errors import ConflictError, DataError, StoreError
from personaagent.memory.embedder import Embedder
from personaagent.memory.habit_change import Turn, turn_of
from personaagent.memory.index import ErasedMeanwhile, IndexCache, UserIndex
from personaagent.memory.lru import LRU
from personaagent.memory.retrieval import Ranking, Retriever, Scope, best
from personaagent.memory.store import GIVE, Added, Store
from personaagent.memory.stored_vectors import rounded, vector_bytes, vector_of
from personaagent.memory.user import UserMemory, aware
from personaagent.memory.wakeup import erasures_told
from personaagent.policies import INDEXES, RETRIEVERS
from personaagent.progress import track

_EMBEDDED = 4_096  # texts whose vectors are kept
_RECALLED = 20_000  # interactions that are kept as they were recalled
_EVERY = 1_000_000  # vectors of a user
_ERASURES = 100  # that may come between, one after the other
_TEXTS_AT_ONCE = 1_024  # embedded and committed together: what a kill can cost


@dataclass(frozen=True, slots=True)
class Memory:
    """A recalled interaction; the score's scale is the retriever's, larger is better."""

    interaction: Interaction
    score: float


class EpisodicMemory:
    """The store with vectors: adds interactions, recalls those that matter for a query.

    Vectors are of `interaction.searched`. Missing vectors are created on first use: those of
    interactions that a kill cut off, and all of them when the embedding model changes.

    Args:
        store: the truth.
        embedder: its model; loaded when a vector is first needed.
        resident: bytes of memory for the users' indexes; the default holds 10,000 users of 100
            interactions in 384 dimensions.
        index: how vectors are searched: a name in `INDEXES`.

    >>> from personaagent import Interaction, SentenceEmbedder
    >>> past = [
    ...     Interaction("1", "amira", "inbox", "The car needs new tyres", "money"),
    ...     Interaction("2", "amira", "inbox", "Dinner with grandmother", "family"),
    ... ]
    >>> with Store("memory.db") as store:
    ...     memory = EpisodicMemory(store, SentenceEmbedder())
    ...     added = memory.add(past)
    ...     (found,) = memory.recall("amira", "The garage has new tyres for the car", k=1)
    >>> found.interaction.response
    'money'
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        *,
        resident: int = 1_700_000_000,
        index: str = "faiss",
    ) -> None:
        validation.instance("store", store, Store, 'give a Store, such as Store("memory.db")')
        if isinstance(embedder, str) or not callable(getattr(embedder, "encode", None)):
            raise DataError(
                f"embedder is of type {type(embedder).__name__}: give one, such as "
                "SentenceEmbedder()"
            )
        validation.whole("resident", resident, 0)
        self.store = store
        self.embedder = embedder
        self._indexes = IndexCache(resident, INDEXES.named(index), self._forget)
        self._forget()

    def __repr__(self) -> str:
        return f"EpisodicMemory({self.store!r}, {self.embedder!r})"

    def _forget(self) -> None:
        """Begin with empty caches: what was erased may be in them."""
        self._recalled: LRU[tuple[str, int], Interaction] = LRU(_RECALLED)
        self._embedded: LRU[str, NDArray[np.float32]] = LRU(_EMBEDDED)
        self._retrievers: dict[str, Retriever] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside the block, let go of what is kept of a user within a second of an erasure, whoever
        erased it and whether or not the user is asked for again."""
        with erasures_told(self.store.database, self._indexes.drop):
            yield

    def add(
        self,
        interactions: Iterable[Interaction],
        *,
        tasks: Mapping[str, Task] | None = None,
        progress: bool = False,
    ) -> Added:
        """Store interactions (all or none) and embed those that have no vector yet.

        What the store's screening suspects is put aside, and what is none of the answers of its
        task is refused; `tasks` are those that the store does not know (see `Store.add`).

        Raises:
            DataError: see `Store.add`; nothing was stored.
        """
        given = validation.every("interactions", interactions, Interaction, GIVE)
        with track("storing", len(given), shown=progress) as advance:
            added = self.store.add(given, tasks=tasks, progress=advance)
        ids: defaultdict[str, list[str]] = defaultdict(list)
        for one in given:
            ids[one.user].append(one.id)
        fingerprint = self.embedder.fingerprint
        missing = [
            row
            for user, mine in ids.items()
            for row in self.store.of(user).without_vector(fingerprint, mine)
        ]
        self._embed(missing, progress)
        return added

    def ready(self, *users: str, progress: bool = False) -> int:
        """Embed what of these users has no vector of this embedder yet; how many there were.

        Worth calling ahead of time after a change of the embedding model; `recall` does it too.
        """
        fingerprint = self.embedder.fingerprint
        missing = [row for user in users for row in self.store.of(user).without_vector(fingerprint)]
        self._embed(missing, progress)
        return len(missing)

    def embed(self, text: str) -> NDArray[np.float32]:
        """The unit vector of a short text, float32 [dimensions]; the latest ones are kept."""
        kept = self._embedded
        known = kept.get(text)
        return (
            kept.keep(text, rounded(self.embedder.encode([text]))[0], 1) if known is None else known
        )

    def embed_kept(self, user: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, dimensions], of n short texts that are said of a user.

        They stay in the database until something of the user is erased, so that a new process
        need not embed hundreds of texts before its first answer.
        """
        found = {text: self._embedded.get(text) for text in texts}
        if unseen := [text for text, vector in found.items() if vector is None]:
            journal = self.store.of(user).journal(f"vectors/{self.embedder.fingerprint}")
            names = {text: hashlib.sha256(text.encode()).hexdigest() for text in unseen}
            known = journal.entries()
            new = [text for text in unseen if names[text] not in known]
            made = {}
            if new:
                for text, vector in zip(new, self.embedder.encode(new), strict=True):
                    made[names[text]] = b64encode(vector_bytes(vector)).decode()
            known |= made
            if made and not self.store.database.readonly:
                with suppress(ConflictError), self.store.database.write() as connection:
                    for name, value in made.items():
                        journal.write(connection, name, value)
            for text in unseen:
                value = known[names[text]]
                kept = self._vector_of(b64decode(value))
                found[text] = self._embedded.keep(text, kept, 1)
        return np.array([found[text] for text in texts], dtype=np.float32)

    def remember(self, interactions: Iterable[Interaction]) -> None:
        """Have their queries among the latest embedded texts, as far as the store has the vectors:
        worth calling before they are compared one by one."""
        wanted: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for one in interactions:
            if one.searched == one.query and self._embedded.get(one.query) is None:
                wanted[one.user][one.id] = one.query
        for user, texts in wanted.items():
            stored = self.store.of(user).vectors_of(self.embedder.fingerprint, texts)
            for id, vector in stored.items():
                self._embedded.keep(texts[id], self._vector_of(vector), 1)

    def vectors(self, user: str) -> dict[str, NDArray[np.float32]]:
        """The unit vectors [dimensions] of a user's interactions by id; missing ones are made."""
        self.ready(user)
        memory = self.store.of(user)
        seqs, stored = memory.vectors(self.embedder.fingerprint, after=-1, limit=_EVERY)
        found = memory.at(seqs)
        return {
            found[seq].id: self._vector_of(vector)
            for seq, vector in zip(seqs, stored, strict=True)
            if seq in found  # not erased meanwhile
        }

    def recall(
        self,
        user: str,
        query: str,
        k: int,
        *,
        retriever: str | Retriever = "dense",
        task: str | None = None,
        before: datetime | None = None,
        exclude: Collection[str] = (),
    ) -> list[Memory]:
        """The user's k memories that fit a query best, best first.

        Expired interactions are never among them. Fewer than k only if there are fewer. What one
        day or source has beyond its share gives way to others that are about as near. Their
        weights are those of their votes: see `data.influence` and `memory.turns`.

        Args:
            user: whose memory.
            query: the text to find memories for.
            k: how many, at least 1.
            retriever: a name in `RETRIEVERS`, or a retriever.
            task: only interactions of this task.
            before: only interactions before this moment (timezone-aware); those without a time
                count as before everything.
            exclude: ids of interactions to leave out.

        Raises:
            DataError: no user, k below 1, no such retriever, or `before` without a timezone.
        """
        validation.whole("k", k, 1)
        validation.instance("the query", query, str, "give a text")
        if isinstance(retriever, str):
            if retriever not in self._retrievers:  # kept: an index of words is worth keeping
                self._retrievers[retriever] = RETRIEVERS.named(retriever)()
            retriever = self._retrievers[retriever]
        memory = self.store.of(user)
        index, scope, ranking = self._ranked(
            memory, retriever, query, k, task, before and aware(before), exclude
        )
        found = self._at(memory, [seq for seq, _ in ranking])
        ranking = [(seq, score) for seq, score in ranking if seq in found]
        turn = self._turn(memory, index, task)
        voting = self._voting(turn, scope, {seq: found[seq] for seq, _ in ranking})
        return [Memory(one, score) for one, (_, score) in zip(voting, ranking, strict=True)]

    def _ranked(
        self,
        memory: UserMemory,
        retriever: Retriever,
        query: str,
        k: int,
        task: str | None,
        before: datetime | None,
        exclude: Collection[str],
    ) -> tuple[UserIndex, Scope, Ranking]:
        """What may be recalled, and the best of it; from the start where another process or thread
        erases in between."""
        for _ in range(_ERASURES):
            index = self._indexes.of(memory)
            scope = self._scope(memory, index, task, before, exclude)
            with suppress(ErasedMeanwhile):
                return index, scope, best(retriever, scope, query, k) if len(scope.seqs) else []
        raise StoreError(
            f"{self.store.name}: another process erases without a pause in the memory that is "
            "being recalled: try again"
        )

    def _at(self, memory: UserMemory, seqs: Sequence[int]) -> dict[int, Interaction]:
        """`UserMemory.at`: an interaction stays as it is, so it is read once. An erasure empties
        what is kept, and what is being read meanwhile goes where nobody looks any more."""
        kept = self._recalled
        known = {seq: one for seq in seqs if (one := kept.get((memory.user, seq))) is not None}
        if len(known) == len(seqs):
            return known
        read = memory.at([seq for seq in seqs if seq not in known])
        for seq, one in read.items():
            kept.keep((memory.user, seq), one, 1)
        return known | read

    def _turn(self, memory: UserMemory, index: UserIndex, task: str | None) -> Turn | None:
        """`turn_of`, read once for as long as the index sees no other."""
        if task is None:
            return None
        with index.lock:
            if task not in index.turns:
                index.turns[task] = turn_of(memory, task)
            turn: Turn | None = index.turns[task]
        return turn

    def _voting(
        self, turn: Turn | None, scope: Scope, found: dict[int, Interaction]
    ) -> list[Interaction]:
        """The recalled interactions with the weights of their votes: trust in the source, what a
        change of habits has left of them, repetitions as one."""
        trust = self.store.trust_in
        if turn is None:
            return weighed(list(found.values()), lambda one: trust(one.source))
        fading = turn.fading(scope.seqs, scope.times)
        seqs = {one.id: seq for seq, one in found.items()}
        return weighed(
            list(found.values()), lambda one: trust(one.source) * fading(seqs[one.id], one)
        )

    def _scope(
        self,
        memory: UserMemory,
        index: UserIndex,
        task: str | None,
        before: datetime | None,
        exclude: Collection[str],
    ) -> Scope:
        with index.lock:
            excluded = index.numbers(memory, exclude)
            allowed = index.eligible(self.store.now(), task, before, excluded)
            seqs, times = index.seqs[allowed], index.times[allowed]
            sources, erasure = index.sources[allowed], index.erasure

        def nearest(query: str, k: int) -> Ranking:
            vector = self.embed(query)
            with index.lock:
                if index.erasure != erasure:
                    raise ErasedMeanwhile
                vectors = self._indexes.load(
                    memory, index, self.embedder, lambda: self.ready(memory.user, progress=True)
                )
                return vectors.nearest(vector, k, among=seqs)

        def texts() -> list[str]:
            found = memory.at(seqs.tolist())
            return [found[seq].searched if seq in found else "" for seq in seqs.tolist()]

        return Scope(memory.user, seqs, times, sources, texts, nearest)

    def _vector_of(self, stored: bytes) -> NDArray[np.float32]:
        return vector_of(stored, self.embedder.dimensions)

    def _embed(self, missing: list[tuple[int, str]], progress: bool) -> None:
        """Write the vectors of (seq, text), a part at a time."""
        missing.sort(key=lambda row: len(row[1]))  # like lengths together: little padding
        with track("embedding", len(missing), shown=progress) as advance:
            for start in range(0, len(missing), _TEXTS_AT_ONCE):
                some = missing[start : start + _TEXTS_AT_ONCE]
                encoded = self.embedder.encode([text for _, text in some])
                self.store.save_vectors(
                    self.embedder.fingerprint,
                    [seq for seq, _ in some],
                    [vector_bytes(vector) for vector in encoded],
                )
                advance(len(some))
