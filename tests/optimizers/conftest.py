"""A user with two habits in memory."""

from collections.abc import Iterator

import pytest
from worlds_of_mail import INBOX, habitual, mail, remembering

from personaagent.data import Interaction
from personaagent.memory import EpisodicMemory
from personaagent.programs import PersonaAgent


@pytest.fixture(scope="package")
def history() -> list[Interaction]:
    return habitual()


@pytest.fixture(scope="package")
def memory(
    tmp_path_factory: pytest.TempPathFactory, history: list[Interaction]
) -> Iterator[EpisodicMemory]:
    """Shared: alignment publishes nothing."""
    folder = tmp_path_factory.mktemp("habits")
    with remembering(folder, *history, mail(1, "dog QQBOB", "family", "bob")) as memory:
        yield memory


@pytest.fixture
def agent(memory: EpisodicMemory) -> PersonaAgent:
    return PersonaAgent(INBOX, memory)
