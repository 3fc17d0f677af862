"""How a persona is to be learned, as one value: what `compile` takes; and the space of settings
that a tuner searches.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, Field

from personaagent.data import Action, Choice, Task, Text
from personaagent.data.files import opened
from personaagent.data.sensitive import Policy
from personaagent.data.validation import Row, parse_json, suggestion, validated
from personaagent.errors import DataError
from personaagent.optimizers.alignment import PersonaAlignment
from personaagent.optimizers.sampling import SIMULATE
from personaagent.optimizers.selection import Acceptance, Policies
from personaagent.policies import ACCEPTANCES, AUTO, RETRIEVERS, SAMPLERS, UPDATES
from personaagent.programs.profile import LONGEST
from personaagent.programs.tools import MOST_MEMORIES
from personaagent.registry import Registry

_DEFAULT_K, _DEFAULT_RETRIEVER = 4, "dense"


@dataclass(frozen=True, slots=True)
class Setting:
    """The choices of an alignment by the names of `compile`'s options.

    `k` and `retriever` are those of the standing action `recall`, so the persona carries them to
    wherever it answers; `profile` is the words that a first profile may have, `longest` those of a
    longer one, `sensitive` what becomes of what is sensitive in it. `recall`
    is for conversations, where nothing is replayed that could choose the standing actions: whether
    the persona recalls earlier messages, too; None leaves it as it is, at first without.
    """

    iterations: int = 4
    batch: int = 4
    k: int = _DEFAULT_K
    update: str = "auto"
    accept: str = "replay"
    sampler: str = "auto"
    retriever: str = _DEFAULT_RETRIEVER
    profile: int = 30
    replay: int = 12
    seed: int = 0
    longest: int = LONGEST
    sensitive: Policy = "keep"
    recall: bool | None = None

    def __post_init__(self) -> None:
        def refuse(field: str, problem: str) -> DataError:
            return DataError(f"setting: '{field}': {problem}")

        validated(_Choices, asdict(self), refuse)

    def alignment(
        self, *, acceptance: Acceptance | None = None, **options: Any
    ) -> PersonaAlignment:
        """The alignment.

        Args:
            acceptance: the policy where it knows more than its name says: the user's evidence.
            options: the arguments of `PersonaAlignment` that are no choices.
        """
        return PersonaAlignment(
            iterations=self.iterations,
            batch=self.batch,
            # what is always accepted needs no judge, and of the latest no more than a batch
            replay=0 if self.accept == "always" else self.replay,
            simulate=self.batch if self.sampler == "latest" else SIMULATE,
            sampler=None if self.sampler == AUTO else SAMPLERS[self.sampler](),
            update=None if self.update == AUTO else UPDATES[self.update](),
            acceptance=acceptance or ACCEPTANCES[self.accept](),
            policies=self.policies(),
            profile=self.profile,
            longest=self.longest,
            sensitive=self.sensitive,
            seed=self.seed,
            **options,
        )

    def policies(self) -> Policies:
        """The standing actions that replay chooses from: none, or a recall of this kind. Where
        nothing is replayed a recall; where the paper's prompt calls for tools the LM chooses."""
        if self.update == "paper":
            return (None,)
        beyond: dict[str, Any] = {}
        if self.k != _DEFAULT_K:
            beyond["k"] = self.k
        if self.retriever != _DEFAULT_RETRIEVER:
            beyond["retriever"] = self.retriever
        recall = (Action("recall", beyond),)
        return (recall,) if self.accept == "always" else ((), recall)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    def write(self, path: Path) -> None:
        """Write the file that `compile --config` takes."""
        path.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """A setting from a file; what it leaves out is as by default.

        Raises:
            DataError: see `read_choices`.
        """
        return cls(**read_choices(path))


