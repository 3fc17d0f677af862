"""The metrics of LaMP, written so that a bootstrap costs one matrix product a metric.

Accuracy and macro F1 over the full label list (a class that occurs nowhere counts 0), MAE and RMSE
(an answer that is no number counts as the end of the scale furthest from gold), ROUGE-1 and ROUGE-L
(F1 without stemming). Answers are stripped and then compared exactly; an unknown label is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Rating, Task
from personaagent.errors import DataError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From weights [resamples, samples] to the metric's value in each resample."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, how a report calls it, and which end of it is good."""

    name: str
    title: str
    larger_is_better: bool = True

    def gain(self, difference: float) -> float:
        """A difference of two values as an improvement: above 0 is better."""
        return difference if self.larger_is_better else -difference


_LABELS = (Metric("accuracy", "Accuracy"), Metric("f1", "F1"))
_NUMBERS = (Metric("mae", "MAE", False), Metric("rmse", "RMSE", False))
_TEXTS = (Metric("rouge_l", "ROUGE-L"), Metric("rouge_1", "ROUGE-1"))


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task; the first one is what systems are compared by."""
    if isinstance(task, Rating):
        return _NUMBERS
    return _LABELS if task.labels else _TEXTS


def widest(task: Task) -> float:
    """The largest difference that two systems can have in the first metric."""
    return float(task.high - task.low) if isinstance(task, Rating) else 1.0


def metrics(task: Task, golds: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Every metric of the task, by name.

    Raises:
        DataError: there are no answers, or not as many as gold answers.
    """
    every = np.ones((1, len(golds)))
    return {
        name: float(statistic(every)[0])
        for name, statistic in statistics(task, golds, answers).items()
    }


def statistics(task: Task, golds: Sequence[str], answers: Sequence[str]) -> dict[str, Statistic]:
    """The task's metrics as functions of how often each sample counts.

    Raises:
        DataError: there are no answers, or not as many as gold answers.
    """
    if len(golds) != len(answers) or not golds:
        raise DataError(f"{len(answers)} answers to {len(golds)} gold answers cannot be scored")
    if isinstance(task, Rating):
        off = np.array([error(task, *pair) for pair in zip(golds, answers, strict=True)])
        return {"mae": _mean(off), "rmse": lambda weights: np.sqrt(_mean(off**2)(weights))}
    if task.labels:
        return {
            "accuracy": _mean(np.array(_right(golds, answers), float)),
            "f1": _macro_f1(task.labels, golds, answers),
        }
    return means([rouge(*pair) for pair in zip(golds, answers, strict=True)])


def means(scores: Sequence[Mapping[str, float]]) -> dict[str, Statistic]:
    """The metrics that are means of what each sample scored, by name."""
    return {name: _mean(np.array([one[name] for one in scores])) for name in scores[0]}


def values(task: Task, golds: Sequence[str], answers: Sequence[str]) -> Floats:
    """What each sample adds to the first metric, which is their mean."""
    first = statistics(task, golds, answers)[metrics_of(task)[0].name]
    return first(np.eye(len(golds)))


def error(task: Rating, gold: str, answer: str) -> float:
    """Absolute error of a rating."""
    true = float(gold)
    try:
        given = float(answer)
    except ValueError:
        given = math.nan
    if not math.isfinite(given):
        return max(true - task.low, task.high - true)
    return abs(given - true)


def rouge(gold: str, answer: str) -> dict[str, float]:
    """ROUGE-1 and ROUGE-L F1, as LaMP's evaluation has them: without stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    found = RougeScorer(["rouge1", "rougeL"], use_stemmer=False).score(gold, answer)
    return {"rouge_l": float(found["rougeL"].fmeasure), "rouge_1": float(found["rouge1"].fmeasure)}


def loss(
    task: Task, gold: str, answer: str, distribution: Mapping[str, float] | None = None
) -> float:
    """The negative log-likelihood of gold in nats; without a distribution 1 minus the score."""
    if distribution is not None and gold in distribution:
        return task.loss(distribution, gold)
    if isinstance(task, Rating):
        return error(task, gold, answer) / (task.high - task.low)
    return 1 - task.score(answer, gold)


def _right(golds: Sequence[str], answers: Sequence[str]) -> list[bool]:
    return [gold.strip() == said.strip() for gold, said in zip(golds, answers, strict=True)]


def _mean(of: Floats) -> Statistic:
    return lambda weights: weights @ of / weights.sum(axis=1)


def _macro_f1(labels: Sequence[str], golds: Sequence[str], answers: Sequence[str]) -> Statistic:
    true, said = _one_hot(labels, golds), _one_hot(labels, answers)
    hits, either = true * said, true + said

    def statistic(weights: Floats) -> Floats:
        # F1 = 2 tp / (2 tp + fp + fn), and the denominator is how often either side names it.
        named = weights @ either
        f1: Floats = np.divide(
            2 * (weights @ hits), named, out=np.zeros_like(named), where=named > 0
        )
        return np.asarray(f1.mean(axis=1), dtype=np.float64)

    return statistic


def _one_hot(labels: Sequence[str], given: Sequence[str]) -> Floats:
    return np.array([[float(one.strip() == label) for label in labels] for one in given])
