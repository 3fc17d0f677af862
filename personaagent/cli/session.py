"""What a command works with: the store, the LM, the agent."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from personaagent.cli.options import LMChoice
from personaagent.errors import StoreError

if TYPE_CHECKING:
    import dspy

    from personaagent.data import Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import Store
    from personaagent.optimizers import Prior, Setting
    from personaagent.optimizers.ray_pool import Make
    from personaagent.programs import PersonaAgent
    from personaagent.service import Trainer


def open_store(where: str | None, *, create: bool = False) -> Store:
    """The memory database, by default the one of `Store`; only what brings first data makes one.

    Raises:
        StoreError: there is none, or it cannot be opened.
    """
    from personaagent import memory

    return memory.Store(where, create=create)


def note_work(users: Iterable[str], path: Path) -> None:
    """Tell the default memory database of a place of work on files, if it knows some of the users,
    so that erasing one of them cleans the place.

    A command that works on files goes on without such a database; `forget --results` names the
    place then.
    """
    from personaagent.memory import exports

    with suppress(StoreError), open_store(None) as store:
        if known := store.everyone().intersection(users):
            exports.begin_work(store, known, path)


def note_work_gone(path: Path) -> None:
    """Tell the default memory database, where there is one, that what `note_work` named is gone."""
    from personaagent.memory import exports

    with suppress(StoreError), open_store(None) as store:
        exports.end_work(store, path)


def note_unrecorded(store: Store) -> None:
    """Say on stderr where an export could not be written down."""
    if store.database.readonly:
        typer.echo(
            f"note: {store.name} is read-only, so it does not know of what was written here, and "
            "'personaagent forget' will not delete it",
            err=True,
        )


def connect(choice: LMChoice, *, like: PersonaLM | None = None) -> PersonaLM:
    """The LM of a choice; `like` another one it counts into the same meter and budget."""
    from personaagent import lm

    budget, meter = (like.budget, like.meter) if like else (choice.budget, None)
    return lm.connect(
        choice.lm,
        api_base=choice.api_base,
        slots=choice.slots,
        budget=budget,
        meter=meter,
        likelihoods=choice.likelihoods,
        reasoning=choice.reasoning,
        max_output=choice.max_output,
        fallback=choice.fallback_lm,
        fallback_api_base=choice.fallback_api_base,
    )


def connect_gradient(
    name: str | None, api_base: str | None, choice: LMChoice, like: PersonaLM
) -> PersonaLM | None:
    """The LM that writes gradients and updates, None without a name of one.

    What the options say of --lm is not said of it. A model without a provider's name is asked where
    --lm is, unless it has an address of its own.
    """
    if name is None:
        return None
    elsewhere = "/" in name or name == "embedded" or name.lower().endswith(".gguf")
    where = api_base or (None if elsewhere else choice.api_base)
    own = replace(
        choice, lm=name, api_base=where, likelihoods=None, reasoning=None, max_output=None
    )
    return connect(own, like=like)


@contextmanager
def agent_of(store: Store, task: Task, lm: PersonaLM) -> Iterator[PersonaAgent]:
    """The agent for a task, with the LM configured for DSPy inside the block."""
    import dspy

    from personaagent import memory
    from personaagent.programs import PersonaAgent

    with dspy.context(lm=lm):
        yield PersonaAgent(task, memory.EpisodicMemory(store, memory.named_embedder()))


def trainer_of(
    store: Store,
    setting: Setting,
    lm: PersonaLM,
    gradient_lm: PersonaLM | None = None,
    prior: Prior | None = None,
) -> Trainer:
    """What trains personas of the store."""
    from personaagent import memory
    from personaagent.service import Trainer

    recalling = memory.EpisodicMemory(store, memory.named_embedder())
    return Trainer(recalling, lm, setting, gradient_lm, prior)


def uncached(
    choice: LMChoice, gradient_lm: str | None = None, gradient_api_base: str | None = None
) -> Callable[[int], tuple[PersonaLM, PersonaLM | None]]:
    """Connects, in another process, the LM with so many slots and the gradient LM, without DSPy's
    response cache."""
    return partial(_uncached, choice, gradient_lm, gradient_api_base)


def _uncached(
    choice: LMChoice, gradient_lm: str | None, gradient_api_base: str | None, slots: int
) -> tuple[PersonaLM, PersonaLM | None]:
    connected = connect(replace(choice, slots=slots)).copy(cache=False)
    second = connect_gradient(gradient_lm, gradient_api_base, choice, connected)
    return connected, second.copy(cache=False) if second else None


def trainers(
    store: Store,
    db: str | None,
    setting: Setting,
    choice: LMChoice,
    gradient_lm: str | None = None,
    gradient_api_base: str | None = None,
    prior: Prior | None = None,
) -> Make[Trainer]:
    """Makes the same trainer in another process, with so many of the LM's slots."""
    named = db or os.environ.get("PERSONAAGENT_DB")
    # The name of a store is without its password.
    where = named if named and "://" in named else str(Path(store.name).absolute())
    return partial(
        _trainer_elsewhere, where, setting, choice, gradient_lm, gradient_api_base, prior
    )


def _trainer_elsewhere(
    where: str,
    setting: Setting,
    choice: LMChoice,
    gradient_lm: str | None,
    gradient_api_base: str | None,
    prior: Prior | None,
    slots: int,
) -> tuple[PersonaLM, Trainer]:
    connected = connect(replace(choice, slots=slots))
    second = connect_gradient(gradient_lm, gradient_api_base, choice, connected)
    return connected, trainer_of(open_store(where), setting, connected, second, prior)


@contextmanager
def tracking_noted() -> Iterator[None]:
    """What MLflow could not do inside the block, as lines on stderr and not as warnings."""
    from personaagent.tracking import TrackingWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrackingWarning)
        yield
    for one in caught:
        if issubclass(one.category, TrackingWarning):
            typer.echo(f"note: {one.message}", err=True)
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def wikipedia() -> dspy.Tool:
    """The general tool that the paper gives its agent."""
    import dspy

    from personaagent.programs.tools import wikipedia

    return dspy.Tool(wikipedia)
