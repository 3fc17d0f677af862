"""MemoryBank (Zhong et al., 2023): daily summaries, a portrait of the user, and forgetting.

Everything is a function of the history before the query, so answers depend on no other query and
on no order. The clock is the user's own: the time from the first interaction to the query counts as
ten days, as in the paper's experiment, because its curve forgets within days what LaMP's users did
over years. With few days (`days=1`) hardly anything fades: a setting to choose on other users.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dspy
import numpy as np
from numpy.typing import NDArray

from personaagent.data import Action, Interaction, Task, validation
from personaagent.data.task import given
from personaagent.lm import truncation_expected
from personaagent.memory import EpisodicMemory, Memory
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.answer import Answerer
from personaagent.programs.history import made_once, visible
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.scope import QueryScope
from personaagent.programs.tools import quote
from personaagent.signatures import DrawPortrait, SummarizeDay

MOST_EVENTS = 40  # of a day that are summarized, the latest
TOKENS = 60  # of a summary or a portrait
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to remember: an interaction, or the summary of a day (then `interaction` is None).

    `time` is in days since the first interaction; of a summary, that of the day's last event.
    """

    text: str
    time: float
    interaction: Interaction | None = None


class MemBank(dspy.Module):
    """A memory of interactions and daily summaries that fades, and a portrait of the user.

    Source: MemoryBank (Zhong et al., 2023): retention exp(-t/S), S += 1 and t = 0 at each recall.
    Adapted: the score is cosine times retention (theirs drops pieces at random); recalls are
    replayed from the user's own past queries; a history is `days` long, a day with one event needs
    no summary, and interactions without a date do not fade; no emotions.
    """

    def __init__(self, task: Task, memory: EpisodicMemory, *, k: int = 4, days: int = 10) -> None:
        super().__init__()
        validation.whole("days", days, 1)
        self.task = given(task)
        self.days = days
        self.retrieve = MemoryRetriever(memory, k=k)
        self.summarize = dspy.Predict(SummarizeDay, max_tokens=TOKENS)
        self.portray = dspy.Predict(DrawPortrait, max_tokens=TOKENS)
        self.answer = Answerer(task)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        situation = QueryScope.of(query, user, self.task, before, exclude)
        pieces, portrait, now = self.bank(situation)
        recalled = self.recall(situation, pieces, now)
        lines = [f"About this user: {portrait}"] if portrait else []
        lines += [piece.text for piece, _ in reversed(recalled)]  # the best nearest to the query
        said = self.answer(query=query, evidence="\n".join(lines))
        return dspy.Prediction(
            answer=said.answer,
            distribution=said.distribution,
            actions=[Action("recall"), *([Action("read_profile")] if portrait else [])],
            memories=[
                Memory(piece.interaction, score) for piece, score in recalled if piece.interaction
            ],
        )

    def prepare(
        self, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> None:
        """Write summaries and portrait ahead of the first query, for which they cost no call."""
        self.bank(QueryScope(user, self.task, "", before, tuple(exclude)))

    def bank(self, situation: QueryScope) -> tuple[list[Piece], str, float]:
        """What is remembered, oldest first within its kind; the portrait; the query's time."""
        past = visible(self.retrieve.memory, situation)
        times, now = _clock(past, situation.before, self.days)
        pieces = [
            Piece(self.task.example(quote(one.query), one.response), time, one)
            for one, time in zip(past, times, strict=True)
        ]
        days: defaultdict[int, list[Piece]] = defaultdict(list)
        for at, piece in enumerate(pieces):
            day = int(piece.time) if now else at * self.days // len(pieces)
            days[min(day, self.days - 1)].append(piece)
        notes, summaries = [], []
        for day, events in sorted(days.items()):
            note = events[0].text
            if len(events) > 1:
                listed = "\n".join(event.text for event in events[-MOST_EVENTS:])
                note = self._write(situation.user, self.summarize, events=listed)
                summaries.append(Piece(f"Summary of a day: {note}", events[-1].time))
            notes.append(f"Day {day + 1}: {note}")
        portrait = ""
        if notes:
            portrait = self._write(situation.user, self.portray, days="\n".join(notes))
        return [*pieces, *summaries], portrait, now

    def recall(
        self, situation: QueryScope, pieces: Sequence[Piece], now: float
    ) -> list[tuple[Piece, float]]:
        """The k pieces with the highest cosine times retention, best first, with that score."""
        if not pieces:
            return []
        memory, k = self.retrieve.memory, self.retrieve.k
        vectors = _vectors(memory, situation.user, pieces)
        times = np.array([piece.time for piece in pieces])
        strengths, lasts = rehearse(vectors, times, sum(1 for one in pieces if one.interaction), k)
        scores = _cosines(vectors, memory.embed(situation.query)) * np.exp(
            -(now - lasts) / strengths
        )
        return [(pieces[at], float(scores[at])) for at in _best(scores, times, k)]

    def _write(self, user: str, predict: dspy.Predict, **inputs: str) -> str:
        """The LM's text on one line, written once for the same inputs."""

        def work() -> str:
            with dspy.context(adapter=PersonaAdapter()), truncation_expected():
                (text,) = predict(**inputs).values()
            return quote(str(text))

        made_of = [predict.signature.instructions, inputs]
        return made_once(self.retrieve.memory, user, "membank", made_of, work)


def rehearse(vectors: Vector, times: Vector, queries: int, k: int) -> tuple[Vector, Vector]:
    """How strong each piece has become by the user's own past queries, and when it was recalled.

    Every past query recalls the k best of the pieces before it, as a new query would.

    Args:
        vectors: [n, d], unit length.
        times: [n], in days.
        queries: the first so many of the n pieces are past queries, oldest first.
        k: pieces that a query recalls.

    Returns:
        Strength S [n], 1 without any recall; time [n] of the last recall, or else of the piece.
    """
    strengths, lasts = np.ones(len(times)), times.copy()
    for at in range(queries):
        earlier = np.flatnonzero(times < times[at])
        scores = _cosines(vectors[earlier], vectors[at]) * np.exp(
            -(times[at] - lasts[earlier]) / strengths[earlier]
        )
        recalled = earlier[_best(scores, times[earlier], k)]
        strengths[recalled] += 1
        lasts[recalled] = times[at]
    return strengths, lasts


def _clock(
    past: Sequence[Interaction], before: datetime | None, days: int
) -> tuple[list[float], float]:
    """When the interactions were, and when the query is, in days since the first interaction.

    All 0 where there are no dates, or a single one; one without a date counts as the first.
    """
    dated = [one.time for one in past if one.time]
    start = min(dated, default=None)
    end = before or max(dated, default=None)
    if start is None or end is None or end - start < timedelta(seconds=1):
        return [0.0] * len(past), 0.0
    day = (end - start) / days
    return [((one.time or start) - start) / day for one in past], float(days)


def _vectors(memory: EpisodicMemory, user: str, pieces: Sequence[Piece]) -> Vector:
    """[n, d]: the stored vectors of the interactions, those of the summaries made now."""
    stored = memory.vectors(user)
    return np.stack(
        [
            stored[one.interaction.id] if one.interaction else memory.embed(one.text)
            for one in pieces
        ]
    ).astype(np.float64)


def _cosines(vectors: Vector, vector: NDArray[np.floating]) -> Vector:
    """At least 0, or what points away from the query would gain by being forgotten."""
    cosines: Vector = np.maximum(vectors @ vector, 0.0)
    return cosines


def _best(scores: Vector, times: Vector, k: int) -> NDArray[np.intp]:
    """The indices of the k highest scores, best first; of equal ones the later."""
    return np.lexsort((times, scores))[::-1][:k]
