"""From rows to a main table: metrics with intervals, paired comparisons, costs.

It needs the results database alone, so every figure of a report can be computed again without an
LM and without the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean, median
from typing import Any

from personaagent.data import Task
from personaagent.experiments import metrics, statistics
from personaagent.experiments.comparison import Comparison, compare, statistics_of, weights_of
from personaagent.experiments.lineup import NON_PERSONALIZED, OURS
from personaagent.experiments.metrics import Metric
from personaagent.experiments.persona_map import PersonaMap
from personaagent.experiments.protocol import task_from_dict
from personaagent.experiments.results import ExperimentRow, PersonaRow, Results, Row
from personaagent.experiments.statistics import Interval

NEARLY_ALL = 0.9
_ORDER = ("floor", "baseline", "personaagent", "ablation")


@dataclass(frozen=True, slots=True)
class Cost:
    """Means over the answered samples; `median` is that of the seconds, `ahead_…` is what was made
    of the histories before the questions were put."""

    seconds: float
    median: float
    calls: float
    input_tokens: float
    cached_tokens: float
    output_tokens: float
    money: float
    ahead_seconds: float
    ahead_calls: float


@dataclass(frozen=True, slots=True)
class Line:
    """One system's line of the main table; `asked` samples were to be answered."""

    system: str
    role: str
    asked: int
    n: int
    failed: int
    scores: Mapping[str, Interval]
    loss: float
    cost: Cost
    seconds: Interval | None = None
    against_plain: Comparison | None = None
    against_best: Comparison | None = None
    against_floor: Comparison | None = None
    against_ours: Comparison | None = None

    @property
    def comparisons(self) -> list[Comparison]:
        """Those that there are, each other system once."""
        found = (self.against_plain, self.against_best, self.against_floor, self.against_ours)
        return list({one.other: one for one in found if one}.values())


@dataclass(frozen=True, slots=True)
class Analysis:
    """An experiment, computed; `best` is the best baseline, `floor` the best floor."""

    experiment: ExperimentRow
    task: Task
    metrics: tuple[Metric, ...]
    lines: tuple[Line, ...]
    best: str | None
    floor: str | None
    personas: tuple[PersonaRow, ...]
    map: PersonaMap | None = None

    @property
    def headline(self) -> Metric:
        """What systems are compared by."""
        return self.metrics[0]

    def line(self, system: str) -> Line | None:
        """The line of a system that answered anything."""
        return next((one for one in self.lines if one.system == system and one.n), None)


def analyse(results: Results, experiment: ExperimentRow) -> Analysis:
    """The main table of an experiment."""
    protocol = experiment.protocol
    task = task_from_dict(protocol["task"])
    measured = metrics.metrics_of(task)
    rows = results.rows(experiment.run, protocol["samples"])
    answered = {
        system: {row.sample: row for row in rows if row.system == system and row.answer is not None}
        for system in protocol["systems"]
    }
    failed = {
        system: sum(row.system == system and row.answer is None for row in rows)
        for system in protocol["systems"]
    }
    asked = len(protocol["samples"])
    lines = [
        _line(task, system, role, list(answered[system].values()), failed[system], asked)
        for system, role in protocol["systems"].items()
    ]
    lines.sort(key=lambda one: _ORDER.index(one.role))
    best, floor = (_best(lines, measured[0], role) for role in ("baseline", "floor"))
    compared = _comparisons(task, lines, answered, best, floor)
    return Analysis(
        experiment,
        task,
        measured,
        tuple(
            replace(
                line,
                against_plain=compared.get((line.system, NON_PERSONALIZED)),
                against_best=compared.get((line.system, best or "")),
                against_floor=compared.get((line.system, floor or "")),
                against_ours=compared.get((line.system, OURS)),
            )
            for line in lines
        ),
        best,
        floor,
        tuple(results.personas(experiment.run, set(protocol["samples"].values()))),
        PersonaMap.from_dict(alike) if (alike := results.map_of(experiment.id)) else None,
    )


