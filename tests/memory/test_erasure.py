"""Erasure in the database: rows, personas, tombstones, caches; and that nothing comes back."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standins import HashEmbedder
from worlds import interaction

from personaagent.data import Action, Directive, Interaction, Item, Persona
from personaagent.errors import ConflictError, DataError
from personaagent.memory import EpisodicMemory, Store, exports
from personaagent.memory.erasure import erase, without
from personaagent.service import publish as chains

CANARY = "xyzzycanary"
TALLY = Item("habit", "numbers every film", support=("i1", "i2", "i9"), oppose=("i3",))
SECRET = interaction(9, query=f"film about {CANARY}", source="letters")


@pytest.fixture
def filled(store: Store) -> Store:
    """Nine interactions and the secret one; a persona that rests on all of them."""
    memory = EpisodicMemory(store, HashEmbedder())
    memory.add([*(interaction(n) for n in range(9)), SECRET, interaction(1, user="bob")])
    rule = Directive("If the film mentions number, answer good.", "number", 0.3, ("i1", "i2", "i9"))
    leak = Directive(
        f"If the film mentions {CANARY}, answer good.", CANARY, 0.3, ("i1", "i2", "i9")
    )
    items = (
        Item("fact", f"mentioned {CANARY}", support=("i9",)),
        Item("habit", f"counts films and {CANARY}", support=("i1", "i9")),
        TALLY,
    )
    first = Persona(
        "ann", "films", f"Likes {CANARY}.", (rule, leak), actions=(Action("recall"),), items=items
    )
    store.of("ann").publish(first, expected=None, reason="start")
    store.of("ann").journal("run").put("gradient", f"it misses {CANARY}")
    return store


def said(store: Store) -> str:
    """All that the tables hold."""
    from personaagent.memory.schema import metadata

    with store.database.read() as connection:
        return repr([connection.execute(table.select()).all() for table in metadata.sorted_tables])


def test_an_erased_interaction_takes_everything_with_it_that_quotes_it(filled: Store) -> None:
    assert CANARY in said(filled)
    erased = erase(filled, "ann", ids=["i9"])
    assert CANARY not in said(filled)
    assert (len(erased.interactions), erased.vectors, len(erased.personas)) == (1, 1, 1)
    assert erased.derived == {"journal": 1}
    assert filled.of("ann").get(["i9"]) == []
    assert filled.of("ann").count() == 9
    assert filled.of("bob").count() == 1


def test_the_champion_is_succeeded_by_what_still_stands(filled: Store) -> None:
    before = filled.of("ann").persona("films")
    erase(filled, "ann", ids=["i9"])
    after = filled.of("ann").persona("films")
    assert before is not None
    assert after is not None
    assert (after.version, after.parent, after.profile) == (1, before.hash, "")
    assert after.directives == (
        Directive("If the film mentions number, answer good.", "number", 0.3, ("i1", "i2")),
    )
    assert after.actions == before.actions
    last = filled.of("ann").get(["i2"])[0].time
    assert after.items == (replace(TALLY, support=("i1", "i2"), last=last),)
    emptied, successor = filled.of("ann").history("films")
    assert (emptied.hash, emptied.persona, emptied.reason) == (before.hash, None, "erased")
    assert (successor.persona, successor.reason) == (after, "1 interaction erased")


def test_a_persona_from_before_an_interaction_does_not_rest_on_it(store: Store) -> None:
    mine = store.of("ann")
    store.add([interaction(1)])
    first = Persona("ann", "films", "Likes noir.")
    mine.publish(first, expected=None, reason="")
    store.add([interaction(2)])
    erased = erase(store, "ann", ids=["i2"])
    assert (erased.personas, erased.published) == ((), ())
    assert mine.persona("films") == first


def test_what_a_persona_was_made_of_decides(store: Store) -> None:
    mine = store.of("ann")
    store.add([interaction(n) for n in range(3)])
    first = Persona("ann", "films", "Likes noir.")
    mine.publish(first, expected=None, reason="", made_of=["i1"])
    mine.publish(first.succeed(trust=first.trust), expected=first.hash, reason="", made_of=["i2"])
    assert erase(store, "ann", ids=["i0"]).personas == ()
    assert len(erase(store, "ann", ids=["i2"]).personas) == 1
    assert len(erase(store, "ann", ids=["i1"]).personas) == 2  # the successor inherited it
    history = mine.history("films")
    assert [entry.persona is None for entry in history] == [True, True, True, False]


@pytest.mark.parametrize(
    ("directive", "left"),
    [
        (Directive("r", "plot", 0.1, ("a", "b", "gone")), Directive("r", "plot", 0.1, ("a", "b"))),
        (Directive("r", "plot", 0.1, ("a", "gone")), None),  # too little support
        (Directive("r", "secret", 0.1, ("a", "b", "gone")), None),  # only the erased one said it
        (Directive("r", "secret", 0.1, ("a", "b")), None),
        (
            Directive("r", "plot", 0.1, ("a", "b"), ("gone",)),
            Directive("r", "plot", 0.1, ("a", "b")),
        ),
        (Directive("free", support=("a", "b", "gone")), None),
        (Directive("free", support=("a", "b")), Directive("free", support=("a", "b"))),
        (Directive("by hand"), Directive("by hand")),
    ],
)
def test_a_directive_stays_if_what_remains_speaks_for_it(
    directive: Directive, left: Directive | None
) -> None:
    gone = Interaction("gone", "ann", "films", "the secret plot", "good")
    kept = {id: Interaction(id, "ann", "films", f"plot {id}", "good") for id in "ab"}
    fields = without(Persona("ann", "films", "p", (directive,)), [gone], kept)
    assert fields["directives"] == ((left,) if left else ())


def test_a_word_that_only_erased_interactions_have_takes_its_item_along() -> None:
    gone = [Interaction("gone", "ann", "films", "the secret plot", "good")]
    kept = {"a": Interaction("a", "ann", "films", "a plot", "good")}
    items = (
        Item("fact", "wrote of the plot", support=("a", "gone")),
        Item("fact", "wrote of the Secret plot", support=("a", "gone")),
        Item("fact", "wrote of plots", topic="secret", support=("a",)),
        Item("fact", "wrote by hand"),
        Item("fact", "wrote nothing else", support=("gone",)),
    )
    fields = without(Persona("ann", "films", items=items), gone, kept, {"secret"})
    assert fields["items"] == (replace(items[0], support=("a",)), items[3])


def test_a_word_that_another_interaction_has_too_takes_no_item_along(store: Store) -> None:
    store.add([interaction(1, query="tea"), interaction(2, query="a film"), interaction(3)])
    tea = Item("preference", "likes a film with tea", support=("i1",))
    store.of("ann").publish(Persona("ann", "films", items=(tea,)), expected=None, reason="")
    erase(store, "ann", ids=["i3"])  # of a film, as another is
    assert store.of("ann").persona("films").items == (tea,)
    erase(store, "ann", ids=["i2"])  # the other film
    assert store.of("ann").persona("films").items == ()


def test_a_word_of_the_writer_takes_no_item_along_that_rests_on_others(store: Store) -> None:
    store.add([interaction(n, query=f"thing{n}") for n in range(3)])
    store.add([interaction(9, query=f"she prefers {CANARY} too")])
    items = tuple(
        Item("preference", f"prefers {what}", support=(f"i{n}",))
        for n, what in [*((n, f"thing{n}") for n in range(3)), (9, CANARY)]
    )
    told = Item("fact", f"knows {CANARY} and thing0", support=("i0",))  # not what it rests on
    made = Persona("ann", "films", items=(*items, told))
    store.of("ann").publish(made, expected=None, reason="")
    erase(store, "ann", ids=["i9"])
    assert store.of("ann").persona("films").items == items[:3]
    assert CANARY not in said(store)


def test_no_rollback_brings_an_erased_item_back(store: Store) -> None:
    mine = store.of("ann")
    store.add([interaction(n) for n in range(3)])
    kept, secret = (Item("fact", f"item {n}", support=(f"i{n}",)) for n in range(2))
    first = Persona("ann", "films", items=(kept,))
    mine.publish(first, expected=None, reason="", made_of=["i0"])
    second = first.succeed(items=(kept, secret))
    mine.publish(second, expected=first.hash, reason="", made_of=["i1"])
    third = second.succeed(items=(secret,))
    mine.publish(third, expected=second.hash, reason="", made_of=["i1"])
    erase(store, "ann", ids=["i1"])
    chain = mine.history("films")
    for version in (1, 2):
        with pytest.raises(DataError, match=f"version {version} was erased"):
            chains.said(chains.version_of(chain, version))
    back = chains.publish(store, first, mine.persona("films"), "rolled back to version 0")
    assert back.items == (kept,)
    assert "item 1" not in said(store)
    with pytest.raises(ConflictError, match="rests on 1 interactions that have been erased"):
        chains.publish(store, second, back, "kept in memory")


def test_arguments_of_standing_actions_go_too() -> None:
    asks = Persona("ann", "films", actions=(Action("recall", {"query": CANARY}),))
    assert without(asks, [SECRET], {})["actions"] is None


def test_a_source_or_a_whole_user_can_be_erased(filled: Store) -> None:
    assert len(erase(filled, "ann", source="letters").interactions) == 1
    assert filled.of("ann").count() == 9
    erased = erase(filled, "ann", everything=True)
    assert len(erased.interactions) == 9
    assert filled.of("ann").history("films") == []
    assert filled.of("ann").persona("films") is None
    assert [one.user for one in filled.users()] == ["bob"]
    assert "'ann'" not in said(filled).replace("('ann', ", "", 1)  # but for the unfinished mark


def test_an_unknown_id_is_refused_and_nothing_is_erased(filled: Store) -> None:
    with pytest.raises(DataError, match="no interaction 'i77': nothing was erased"):
        erase(filled, "ann", ids=["i1", "i77"])
    with pytest.raises(DataError, match="no interaction 'i2'"):
        erase(filled, "bob", ids=["i2"])
    with pytest.raises(DataError, match="nothing of user 'ann' selected"):
        erase(filled, "ann")
    assert filled.of("ann").count() == 10


def test_erasing_twice_is_erasing_once(filled: Store) -> None:
    erase(filled, "ann", ids=["i9"])
    again = erase(filled, "ann", ids=["i9"])
    assert (again.interactions, again.personas) == ((), ())
    assert len(filled.of("ann").history("films")) == 2


def test_an_import_does_not_bring_it_back_unless_it_is_said(filled: Store) -> None:
    erase(filled, "ann", ids=["i9"])
    added = filled.add([SECRET, interaction(20), interaction(9, user="bob")])
    assert (added.new, added.known, added.erased) == (2, 0, 1)
    assert filled.add([SECRET], even_erased=True).new == 1
    assert filled.of("ann").get(["i9"]) == [SECRET]
    assert filled.add([SECRET]).known == 1
    erase(filled, "ann", ids=["i9"])
    assert filled.add([SECRET]).erased == 1


def test_who_still_works_with_it_cannot_write_it_back(filled: Store) -> None:
    mine = filled.of("ann")
    journal, champion = mine.journal("other"), mine.persona("films")
    assert champion is not None
    erase(filled, "ann", ids=["i9"])
    with pytest.raises(ConflictError, match="erased meanwhile"):
        journal.put("gradient", CANARY)
    with pytest.raises(ConflictError, match="the champion is"):
        mine.publish(champion.succeed(), expected=champion.hash, reason="")
    fresh = Persona("ann", "books", CANARY)
    with pytest.raises(ConflictError, match="rests on 1 interactions that have been erased"):
        mine.publish(fresh, expected=None, reason="", made_of=["i1", "i9"])
    with pytest.raises(ConflictError, match="stays away"):
        mine.refuse_erased(champion)
    mine.journal("other").put("gradient", "new")


def test_a_rollback_that_was_read_before_an_erasure_finds_a_conflict(store: Store) -> None:
    mine = store.of("ann")
    store.add([interaction(1), interaction(2)])
    first = Persona("ann", "films", "From one.")
    mine.publish(first, expected=None, reason="", made_of=["i1"])
    champion = first.succeed(profile="From two.")
    mine.publish(champion, expected=first.hash, reason="", made_of=["i2"])
    erase(store, "ann", ids=["i2"])  # the champion goes, the first one does not
    assert [entry.persona is None for entry in mine.history("films")] == [False, True, False]
    with pytest.raises(ConflictError):
        mine.publish(
            champion.succeed(profile=first.profile), expected=champion.hash, reason="rolled back"
        )


def test_caches_in_memory_forget_at_the_next_recall(filled: Store) -> None:
    memory = EpisodicMemory(filled, HashEmbedder())
    for retriever in ("dense", "bm25"):
        assert memory.recall("ann", CANARY, 1, retriever=retriever)[0].interaction.id == SECRET.id
    with Store(filled.database._engine.url.render_as_string(False)) as elsewhere:
        erase(elsewhere, "ann", ids=["i9"])
    for retriever in ("dense", "bm25"):
        assert len(memory.recall("ann", CANARY, 9, retriever=retriever)) == 9
    index = memory._indexes._users.get("ann")
    assert index is not None
    assert (len(index.seqs), len(index._vectors)) == (9, 9)
    assert len(memory._embedded) == 1  # the query, embedded again
    kept = [memory._recalled.get(("ann", seq)) for seq in range(99)]
    assert [one.id for one in kept if one].count("i9") == 0
    assert any(kept)


def test_vectors_of_what_was_erased_while_it_was_embedded_are_dropped(store: Store) -> None:
    class Slow(HashEmbedder):
        def encode(self, texts: Any, **options: Any) -> Any:
            erase(store, "ann", ids=["i1"])
            return super().encode(texts)

    store.add([interaction(1), interaction(2)])
    assert EpisodicMemory(store, Slow()).ready("ann") == 2
    assert EpisodicMemory(store, HashEmbedder()).ready("ann") == 0
    assert len(EpisodicMemory(store, HashEmbedder()).recall("ann", "film", 5)) == 1


def test_no_file_holds_what_was_deleted(tmp_path: Path) -> None:
    with Store(tmp_path / "memory.db") as store:
        store.add([replace(interaction(n), query=f"{CANARY} {n}" * 50) for n in range(200)])
        erase(store, "ann", ids=[f"i{n}" for n in range(200)])
        assert store.database.compact()
        for file in tmp_path.iterdir():
            assert CANARY.encode() not in file.read_bytes()


def test_a_database_of_version_1_is_upgraded_in_place(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    with Store(file) as store:
        store.add([interaction(1)])
        store.of("ann").publish(Persona("ann", "films", CANARY), expected=None, reason="old")
    old = sqlite3.connect(file)
    for table in ("evidence", "branches", "merges", "erasures", "unfinished", "exports", "jobs"):
        old.execute(f"DROP TABLE {table}")
    old.execute("CREATE TABLE profiles (text TEXT)")
    old.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    old.commit()
    old.close()
    with Store(file) as store:
        assert store.of("ann").count() == 1
        assert len(erase(store, "ann", ids=["i1"]).personas) == 1  # nobody knows what it is made of
        assert CANARY not in said(store)


def test_only_a_database_that_keeps_a_log_has_a_limit_to_name(store: Store) -> None:
    assert store.database.keeps_log is (not store.name.endswith(".db"))


def test_files_of_unfinished_work_go_with_every_erasure_of_their_users(
    store: Store, tmp_path: Path
) -> None:
    store.add([interaction(n, user=user) for user in ("ann", "bob") for n in range(2)])
    file = tmp_path / "asked.db"
    exports.begin_work(store, ["ann", "bob"], file)
    exports.begin_work(store, ["ann"], file)  # once more is once
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).write_text(CANARY)
    assert exports.delete_work(store, "cem") == exports.Deleted(0, (), ())
    erase(store, "ann", ids=["i1"])
    assert exports.delete_work(store, "ann") == exports.Deleted(1, (), ())
    assert list(tmp_path.glob("asked.db*")) == []
    assert exports.delete_work(store, "bob") == exports.Deleted(0, (), ())


def test_work_that_is_not_where_it_was_is_named(store: Store, tmp_path: Path) -> None:
    exports.begin_work(store, ["ann"], tmp_path / "asked.db")
    assert exports.delete_work(store, "ann").moved == (tmp_path / "asked.db",)
    assert exports.delete_work(store, "ann").moved == ()


def test_work_that_is_done_is_not_looked_for(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "asked.db"
    exports.begin_work(store, ["ann"], file)
    exports.end_work(store, file)
    file.write_text("somebody else's by now")
    assert exports.delete_work(store, "ann") == exports.Deleted(0, (), ())
    assert file.exists()