def read_choices(path: Path) -> dict[str, Any]:
    """The choices that a JSON or TOML file makes, by name.

    Raises:
        DataError: there is no such file, it is neither, or a choice is unknown or impossible.
    """
    with opened(path) as stream:
        raw = stream.read()
    if path.suffix.lower() == ".toml":
        try:
            data: object = tomllib.loads(raw.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not valid TOML: {error}") from error
    else:
        data = parse_json(raw, path)

    def refuse(field: str, problem: str) -> DataError:
        return DataError(f"{path}: field '{field}': {problem}")

    return validated(_Choices, data, refuse).model_dump(exclude_unset=True)


def _one_of(registry: Registry[Any], *beside: str) -> AfterValidator:
    def check(name: str) -> str:
        try:
            return name if name in beside else registry.known(name)
        except DataError as error:
            raise ValueError(str(error)) from None

    return AfterValidator(check)


class _Choices(Row):
    iterations: Annotated[int, Field(ge=1)] = 0
    batch: Annotated[int, Field(ge=1)] = 0
    k: Annotated[int, Field(ge=1, le=MOST_MEMORIES)] = 0
    update: Annotated[str, _one_of(UPDATES, AUTO)] = AUTO
    accept: Annotated[str, _one_of(ACCEPTANCES)] = "replay"
    sampler: Annotated[str, _one_of(SAMPLERS, AUTO)] = AUTO
    retriever: Annotated[str, _one_of(RETRIEVERS)] = "dense"
    profile: Annotated[int, Field(ge=5, le=200)] = 0
    replay: Annotated[int, Field(ge=0)] = 0
    seed: int = 0
    longest: Annotated[int, Field(ge=0, le=1000)] = 0
    sensitive: Policy = "keep"
    recall: bool | None = None


PAPER = Setting(iterations=1, batch=3, update="paper", accept="always", sampler="latest", replay=0)
"""The paper's own way (section 4.1: three interactions, one iteration, four memories)."""

PRESETS = {"paper": PAPER}


NUMBERS = {
    "batch": (1, 16),
    "iterations": (1, 8),
    "k": (1, MOST_MEMORIES),
    "profile": (10, 80),
}
"""Whole numbers, from and to, searched on a logarithmic scale: small ones differ more."""

NAMES = {
    "update": ("auto", "rewrite", "paper"),
    "accept": ("replay", "always"),
    "retriever": RETRIEVERS.ours,
}

ALWAYS = ("batch", "iterations", "k")
ON_REQUEST = ("update", "accept", "retriever", "profile")


class Suggesting(Protocol):
    """The part of an Optuna trial that suggests values."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Space:
    """The choices that vary, by name; the others are those of `base`."""

    base: Setting
    names: tuple[str, ...] = ALWAYS

    @classmethod
    def of(cls, task: Task, base: Setting, beyond: Iterable[str] = ()) -> Self:
        """The space for a task, with choices that vary on request.

        Raises:
            DataError: such a choice is not known, or the task leaves none.
        """
        wanted = list(dict.fromkeys(beyond))
        for name in wanted:
            if name not in ON_REQUEST:
                raise DataError(f"'{name}' cannot be searched{suggestion(name, ON_REQUEST)}")
        if "update" in wanted and isinstance(task, Choice | Text):
            raise DataError(
                f"task '{task.name}': its personas can only be rewritten, so there is no update "
                "to search"
            )
        return cls(base, (*ALWAYS, *wanted))

    def suggest(self, trial: Suggesting) -> Setting:
        """The setting that a trial is to try."""
        chosen: dict[str, Any] = {
            name: trial.suggest_int(name, *NUMBERS[name], log=True)
            if name in NUMBERS
            else trial.suggest_categorical(name, NAMES[name])
            for name in self.names
        }
        return replace(self.base, **chosen)

    def first(self) -> list[dict[str, Any]]:
        """What is tried before anything is searched: the paper's defaults, then the base."""
        base = {name: getattr(self.base, name) for name in self.names}
        paper = {name: getattr(PAPER, name) for name in self.names}
        return [paper, base] if paper != base else [base]
