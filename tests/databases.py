"""Fresh databases: each test on SQLite and on PostgreSQL, or only those marked `on_both`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

KINDS = ["sqlite", "postgresql"]
on_both = pytest.mark.parametrize("one_database", KINDS, indirect=True)


@pytest.fixture(params=KINDS)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes an empty database and gives its path or URL."""
    with _databases(request.param, request, tmp_path) as make:
        yield make


@pytest.fixture
def one_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database: of SQLite, unless the test is marked `on_both`."""
    with _databases(getattr(request, "param", KINDS[0]), request, tmp_path) as make:
        yield make()


@contextmanager
def _databases(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], str]]:
    if kind == "sqlite":
        yield lambda: str(tmp_path / f"{uuid.uuid4().hex}.db")
        return
    server: sa.URL = request.getfixturevalue("postgres")
    engine = sa.create_engine(server.set(drivername="postgresql+psycopg"))
    made = []

    def make() -> str:
        name = f"test_{uuid.uuid4().hex}"
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        made.append(name)
        url = server.update_query_dict({"options": f"-csearch_path={name}"})
        return url.render_as_string(hide_password=False)

    yield make
    for name in made:  # a transaction each: a server holds so many locks
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    engine.dispose()


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    return new_database()
