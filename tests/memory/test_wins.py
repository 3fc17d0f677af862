"""What wins with an LM is remembered a store, and added up."""

from personaagent.memory import Store
from personaagent.memory.wins import add_wins, wins_of


def test_wins_add_up_by_lm_and_outlive_the_process(tmp_path):
    path = tmp_path / "memory.db"
    for _ in range(2):
        with Store(path) as store, store.database.write() as connection:
            add_wins(store.database, connection, "one", {"edits": (1, 2)})
            add_wins(store.database, connection, "other", {"rewrite": (0, 1)})
            add_wins(store.database, connection, "other", {})
    with Store(path) as store:
        assert wins_of(store.database, "one") == {"edits": (2, 4)}
        assert wins_of(store.database, "other") == {"rewrite": (0, 2)}
        assert wins_of(store.database, "unknown") == {}