def summary(analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain JSON values."""
    protocol = {k: v for k, v in analysis.experiment.protocol.items() if k != "samples"}
    return {
        "id": analysis.experiment.id,
        "task": analysis.task.name,
        "protocol": protocol,
        "metric": analysis.headline.name,
        "best": analysis.best,
        "floor": analysis.floor,
        "systems": [
            {
                "system": line.system,
                "role": line.role,
                "asked": line.asked,
                "answered": line.n,
                "failed": line.failed,
                "scores": {
                    name: {"value": one.value, "low": one.low, "high": one.high}
                    for name, one in line.scores.items()
                },
                "loss": line.loss if line.n else None,
                **asdict(line.cost),
                "against_non_personalized": _plain(line.against_plain),
                "against_best": _plain(line.against_best),
                "against_floor": _plain(line.against_floor),
                "against_personaagent": _plain(line.against_ours),
            }
            for line in analysis.lines
        ],
        "personas": analysis.map.summary() if analysis.map else None,
    }


def _line(task: Task, system: str, role: str, rows: Sequence[Row], failed: int, asked: int) -> Line:
    if not rows:
        return Line(system, role, asked, 0, failed, {}, 0.0, Cost(*[0.0] * len(fields(Cost))))
    weights = weights_of(tuple(row.user for row in rows))
    return Line(
        system=system,
        role=role,
        asked=asked,
        n=len(rows),
        failed=failed,
        scores={
            name: statistics.interval(statistic, weights)
            for name, statistic in statistics_of(task, rows).items()
        },
        loss=fmean(row.loss or 0.0 for row in rows),
        cost=Cost(
            median=median(row.seconds for row in rows),
            **{
                one.name: fmean(getattr(row, one.name) for row in rows)
                for one in fields(Cost)
                if one.name != "median"
            },
        ),
        seconds=statistics.interval(
            metrics.means([{"seconds": row.seconds} for row in rows])["seconds"], weights
        ),
    )


def _best(lines: Iterable[Line], metric: Metric, role: str) -> str | None:
    """The best of the systems that play this part, the first of several.

    One that has answered a few samples only may just have had the easy ones: it must have nearly as
    many as the others.
    """
    others = [line for line in lines if line.n and line.role == role]
    if not others:
        return None
    most = max(line.n for line in others)
    others = [line for line in others if line.n >= NEARLY_ALL * most]
    return max(others, key=lambda line: metric.gain(line.scores[metric.name].value)).system


def _comparisons(
    task: Task,
    lines: Sequence[Line],
    answered: Mapping[str, Mapping[str, Row]],
    best: str | None,
    floor: str | None,
) -> dict[tuple[str, str], Comparison]:
    """Baselines and PersonaAgent against the non-personalized system and the best baseline, and
    PersonaAgent against the best floor, corrected together; ablations against PersonaAgent, which
    is another question and corrected by itself."""
    others: dict[str, tuple[str | None, ...]] = {
        "floor": (),
        "baseline": (NON_PERSONALIZED, best),
        "personaagent": (NON_PERSONALIZED, best, floor),
        "ablation": (OURS,),
    }
    found: dict[tuple[str, str], Comparison] = {}
    for family in (("baseline", "personaagent"), ("ablation",)):
        compared: dict[tuple[str, str], Comparison] = {}
        for line in lines:
            system = line.system
            for other in dict.fromkeys(others[line.role] if line.role in family else ()):
                if other is None or other == system or other not in answered:
                    continue
                common = [sample for sample in answered[system] if sample in answered[other]]
                if common:
                    compared[system, other] = compare(
                        task,
                        other,
                        [answered[system][sample] for sample in common],
                        [answered[other][sample] for sample in common],
                    )
        corrected = statistics.holm([one.p for one in compared.values()])
        for (pair, one), p in zip(compared.items(), corrected, strict=True):
            found[pair] = replace(one, corrected=p)
    return found


def _plain(one: Comparison | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "other": one.other,
        "n": one.n,
        "difference": one.difference.value,
        "low": one.difference.low,
        "high": one.difference.high,
        "p": one.p,
        "p_corrected": one.corrected,
        "smallest_effect": one.smallest,
        "loss": one.loss and asdict(one.loss),
    }
