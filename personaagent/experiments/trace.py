"""Traces: one answer in full, with the texts behind it.

They quote the data set, whose licence may forbid to pass it on, so they stay in the work folder
and enter a report only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from personaagent.data import Persona
from personaagent.experiments.analysis import Analysis
from personaagent.experiments.cohort import Sample
from personaagent.experiments.document import Block, Paragraph, Quote
from personaagent.experiments.lineup import NON_PERSONALIZED, OURS
from personaagent.experiments.metrics import values
from personaagent.experiments.results import Results
from personaagent.memory import Store


def work_folder(results: Path) -> Path:
    """Where the databases of experiments are, beside their results."""
    return results.parent / f"{results.stem}.work"


def workplace(results: Path, digest: str, latest: int | None) -> Path:
    """The database of histories, personas and traces of an experiment, beside its results.

    Each data set, and each number of interactions that a cold start leaves, has its own.
    """
    cold = "" if latest is None else f"-latest-{latest}"
    return work_folder(results) / f"{digest[:12]}{cold}.db"


def keep_trace(
    store: Store, run: str, system: str, sample: Sample, said: Any, persona: Persona | None
) -> None:
    """Write down how a system came to its answer."""
    trace = {
        "user": sample.owner,
        "query": sample.query.query,
        "gold": sample.gold,
        "answer": str(said.answer),
        "persona": persona.render() if persona else "",
        "actions": [_action(one) for one in said.get("actions") or ()],
        "directives": [one.text for one in said.get("directives") or ()],
        "memories": [
            {"query": one.interaction.query, "response": one.interaction.response}
            for one in said.get("memories") or ()
        ],
    }
    store.of(sample.query.user).journal(_name(run, system)).put(sample.query.id, trace)


def chosen_traces(answers: Results, analysis: Analysis) -> Iterator[Block]:
    """Where PersonaAgent gained most over the non-personalized system, lost most, and a third."""
    experiment = analysis.experiment
    said = experiment.protocol
    path = workplace(answers.path, said["data"]["digest"], said["latest"])
    if not path.is_file():
        yield Paragraph("The work folder beside the results is gone, and with it the traces.")
        return
    gains = _gains(answers, analysis)
    shown = dict.fromkeys([gains[0], gains[-1], gains[len(gains) // 2]]) if gains else {}
    with Store(path) as store:
        for system, sample in shown:
            journal = store.of(said["samples"][sample]).journal(_name(experiment.run, system))
            if (trace := journal.get(sample)) is not None:
                yield _quote(f"{system}, sample {sample}", trace)


def _gains(answers: Results, analysis: Analysis) -> list[tuple[str, str]]:
    """(system, sample) of the system to show, the largest gain first."""
    experiment, metric = analysis.experiment, analysis.headline
    rows = answers.rows(experiment.run, experiment.protocol["samples"])
    answered = {(row.system, row.sample): row for row in rows if row.answer is not None}
    systems = [line.system for line in analysis.lines if line.n and line.role != "floor"]
    if not systems:
        return []
    system = OURS if OURS in systems else systems[-1]

    def score(which: str, sample: str) -> float:
        row = answered.get((which, sample))
        if row is None:
            return 0.0
        return metric.gain(float(values(analysis.task, [row.gold], [row.answer or ""])[0]))

    found = [sample for which, sample in answered if which == system]
    found.sort(key=lambda one: score(NON_PERSONALIZED, one) - score(system, one))
    return [(system, sample) for sample in found]


def _quote(title: str, trace: Mapping[str, Any]) -> Quote:
    memories = "\n".join(f"{one['response']}: {one['query']}" for one in trace["memories"])
    parts = [
        ("query", trace["query"]),
        ("persona", trace["persona"]),
        ("actions", "\n".join(trace["actions"])),
        ("rules that fit", "\n".join(trace["directives"])),
        ("memories", memories),
        ("answer", trace["answer"]),
        ("gold", trace["gold"]),
    ]
    return Quote(title, [(name, text or "none") for name, text in parts])


def forget_traces(store: Store, run: str, system: str, user: str) -> None:
    """Drop a user's traces of a system."""
    store.of(user).journal(_name(run, system)).clear()


def action_name(action: Any) -> str:
    """The tool's name alone; baselines give it as a string."""
    return str(getattr(action, "tool", action))


def _action(action: Any) -> str:
    arguments: Mapping[str, Any] = getattr(action, "arguments", {})
    said = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{action_name(action)}({said})"


def _name(run: str, system: str) -> str:
    return f"evaluation/{run}/trace/{system}"
