"""One system against another on the samples that both answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from personaagent.data import Task, Text
from personaagent.experiments import metrics, statistics
from personaagent.experiments.metrics import Floats
from personaagent.experiments.results import Row
from personaagent.experiments.statistics import Difference


@dataclass(frozen=True, slots=True)
class Comparison:
    """A system minus another one on the `n` samples that both answered, in the first metric.

    `p` is McNemar's exact test where the task has right and wrong answers, else the paired
    bootstrap; `corrected` is Holm's, over the comparisons that belong together: those with
    baselines and floors, those of ablations with PersonaAgent. `smallest` is the smallest
    difference that could have been found, None where even the largest there is could not. `loss` is
    the difference of the mean losses in nats (below 0 is better) by the paired bootstrap, which
    sees how sure answers were and not only which; None where not both read likelihoods.
    """

    other: str
    n: int
    difference: Difference
    p: float
    corrected: float
    smallest: float | None
    loss: Difference | None = None


def compare(task: Task, other: str, ours: Sequence[Row], theirs: Sequence[Row]) -> Comparison:
    """One system's answers minus another's (named `other`) to the same samples; not corrected."""
    first = metrics.metrics_of(task)[0]
    users = tuple(row.user for row in ours)
    found = statistics.difference(
        statistics_of(task, ours)[first.name],
        statistics_of(task, theirs)[first.name],
        weights_of(users),
        users=len(set(users)),
    )
    right = first.name == "accuracy"
    p = found.p
    if right:
        p = statistics.mcnemar(_right(ours), _right(theirs), users)
    least = statistics.smallest_effect(found.error, len(ours), labels=right)
    smallest = least if least <= metrics.widest(task) else None
    return Comparison(other, len(ours), found, p, p, smallest, _of_losses(task, ours, theirs))


def _of_losses(task: Task, ours: Sequence[Row], theirs: Sequence[Row]) -> Difference | None:
    losses = [
        [{"loss": row.loss} for row in rows if row.loss is not None] for rows in (ours, theirs)
    ]
    if not task.labels or any(len(some) < len(ours) for some in losses):
        return None
    users = tuple(row.user for row in ours)
    mine, other = (metrics.means(some)["loss"] for some in losses)
    return statistics.difference(mine, other, weights_of(users), users=len(set(users)))


def statistics_of(task: Task, rows: Sequence[Row]) -> dict[str, metrics.Statistic]:
    """The task's metrics of these rows, by name."""
    if all(row.scores is not None for row in rows):
        return metrics.means([row.scores or {} for row in rows])
    # ROUGE is slow, and each system is scored for its line and for two comparisons.
    remembered = _remembered if isinstance(task, Text) else metrics.statistics
    return remembered(task, tuple(r.gold for r in rows), tuple(r.answer or "" for r in rows))


_remembered = lru_cache(maxsize=64)(metrics.statistics)


def _right(rows: Sequence[Row]) -> list[bool]:
    return [row.gold.strip() == (row.answer or "").strip() for row in rows]


@lru_cache(maxsize=16)
def weights_of(users: tuple[str, ...]) -> Floats:
    """The bootstrap's weights of samples of these users [resamples, samples]; not to be written."""
    weights = statistics.resamples(users)
    weights.flags.writeable = False
    return weights
