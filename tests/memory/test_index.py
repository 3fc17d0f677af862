from __future__ import annotations

from standins import HashEmbedder
from worlds import interaction

from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.index import IndexCache
from personaagent.memory.lru import LRU
from personaagent.memory.vectors import FaissIndex


def test_the_cache_drops_who_was_asked_for_longest_ago() -> None:
    cache: LRU[str, str] = LRU(budget=3)
    cache.keep("a", "A", 1)
    cache.keep("b", "B", 2)
    assert cache.get("a") == "A"
    cache.keep("c", "C", 1)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("A", None, "C")


def test_the_cache_keeps_the_first_value_of_a_key_and_its_latest_cost() -> None:
    cache: LRU[str, str] = LRU(budget=3)
    assert cache.keep("a", "A", 0) == "A"
    assert cache.keep("a", "other", 3) == "A"
    cache.keep("b", "B", 1)
    assert (cache.get("a"), cache.get("b")) == (None, "B")


def test_a_value_above_the_whole_budget_is_still_kept_while_it_is_the_last() -> None:
    cache: LRU[str, str] = LRU(budget=1)
    cache.keep("a", "A", 9)
    assert cache.get("a") == "A"


def test_indexes_stay_within_their_budget_and_come_back_when_asked_for(store: Store) -> None:
    for_two_users = 2 * 10 * (96 + 4 * 32)
    memory = EpisodicMemory(store, HashEmbedder(), resident=for_two_users)
    users = [f"user{n}" for n in range(6)]
    memory.add([interaction(n, user=user) for user in users for n in range(10)])
    for _ in range(2):
        for user in users:
            assert memory.recall(user, "film number 7", 1)[0].interaction.id == "i7"
            assert len(memory._indexes) <= 3


def test_a_refresh_reads_only_what_is_new(store: Store) -> None:
    cache, mine = IndexCache(10**6, FaissIndex), store.of("ann")
    store.add([interaction(n) for n in range(3)])
    index = cache.of(mine)
    assert not index.refresh(mine)
    store.add([interaction(9, user="bob"), interaction(3)])
    assert index.refresh(mine)
    assert len(cache.of(mine).seqs) == 4
