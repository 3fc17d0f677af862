from __future__ import annotations

import pytest

from benchmarks.first_load import histories, lengths, load
from benchmarks.million import Chance
from personaagent.data import Interaction
from personaagent.memory import EpisodicMemory, Store

pytestmark = pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)


def test_what_a_first_load_puts_in_is_what_an_import_would_have(
    database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    users = 5
    with Store(database) as store:
        count = load(database, users)
        assert count == lengths(users).sum()
        (past,) = histories(users)
        for n in range(users):
            mine = [one for one in past if one.user == f"u{n}"]
            assert store.of(f"u{n}").interactions("films") == mine
        memory = EpisodicMemory(store, Chance())
        again = memory.add(past)  # the keys are there, and the digests are the same
        assert (again.new, again.known, again.changed) == (0, count, 0)
        assert memory.ready("u0") == 0
        assert len(memory.recall("u0", "a slow film", 4)) == 4
        newest = store.of("u0").pulse()[0]
        memory.add([Interaction("new", "u0", "films", "a new film", "good")])
        assert store.of("u0").pulse()[0] > max(newest, count)
        with pytest.raises(SystemExit, match="has interactions already"):
            load(database, users)
    assert f"interactions: {users} of {users} users" in capfd.readouterr().err
