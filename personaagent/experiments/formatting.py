"""How a report says it: titles, protocols, verdicts and numbers as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from personaagent.data import Task
from personaagent.experiments.analysis import Analysis, Line
from personaagent.experiments.comparison import Comparison
from personaagent.experiments.lineup import OURS
from personaagent.experiments.statistics import RESAMPLES, Difference, Interval

NONE = "-"
FEW_USERS = 10
_SAMPLED = "sampled answers"

METHOD = (
    f"Intervals: percentile bootstrap, {RESAMPLES:,} resamples of users (not samples), seeded. "
    "Each system on the samples that it answered; a failed sample is counted, never scored, and "
    "asked again by the next run.",
    "p: McNemar's exact test for right and wrong answers, in which a user's samples count as one; "
    "else the paired bootstrap by users. Both on the samples that the two systems answered. The "
    "best baseline is the best on these samples, which is to the disadvantage of what is compared "
    "with it.",
    "Smallest effect: (1.96 + 0.84) times the bootstrap's standard error of the paired difference, "
    "which a two-sided test at 5 % finds with 80 % power; for labels at least 6 / n, since "
    "McNemar's exact test finds nothing in fewer than 6 users who differ.",
    "Personas are compared as embeddings of the whole rendered persona, histories as the mean of "
    "their vectors. In the swap test everyone gets the persona of the next user in a seeded circle "
    "of the data set's users (of the same half), and keeps their own memory.",
    "Loss is -ln p(gold) in nats where likelihoods are read; its difference is tested by the "
    "paired bootstrap, not corrected.",
    "Seconds are wall time of one answer with as many samples side by side as said above, without "
    "a response cache, after the models were loaded.",
)


def title(analysis: Analysis, varied: str = "") -> str:
    """Task, data, LM, and what differs from the defaults; without the setting `varied`."""
    said = analysis.experiment.protocol
    return " · ".join(
        [
            analysis.task.name,
            said["data"]["name"],
            lm_name(said, analysis.task),
            *_chosen(said, varied),
        ]
    )


def titles(analyses: Sequence[Analysis]) -> list[str]:
    """Of experiments that stand side by side, numbered: what they have in common is left out, which
    their protocols say."""
    if len(analyses) == 1:
        return [title(analyses[0])]
    protocols = [one.experiment.protocol for one in analyses]
    data = {
        (one.task.name, said["data"]["name"]) for one, said in zip(analyses, protocols, strict=True)
    }
    one_file_each = len(data) == len({task for task, _ in data})
    one_lm = len({said["lm"]["spec"] for said in protocols}) == 1
    found = []
    for at, (one, said) in enumerate(zip(analyses, protocols, strict=True), 1):
        sampled = [_SAMPLED] if one.task.labels and is_sampled(said) else []
        lm = sampled if one_lm else [lm_name(said, one.task)]
        file = [] if one_file_each else [said["data"]["name"]]
        found.append(f"{at}. " + " · ".join([one.task.name, *file, *lm, *_chosen(said)]))
    return found


def _chosen(said: Mapping[str, Any], varied: str = "") -> list[str]:
    """What of the protocol differs from the defaults."""
    cohort = said["cohort"]
    return [
        *(f"{name} = {value}" for name, value in said["variant"].items() if name != varied),
        *([f"{cohort['half']} half"] if cohort["half"] else []),
        *(f"{cohort[name]} {name}" for name in ("samples", "users") if cohort[name]),
    ]


def lm_name(protocol: Mapping[str, Any], task: Task) -> str:
    """The LM, and how it is read where it is not as usual for the task."""
    sampled = f" · {_SAMPLED}" if task.labels and is_sampled(protocol) else ""
    return f"{protocol['lm']['spec']}{sampled}"


def verdict(analysis: Analysis) -> str:
    """PersonaAgent against the best baseline and the best floor; empty where there is neither."""
    ours = analysis.line(OURS)
    if ours is None:
        return ""
    compared = (("best baseline", ours.against_best), ("best floor", ours.against_floor))
    return " ".join(_against(analysis, what, one) for what, one in compared if one)


def _against(analysis: Analysis, what: str, one: Comparison) -> str:
    metric = analysis.headline
    gained = metric.gain(one.difference.value)
    word = "as good as" if gained == 0 else "better than" if gained > 0 else "worse than"
    sure = "significant" if one.corrected < 0.05 else "not significant"
    return (
        f"PersonaAgent is {word} the {what} ({one.other}): {metric.title} {gap(one.difference)}, "
        f"p = {p_value(one.corrected)} corrected, {sure}; "
        f"{could_have_shown(one)}."
    )


def protocol_lines(analysis: Analysis, varied: str = "") -> Iterator[str]:
    """Who was asked what by which LM, one statement a line; without the setting `varied`."""
    said = analysis.experiment.protocol
    data, cohort, lm = said["data"], said["cohort"], said["lm"]
    yield (
        f"{len(said['samples'])} samples of {said['users']} users, out of {data['samples']} of "
        f"{data['users']}; seed {cohort['seed']}"
        + (f", {cohort['half']} half of the users" if cohort["half"] else "")
    )
    if said["users"] < FEW_USERS:
        yield (
            f"fewer than {FEW_USERS} users: intervals that resample them are too narrow, so this "
            "shows that the systems work, and little more"
        )
    how = "sampled" if is_sampled(said) else "read from the likelihoods of the labels"
    yield (
        f"LM {lm['spec']} ({lm['fingerprint'][:16]}), temperature {lm['temperature']}; answers are "
        f"{how}; {said['parallel']} samples side by side"
    )
    yield (
        f"data {data['name']} (SHA-256 {data['digest'][:16]}), embedder {said['embedder'][:60]}, "
        f"PersonaAgent {said['version']}, {said['date']}"
    )
    for name, value in said["variant"].items():
        if name != varied:
            yield f"{name}: {value}"
    if prior := said.get("prior"):
        trust, actions = prior["start"]["trust"], prior["start"]["actions"]
        taken = ", ".join(one["tool"] for one in actions) or "none"
        meant = ", and labels mean what they mean to the cohort" if trust.get("meanings") else ""
        yield (
            f"personas start from what a cohort of {prior['users']} users taught: trust in the LM "
            f"{trust['lm']:g}, in habit {trust['habit']:g}{meant}; actions: {taken}"
        )
    open_ = [one for one in analysis.lines if one.n + one.failed < one.asked]
    if open_:
        left = ", ".join(f"{one.system} {one.asked - one.n - one.failed}" for one in open_)
        yield f"not asked yet: {left}"


def interval(one: Interval | None) -> str:
    """A value with its bounds."""
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" if one else NONE


def named(line: Line) -> str:
    """The system, and whether it is a floor."""
    return f"{line.system} (floor)" if line.role == "floor" else line.system


def headline(analysis: Analysis, system: str) -> str:
    """A system's main score with its bounds, and how many samples failed."""
    line = analysis.line(system)
    if line is None:
        return NONE
    failed = f" ({line.failed} failed)" if line.failed else ""
    return interval(line.scores.get(analysis.headline.name)) + failed


def mean_loss(line: Line | None) -> str:
    """A system's mean loss; a dash where it has answered nothing."""
    return f"{line.loss:.3f}" if line and line.n else NONE


def signed(value: float) -> str:
    """A difference."""
    return f"{value:+.3f}"


def gap(one: Difference) -> str:
    """A difference with its bounds."""
    return f"{signed(one.value)} [{signed(one.low)}, {signed(one.high)}]"


def smallest(one: Comparison) -> str:
    """The smallest difference that could have been found."""
    return "none" if one.smallest is None else f"{one.smallest:.3f}"


def could_have_shown(one: Comparison) -> str:
    """The same as a clause."""
    if one.smallest is None:
        return f"{one.n} samples are too few to show any difference"
    return f"{one.n} samples could have shown a difference of {one.smallest:.3f}"


def p_value(p: float) -> str:
    """A p-value."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def is_sampled(protocol: Mapping[str, Any]) -> bool:
    """Whether answers are what the LM wrote, and not read from likelihoods."""
    return bool(protocol["lm"]["answers"] == "sampled")
