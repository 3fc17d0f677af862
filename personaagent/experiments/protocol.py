"""What an experiment was: plain values that say everything about it, and the key made of them.

The key leaves the cohort and the systems out: an answer to a sample does not depend on who else is
asked. It knows nothing of the code: after a change of a system its answers must be forgotten
(`Experiment.redo`).

A plan is the experiments that answer one question, each a setup and who is asked in it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from personaagent.data import Choice, Classification, Rating, Task, Text
from personaagent.experiments.cohort import EvaluationData
from personaagent.experiments.lineup import SystemSpec

if TYPE_CHECKING:
    from personaagent.lm import PersonaLM
    from personaagent.optimizers import Prior


_KINDS: dict[str, type[Task]] = {
    kind.__name__.lower(): kind for kind in (Classification, Rating, Text, Choice)
}


@dataclass(frozen=True, slots=True)
class Setup:
    """What answers depend on beside LM, task and data.

    Attributes:
        latest: every user has only so many interactions, the latest before the user's first
            question (cold start); None: all.
        k: memories that a system shows its LM; None: each system's own. Personas are aligned with
            the agent's own k whatever this says, so one persona serves every k.
        alignment: arguments of `PersonaAlignment` that differ from its defaults.
        prior: where personas start; None: the alignment's default.
        parallel: samples side by side where seconds are what is measured; None: it is no part of
            the question, and answers stand however many were asked at once.
    """

    latest: int | None = None
    k: int | None = None
    alignment: Mapping[str, Any] = field(default_factory=dict)
    prior: Prior | None = None
    parallel: int | None = None

    @property
    def variant(self) -> dict[str, Any]:
        """What differs from the defaults, by name."""
        named = {"interactions": self.latest, "k": self.k, **self.alignment}
        named["parallel"] = self.parallel
        return {name: value for name, value in named.items() if value is not None}

    @property
    def settings(self) -> dict[str, Any]:
        """The variant with the defaults of what has any: a report draws curves over it."""
        return defaults() | self.variant

    @property
    def of_personas(self) -> Setup:
        """What a persona depends on."""
        return replace(self, k=None, parallel=None)

    def varied(self, name: str, value: int) -> Setup:
        """The same with another value of "interactions", "k", "parallel" or an argument of the
        alignment; one that is the default is left out, so that the answers are found again."""
        given = None if value == defaults().get(name) else value
        if name == "interactions":
            return replace(self, latest=given)
        if name == "k":
            return replace(self, k=given)
        if name == "parallel":
            return replace(self, parallel=given)
        rest = {key: old for key, old in self.alignment.items() if key != name}
        return replace(self, alignment=rest if given is None else {**rest, name: given})


def defaults() -> dict[str, int]:
    """The values that k and the alignment's numbers have unless a setup says otherwise."""
    from personaagent.optimizers import PersonaAlignment
    from personaagent.programs import PersonaAgent

    k = inspect.signature(PersonaAgent.__init__).parameters["k"].default
    arguments = inspect.signature(PersonaAlignment.__init__).parameters
    return {"k": k, **{name: arguments[name].default for name in ("batch", "iterations", "replay")}}


def task_to_dict(task: Task) -> dict[str, Any]:
    """A task as plain values."""
    data: dict[str, Any] = {"kind": type(task).__name__.lower(), **asdict(task)}
    return data | {"labels": list(task.labels)}


def task_from_dict(data: Mapping[str, Any]) -> Task:
    """The task that `task_to_dict` wrote."""
    fields = {name: value for name, value in data.items() if name != "kind"}
    return _KINDS[data["kind"]](**{**fields, "labels": tuple(fields["labels"])})


def lm_to_dict(lm: PersonaLM, task: Task) -> dict[str, Any]:
    """The LM, and whether its answers are read as likelihoods or sampled."""
    read = bool(task.labels) and lm.reads_likelihoods
    return {
        "spec": PurePath(lm.spec).name if lm.spec.endswith(".gguf") else lm.spec,
        "fingerprint": lm.fingerprint,
        "temperature": lm.kwargs.get("temperature"),
        "max_tokens": lm.kwargs.get("max_tokens"),
        "answers": "likelihoods" if read else "sampled",
    }


def run_key(data: EvaluationData, lm: PersonaLM, setup: Setup, embedder: str) -> str:
    """The same LM, task, data and settings give the same key."""
    named = {name: value for name, value in lm_to_dict(lm, data.task).items() if name != "spec"}
    content = [named, task_to_dict(data.task), data.digest, setup.variant, embedder]
    return digest([*content, setup.prior.digest] if setup.prior else content)


def same_without_personas(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two protocols ask systems that have no personas the same: whatever personas start
    from and learn is no part of their questions."""

    def asked(protocol: Mapping[str, Any]) -> list[Any]:
        lm = {name: value for name, value in protocol["lm"].items() if name != "spec"}
        varied = [protocol["variant"].get(name) for name in ("interactions", "k", "parallel")]
        data = protocol["data"]["digest"]
        return [lm, protocol["task"], data, varied, protocol["embedder"]]

    return asked(one) == asked(other)


def package_version() -> str:
    """PersonaAgent's own, for the report."""
    try:
        return version("personaagent")
    except PackageNotFoundError:  # a checkout that is not installed
        return "unreleased"


def digest(content: Any) -> str:
    """A short name for plain values."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Trial:
    """One experiment of a plan."""

    setup: Setup
    systems: tuple[SystemSpec, ...]


Axes = Mapping[str, Sequence[int]]
"""Values by name: "interactions", "k", "batch", "iterations"."""


def scaling(base: Setup, systems: Sequence[SystemSpec], axes: Axes) -> list[Trial]:
    """The base, then its variants, one axis at a time.

    What alignment is told changes only who answers under aligned personas: the others are not asked
    again for it. A value that the base has already is the base.
    """
    return list(_once([Trial(base, tuple(systems)), *_varied(base, systems, axes)]))


def cold_starts(base: Setup, systems: Sequence[SystemSpec], counts: Sequence[int]) -> list[Trial]:
    """Users of whom only the latest so many interactions are known."""
    return list(_once(_varied(base, systems, {"interactions": counts})))


def _varied(base: Setup, systems: Sequence[SystemSpec], axes: Axes) -> Iterator[Trial]:
    for name, values in axes.items():
        for value in values:
            setup = base.varied(name, value)
            changed = setup.alignment != base.alignment
            asked = tuple(one for one in systems if one.needs_personas or not changed)
            if asked:
                yield Trial(setup, asked)


def _once(trials: Sequence[Trial] | Iterator[Trial]) -> Iterator[Trial]:
    seen: list[Setup] = []
    for trial in trials:
        if trial.setup not in seen:
            seen.append(trial.setup)
            yield trial
