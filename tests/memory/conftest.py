"""A store in each kind of database that there is, see `databases`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from databases import database, new_database

from personaagent.memory import Store

__all__ = ["database", "new_database"]


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store(database) as store:
        yield store
