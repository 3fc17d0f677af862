"""How memories are chosen for a query: dense, by words, by date, or dense and words together.

A retriever sees only its `Scope`: one user's interactions, less those that are expired, excluded,
of another task or not before the query. It cannot return, or count, anything else.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from personaagent.data.influence import NOWHERE, crowding, spread
from personaagent.memory.index import UNDATED
from personaagent.memory.lru import LRU

Ranking = list[tuple[int, float]]  # (seq, score), best first

_BM25_TEXTS = 200_000  # kept indexed, over all users
_WORD = r"(?u)\b\w+\b"  # single characters too: they may be all there is in a label or a digit
_DAY = 86_400_000_000  # microseconds
_WIDER = 16  # times as many are looked at where some crowd: a long history is not ranked whole
_RRF_K = 60  # Cormack et al. 2009, reciprocal rank fusion


@dataclass(frozen=True)
class Scope:
    """What one recall may choose from.

    Attributes:
        user: whose interactions.
        seqs: [n], their seqs in increasing order.
        times: [n], their times in microseconds.
        sources: [n], a number for each source, `NOWHERE` for the user's own acts.
        texts: what their n interactions are found by, read from the store when called.
        nearest: (query, k) -> the k of them whose vectors are nearest, with the cosine.
    """

    user: str
    seqs: NDArray[np.int64]
    times: NDArray[np.int64]
    sources: NDArray[np.int64]
    texts: Callable[[], list[str]]
    nearest: Callable[[str, int], Ranking]

    def crowding(self, ranking: Ranking, k: int) -> NDArray[np.bool_]:
        """Which of a ranking are beyond their day's or source's share of k (`data.influence`).

        Where the moment is not known, none; a single source has nobody to crowd out.
        """
        known = (self.times != UNDATED) & (self.times % _DAY != 0)
        days = np.where(known, self.times // _DAY, NOWHERE)
        sources = np.where(known, self.sources, NOWHERE)
        if (sources == sources[0]).all():
            sources = np.full_like(sources, NOWHERE)
        at = np.searchsorted(self.seqs, [seq for seq, _ in ranking])
        return crowding(days[at], sources[at], k)


class Retriever(Protocol):
    """Ranks the interactions of a scope for a query."""

    def rank(self, scope: Scope, query: str, k: int) -> Ranking:
        """The best k, best first; fewer only where the scope holds fewer."""
        ...


class Dense:
    """Cosine of the embeddings: finds what means the same."""

    def rank(self, scope: Scope, query: str, k: int) -> Ranking:
        return scope.nearest(query, k)


class Recency:
    """The latest k, whatever the query; score 1, 1/2, 1/3, ..."""

    def rank(self, scope: Scope, query: str, k: int) -> Ranking:  # noqa: ARG002
        newest = scope.seqs[np.lexsort((scope.seqs, scope.times))[::-1][:k]]
        return [(seq, 1 / place) for place, seq in enumerate(newest.tolist(), start=1)]


class BM25:
    """Shared words: finds names, numbers and exact phrases.

    Word statistics are those of the scope, so nothing outside it (the future) has a say in the
    ranking; an index is kept for as long as the same scope is asked again. What shares no word
    with the query scores 0 and comes last, newest first.
    """

    def __init__(self) -> None:
        self._indexes: LRU[tuple[str, bytes], Any] = LRU(_BM25_TEXTS)

    def rank(self, scope: Scope, query: str, k: int) -> Ranking:
        scores = self._scores(scope, query)
        best = np.lexsort((scope.seqs, scope.times, scores))[::-1][:k]
        return list(zip(scope.seqs[best].tolist(), scores[best].tolist(), strict=True))

    def _scores(self, scope: Scope, query: str) -> NDArray[np.float32]:
        """[n], BM25 of each text of the scope."""
        key = (scope.user, hashlib.blake2b(scope.seqs.tobytes(), digest_size=16).digest())
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes.keep(key, _bm25(scope.texts()), len(scope.seqs))
        words = _words([query])[0]
        if index is _NO_WORDS or not words:
            return np.zeros(len(scope.seqs), dtype=np.float32)
        scores: NDArray[np.float32] = index.get_scores(words)
        return scores


class Hybrid:
    """Dense and BM25 by reciprocal rank fusion: a place counts, scores need no common scale."""

    def __init__(self) -> None:
        self._dense = Dense()
        self._words = BM25()

    def rank(self, scope: Scope, query: str, k: int) -> Ranking:
        depth = max(10 * k, 100)
        fused: defaultdict[int, float] = defaultdict(float)
        words = self._words.rank(scope, query, depth)
        for ranking in (
            self._dense.rank(scope, query, depth),
            [(seq, score) for seq, score in words if score > 0],  # no shared word, no evidence
        ):
            for place, (seq, _) in enumerate(ranking, start=1):
                fused[seq] += 1 / (_RRF_K + place)
        return sorted(fused.items(), key=lambda item: (-item[1], -item[0]))[:k]


def best(retriever: Retriever, scope: Scope, query: str, k: int) -> Ranking:
    """The best k; those that crowd give way to others that are about as near."""
    ranking = retriever.rank(scope, query, k)
    if len(ranking) == len(scope.seqs) or not scope.crowding(ranking, k).any():
        return ranking
    ranking = retriever.rank(scope, query, min(_WIDER * k, len(scope.seqs)))
    scores = np.array([score for _, score in ranking])
    return [ranking[at] for at in spread(scores, scope.crowding(ranking, k), k)]


_NO_WORDS = object()  # bm25s cannot index texts without a single word


def _bm25(texts: list[str]) -> Any:
    from bm25s import BM25 as Index

    corpus = _words(texts)
    if not any(corpus):
        return _NO_WORDS
    index = Index()
    index.index(corpus, show_progress=False)
    return index


def _words(texts: list[str]) -> list[list[str]]:
    import bm25s

    words: list[list[str]] = bm25s.tokenize(
        texts, token_pattern=_WORD, stopwords="en", return_ids=False, show_progress=False
    )
    return words
