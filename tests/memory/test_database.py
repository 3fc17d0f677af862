"""The file of a database: whose it is, where it is made, and where it can only be read."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from unprivileged import open_folder, unprivileged
from worlds import interaction

from personaagent.errors import StoreError
from personaagent.memory import Store


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def here() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def filled(folder: Path, *, readable: bool = True) -> Path:
    """A database with three interactions in a folder of its own."""
    folder.mkdir()
    file = folder / "memory.db"
    with Store(file) as store:
        store.add([interaction(n) for n in range(3)])
    if readable:
        file.chmod(0o644)
    return file


def counted(file: Path) -> int:
    with Store(file, create=False) as store:
        return store.of("ann").count()


def test_the_database_its_log_and_its_folder_are_the_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with Store(tmp_path / "new" / "deeper" / "memory.db") as store:
            store.add([interaction(1)])
            files = sorted((tmp_path / "new" / "deeper").iterdir())
            assert [one.name for one in files] == ["memory.db", "memory.db-shm", "memory.db-wal"]
            assert {mode(one) for one in files} == {0o600}
    finally:
        os.umask(old)
    assert mode(tmp_path / "new") == mode(tmp_path / "new" / "deeper") == 0o700


def test_a_database_that_its_owner_opened_to_others_stays_so(tmp_path: Path) -> None:
    file = filled(tmp_path / "shared")
    file.chmod(0o640)
    assert counted(file) == 3
    assert mode(file) == 0o640


def test_what_must_be_there_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "typo" / "memory.db"
    with pytest.raises(StoreError, match=r"typo/memory\.db: there is no such database.*import"):
        Store(file, create=False)
    with pytest.raises(StoreError, match="there is no such database"):
        Store(f"sqlite:///{file}", create=False)
    assert not file.parent.exists()


def test_a_database_keeps_its_own_name(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one"), filled(tmp_path / "other")
    with Store(one) as store:
        name = store.database.identity()
        assert store.database.identity() == name
    moved = one.rename(tmp_path / "moved.db")
    with Store(moved) as store, Store(other) as apart:
        assert store.database.identity() == name
        assert apart.database.identity() != name


@pytest.mark.parametrize("folder", [0o555, 0o777])
@pytest.mark.parametrize("file", [0o444, 0o644])
def test_what_is_read_only_is_read_and_left_as_it_is(here: Path, folder: int, file: int) -> None:
    path = filled(here / "disk")
    path.chmod(file)
    path.parent.chmod(folder)
    assert unprivileged(lambda: counted(path)) == 3

    def add() -> None:
        with Store(path) as store:
            store.add([interaction(9)])

    assert "it is read-only: check that you may write" in unprivileged(add)
    if folder == 0o555:
        assert list(path.parent.iterdir()) == [path]


def killed_while_open(file: Path) -> None:
    """Leave a log beside the database, with an interaction in it."""
    if not (child := os.fork()):
        Store(file).add([interaction(7)])
        os._exit(0)
    os.waitpid(child, 0)
    assert file.with_name("memory.db-wal").stat().st_size


def test_what_is_in_the_log_of_a_read_only_database_is_read_too(here: Path) -> None:
    file = filled(here / "disk")
    killed_while_open(file)
    for one in file.parent.iterdir():
        one.chmod(0o444)
    file.parent.chmod(0o555)
    assert unprivileged(lambda: counted(file)) == 4


def test_a_log_that_cannot_be_read_is_said_and_not_left_out(here: Path) -> None:
    file = filled(here / "disk")
    killed_while_open(file)
    file.chmod(0o444)
    for name in ("memory.db-wal", "memory.db-shm"):
        file.with_name(name).chmod(0)
    file.parent.chmod(0o555)
    said = unprivileged(lambda: counted(file))
    assert "StoreError" in said
    assert "its log memory.db-wal holds changes that cannot be read" in said


def test_a_read_only_database_of_an_older_version_is_said(here: Path) -> None:
    file = filled(here / "disk")
    with sqlite3.connect(file) as old:
        old.execute("UPDATE meta SET value = '3' WHERE key = 'schema_version'")
    old.close()
    file.chmod(0o444)
    file.parent.chmod(0o555)
    assert "of an older PersonaAgent" in unprivileged(lambda: counted(file))


def test_a_read_only_file_that_is_no_database_is_named(here: Path) -> None:
    file = here / "notes.txt"
    file.write_text("these are my notes " * 100)
    file.chmod(0o444)
    assert "not a database" in unprivileged(lambda: counted(file))


def test_a_database_of_version_3_is_upgraded_and_keeps_its_vectors(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    with Store(file) as store:
        store.add([interaction(1, metadata={"abstract": "x"})])
        store.save_vectors("model", [1], [b"0000"])
    with sqlite3.connect(file) as old:
        old.execute("DROP TABLE workfiles")
        old.execute("UPDATE meta SET value = '3' WHERE key = 'schema_version'")
    old.close()
    with Store(file) as store:
        assert store.of("ann").vectors("model", -1, 9) == ([1], [b"0000"])


def test_a_database_in_memory_is_refused_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for where in (":memory:", "sqlite:///:memory:"):
        with pytest.raises(StoreError, match="a database in memory would be lost"):
            Store(where)
    assert list(tmp_path.iterdir()) == []
