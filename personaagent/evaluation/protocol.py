"""What an experiment was: plain values that say everything about it, and the key made of them.

The key leaves the cohort and the systems out: an answer to a sample does not depend on who else is
asked. It knows nothing of the code: after a change of a system its answers must be forgotten
(`Experiment.redo`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from personaagent.data import Choice, Classification, Rating, Task, Text
from personaagent.evaluation.cohort import EvaluationData

if TYPE_CHECKING:
    from personaagent.lm import PersonaLM

_KINDS: dict[str, type[Task]] = {
    kind.__name__.lower(): kind for kind in (Classification, Rating, Text, Choice)
}


@dataclass(frozen=True, slots=True)
class Setup:
    """What answers depend on beside LM, task and data.

    Attributes:
        latest: every user has only so many interactions, the latest before the user's first
            question (cold start); None: all.
        k: memories that a system shows its LM; None: each system's own.
        alignment: arguments of `PersonaAlignment` that differ from its defaults.
    """

    latest: int | None = None
    k: int | None = None
    alignment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> dict[str, Any]:
        """What differs from the defaults, by name: a report draws curves over it."""
        named = {"interactions": self.latest, "k": self.k, **self.alignment}
        return {name: value for name, value in named.items() if value is not None}


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
        "spec": lm.spec,
        "fingerprint": lm.fingerprint,
        "temperature": lm.kwargs.get("temperature"),
        "max_tokens": lm.kwargs.get("max_tokens"),
        "answers": "likelihoods" if read else "sampled",
    }


def run_key(data: EvaluationData, lm: PersonaLM, setup: Setup, embedder: str) -> str:
    """The same LM, task, data and settings give the same key."""
    named = {name: value for name, value in lm_to_dict(lm, data.task).items() if name != "spec"}
    return digest([named, task_to_dict(data.task), data.digest, setup.variant, embedder])


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
