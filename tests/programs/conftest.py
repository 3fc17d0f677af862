"""A memory with the mail of two users."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds_of_mail import mail, remembering

from personaagent.memory import EpisodicMemory


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EpisodicMemory]:
    with remembering(
        tmp_path,
        mail(1, "dinner with the dog", "travel"),
        mail(2, "meeting on budgets", "work"),
        mail(3, "dog walk", "travel"),
        mail(1, "dog secret of bob", "family", "bob"),
    ) as memory:
        yield memory
