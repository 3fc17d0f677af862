"""Fixtures: an LM on a stand-in engine, and an OpenAI-style server."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from loopback import answering
from stand_in import AsyncStandIn, FakeServer, StandIn

from personaagent.lm.capabilities import Known
from personaagent.lm.meter import Budget, Meter
from personaagent.lm.model import Identity, PersonaLM

NUMBERS = itertools.count()


@pytest.fixture
def make_lm() -> Callable[..., PersonaLM]:
    def make(
        engine: StandIn | None = None,
        *,
        retries: int = 2,
        cache: bool = False,
        meter: Meter | None = None,
        budget: Budget | None = None,
        price: float | None = 0.0,
    ) -> PersonaLM:
        engine = engine or StandIn()
        name = f"stand-in-{next(NUMBERS)}"
        identity = Identity(name, None, name, 2, 5.0, retries, price)
        known = Known({"alternatives": 5, "prefills": True}, name=name, fixed=True)
        return PersonaLM(
            f"sim/{name}",
            identity,
            known=known,
            meter=meter or Meter(),
            budget=budget,
            cache=cache,
            engine=engine,
            async_engine=AsyncStandIn(engine),
        )

    return make


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    with answering(fake.handler) as address:
        fake.url = f"{address}/v1"
        yield fake
