"""What must be in the environment before any test imports DSPy, torch or faiss."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from personaagent.memory import EpisodicMemory

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="personaagent-dspy-")
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# What was learned of LMs in one run must not be known in the next.
os.environ["PERSONAAGENT_LMS"] = tempfile.mkdtemp(prefix="personaagent-lms-")
os.environ["HF_HUB_OFFLINE"] = "1"

# A shared machine is slow at times, which says nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EpisodicMemory]:
    """The mail of two users."""
    from worlds_of_mail import mail, remembering  # DSPy takes a second to import

    with remembering(
        tmp_path,
        mail(1, "dinner with the dog", "travel"),
        mail(2, "meeting on budgets", "work"),
        mail(3, "dog walk", "travel"),
        mail(1, "dog secret of bob", "family", "bob"),
    ) as memory:
        yield memory
