from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from standins import HashEmbedder
from worlds import NOON, WORDS, histories, interaction, times

from personaagent.data import CHAT, Interaction, Text
from personaagent.errors import DataError, StoreError
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.erasure import erase
from personaagent.memory.habit_change import forget_turn, save_turn
from personaagent.memory.index import ErasedMeanwhile
from personaagent.memory.retrieval import Ranking, Scope
from personaagent.memory.schema import meta, vectors
from personaagent.memory.tasks import save_tasks, task_named
from personaagent.policies import RETRIEVERS

CLOCK = datetime(2023, 1, 1, tzinfo=UTC)
several = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def memory(store: Store) -> EpisodicMemory:
    return EpisodicMemory(store, HashEmbedder())


def ids(found: object) -> list[str]:
    return [one.interaction.id for one in found]


@several
@given(histories(users=("ann",)), st.sampled_from(WORDS), st.integers(1, 30))
def test_dense_recall_equals_brute_force(
    new_database: Callable[[], str], history: list[Interaction], query: str, k: int
) -> None:
    history = [replace(one, expires=None, time=None) for one in history]
    with Store(new_database(), screening=None) as store:
        memory = EpisodicMemory(store, HashEmbedder())
        for one in history:  # one by one: the index grows, as it does in use
            memory.add([one])
            memory.recall("ann", query, 1)
        found = memory.recall("ann", query, k)
        embedder = HashEmbedder()
        wanted = embedder.encode([query])[0]
        cosine = {one.id: float(embedder.encode([one.query])[0] @ wanted) for one in history}
        best = sorted(cosine.values(), reverse=True)[:k]
        assert len(set(ids(found))) == len(found)
        half = 5e-4  # vectors are kept in half precision
        np.testing.assert_allclose([one.score for one in found], best, atol=half)
        np.testing.assert_allclose([cosine[id] for id in ids(found)], best, atol=half)


@pytest.mark.parametrize("retriever", RETRIEVERS)
@several
@given(
    history=histories(),
    query=st.sampled_from(WORDS),
    k=st.integers(1, 30),
    before=times,
    task=st.none() | st.sampled_from(["films", "books"]),
    exclude=st.lists(st.sampled_from([f"i{n}" for n in range(20)])),
)
def test_every_retriever_returns_only_what_it_may_and_all_of_it_if_k_allows(
    new_database: Callable[[], str],
    retriever: str,
    history: list[Interaction],
    query: str,
    k: int,
    before: datetime | None,
    task: str | None,
    exclude: list[str],
) -> None:
    with Store(new_database(), now=lambda: CLOCK + timedelta(days=365), screening=None) as store:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add(history)
        store.now = lambda: CLOCK
        allowed = {
            one.id
            for one in history
            if one.user == "ann"
            and (one.expires is None or one.expires > CLOCK)
            and (before is None or one.time is None or one.time < before)
            and (task is None or one.task == task)
            and one.id not in exclude
        }
        found = memory.recall(
            "ann", query, k, retriever=retriever, before=before, task=task, exclude=exclude
        )
        assert {one.interaction.user for one in found} <= {"ann"}
        assert set(ids(found)) <= allowed
        assert len(set(ids(found))) == len(found) == min(k, len(allowed))
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True)


def test_recency_is_newest_first(memory: EpisodicMemory) -> None:
    memory.add([interaction(2), interaction(0), interaction(1), interaction(9, time=None)])
    assert ids(memory.recall("ann", "x", 9, retriever="recency")) == ["i2", "i1", "i0", "i9"]


def test_bm25_finds_the_exact_word_and_fills_up_with_the_newest(memory: EpisodicMemory) -> None:
    memory.add([interaction(n, query=f"plain text {'Xanadu' * (n == 1)}") for n in range(4)])
    found = memory.recall("ann", "where is xanadu?", 3, retriever="bm25")
    assert ids(found) == ["i1", "i3", "i2"]
    assert [one.score > 0 for one in found] == [True, False, False]


@pytest.mark.parametrize("query", ["the", "?!", "日本"])
def test_bm25_survives_texts_and_queries_without_words(memory: EpisodicMemory, query: str) -> None:
    memory.add([interaction(1, query="the"), interaction(2, query="…")])
    assert len(memory.recall("ann", query, 5, retriever="bm25")) == 2


def test_bm25_does_not_count_the_words_of_the_future(memory: EpisodicMemory) -> None:
    memory.add([interaction(0, query="jazz"), interaction(1, query="noir jazz")])
    before = NOON + timedelta(hours=2)
    alone = memory.recall("ann", "jazz noir", 2, retriever="bm25", before=before)
    memory.add([interaction(n, query="jazz") for n in range(5, 30)])
    assert len(memory.recall("ann", "jazz noir", 50, retriever="bm25")) == 27
    assert memory.recall("ann", "jazz noir", 2, retriever="bm25", before=before) == alone


def test_hybrid_puts_first_what_both_find(memory: EpisodicMemory) -> None:
    memory.add([interaction(n, query=f"topic{n} about things") for n in range(10)])
    assert ids(memory.recall("ann", "topic7", 3, retriever="hybrid"))[0] == "i7"


@pytest.mark.parametrize("retriever", ["bm25", "recency"])
def test_retrieval_by_words_or_date_needs_no_embedding(store: Store, retriever: str) -> None:
    store.add([interaction(1)])
    memory = EpisodicMemory(store, HashEmbedder())
    memory.recall("ann", "film", 1, retriever=retriever)
    assert memory.embedder.encoded == []


def test_what_another_process_adds_is_recalled_at_once(database: str) -> None:
    with Store(database) as here, Store(database) as there:
        memory = EpisodicMemory(here, HashEmbedder())
        memory.add([interaction(1)])
        assert len(memory.recall("ann", "film number 2", 5)) == 1
        EpisodicMemory(there, HashEmbedder()).add([interaction(2)])
        assert ids(memory.recall("ann", "film number 2", 1)) == ["i2"]
        there.add([interaction(3)])  # and it was killed before the vector
        assert ids(memory.recall("ann", "film number 3", 1)) == ["i3"]


def test_an_id_that_was_excluded_before_it_was_there_is_excluded_once_it_is(database: str) -> None:
    with Store(database) as store, Store(database) as elsewhere:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add([interaction(1)])
        assert ids(memory.recall("ann", "x", 9, exclude=["i2"])) == ["i1"]
        EpisodicMemory(elsewhere, HashEmbedder()).add([interaction(2)])
        assert ids(memory.recall("ann", "x", 9, exclude=["i2"])) == ["i1"]
        assert sorted(ids(memory.recall("ann", "x", 9, exclude=["i1"]))) == ["i2"]


def test_a_turn_that_another_process_finds_or_forgets_counts_at_the_next_recall(
    database: str,
) -> None:
    with Store(database) as store, Store(database) as elsewhere:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add(interaction(n, query=f"film {n}") for n in range(1, 7))

        def weights() -> list[float]:
            found = memory.recall("ann", "film", 9, task=interaction(1).task)
            return sorted(one.interaction.weight for one in found)

        before = weights()
        save_turn(elsewhere.of("ann"), interaction(1).task, "i4", half_life=1.0)
        assert weights()[:3] == [before[0] / 8] * 3
        forget_turn(elsewhere.of("ann"), interaction(1).task)
        assert weights() == before


def test_recall_of_what_was_recalled_reads_the_database_once(
    memory: EpisodicMemory,
) -> None:
    memory.add(interaction(n) for n in range(1, 7))
    task = interaction(1).task
    asked = memory.recall("ann", "x", 4, task=task, exclude=["i2"])
    statements: list[str] = []
    sa.event.listen(
        memory.store.database._engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: statements.append(statement),
    )
    assert memory.recall("ann", "x", 4, task=task, exclude=["i2"]) == asked
    assert len(statements) == 1


def test_another_embedding_model_re_embeds(database: str) -> None:
    with Store(database) as store:
        EpisodicMemory(store, HashEmbedder("old")).add([interaction(n) for n in range(3)])
        new = EpisodicMemory(store, HashEmbedder("new", dimensions=48))
        assert new.recall("ann", "film number 2", 1)[0].score == pytest.approx(1)
        assert sorted(new.embedder.encoded)[:3] == [f"film number {n}" for n in range(3)]
        assert new.ready("ann") == 0
        assert EpisodicMemory(store, HashEmbedder("old")).ready("ann") == 3


def test_vectors_of_an_older_version_give_the_same_scores(database: str) -> None:
    with Store(database) as store:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add([interaction(n) for n in range(5)])
        made = [one.score for one in memory.recall("ann", "film number 2", 5)]
        with store.database.read() as connection:
            stored = connection.execute(sa.select(vectors.c.seq, vectors.c.vector)).all()
        assert {len(vector) for _, vector in stored} == {2 * memory.embedder.dimensions}
        seqs = store.of("ann").seqs([f"i{n}" for n in range(3)])
        for id, seq in seqs.items():
            single = HashEmbedder().encode([f"film number {id[1:]}"])[0]
            store.save_vectors(memory.embedder.fingerprint, [seq], [single.tobytes()])
        both = EpisodicMemory(store, HashEmbedder())
        assert [one.score for one in both.recall("ann", "film number 2", 5)] == made
        assert both.embedder.encoded == ["film number 2"]


def test_the_texts_of_many_users_are_embedded_under_one_bar(database: str, capsys) -> None:
    users = [f"u{n}" for n in range(300)]
    with Store(database) as store:
        store.add([replace(interaction(1), user=user) for user in users])
        memory = EpisodicMemory(store, HashEmbedder())
        assert memory.ready(*users[:-1], progress=True) == 299
        assert "299/299" in capsys.readouterr().err
        assert memory.ready(*users, progress=True) == 1


def flooded(moment: Callable[[int], datetime | None]) -> list[Interaction]:
    """Ten messages about actors, one a day, and after them twelve nearer ones."""
    honest = [interaction(24 * n, query=f"film actor plot {WORDS[n % 3]}") for n in range(10)]
    flood = [interaction(240 + n, query="film actor plot", time=moment(n)) for n in range(12)]
    return honest + flood


@pytest.mark.parametrize("retriever", ["dense", "bm25", "hybrid"])
def test_a_day_that_floods_memory_does_not_fill_what_is_recalled(memory, retriever) -> None:
    memory.add(flooded(lambda n: NOON + timedelta(days=10, minutes=n)))
    found = memory.recall("ann", "film actor plot", 4, retriever=retriever)
    days = [one.interaction.time.date() for one in found]
    assert len(days) == 4
    assert days.count((NOON + timedelta(days=10)).date()) <= 1
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_source_that_floods_memory_is_half_of_what_is_recalled(memory) -> None:
    memory.add(flooded(lambda n: NOON + timedelta(days=10 + n)))
    crm = [
        interaction(500 + n, query="film actor plot", source="crm", time=NOON + timedelta(n + 40))
        for n in range(9)
    ]
    memory.add(crm)
    found = memory.recall("ann", "film actor plot", 8)
    assert sum(one.interaction.source == "crm" for one in found) <= 4


@pytest.mark.parametrize(
    "moment",
    [lambda n: None, lambda n: datetime(2024, 7, 1, tzinfo=UTC)],
    ids=["no times", "a date"],
)
def test_what_has_no_day_is_recalled_by_nearness_alone(memory, moment) -> None:
    memory.add(flooded(moment))
    found = memory.recall("ann", "film actor plot", 4)
    assert [one.score for one in found] == pytest.approx([1.0] * 4)


def test_a_subject_of_one_day_is_recalled_whole(memory) -> None:
    memory.add([interaction(24 * n, query=f"slow scene {n}") for n in range(10)])
    day = NOON + timedelta(days=20)
    memory.add(
        interaction(500 + n, query=f"film actor {WORDS[n]}", time=day + timedelta(minutes=n))
        for n in range(4)
    )
    found = memory.recall("ann", "film actor", 4)
    assert {one.interaction.time.date() for one in found} == {day.date()}


def test_a_retriever_of_ones_own_can_be_given(memory: EpisodicMemory) -> None:
    class Oldest:
        def rank(self, scope, query, k):
            return [(seq, 1.0) for seq in scope.seqs[:k].tolist()]

    memory.add([interaction(n) for n in range(3)])
    assert ids(memory.recall("ann", "x", 2, retriever=Oldest())) == ["i0", "i1"]


def test_a_user_without_memories_recalls_nothing(memory: EpisodicMemory) -> None:
    assert memory.recall("nobody", "x", 3) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"user": ""}, "user is empty"),
        ({"k": 0}, "at least 1"),
        ({"retriever": "magic"}, "dense, bm25, recency, hybrid"),
        ({"before": datetime(2024, 1, 1)}, "timezone"),
    ],
)
def test_a_wrong_question_is_refused(
    memory: EpisodicMemory, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        memory.recall(**({"user": "ann", "query": "x", "k": 1} | wrong))


@pytest.mark.parametrize("retriever", ["dense", "bm25", "hybrid"])
def test_a_paper_is_found_by_its_abstract(memory: EpisodicMemory, retriever: str) -> None:
    plain = [interaction(n, query=f"Paper number {n}") for n in range(5)]
    paper = replace(plain[2], metadata={"abstract": "We brew green tea with cold water."})
    memory.add([*plain[:2], paper, *plain[3:]])
    [found] = memory.recall("ann", "green tea", 1, retriever=retriever)
    assert found.interaction == paper
    best, *others = memory.recall("ann", "green tea", 5, retriever=retriever)
    assert best == found
    assert all(best.score > one.score for one in others)


def test_older_vectors_of_papers_are_made_again(database: str) -> None:
    said = [
        interaction(1, query="Brewing", metadata={"abstract": "green tea"}),
        interaction(2, query="Brewing", metadata={"venue": "abstract art"}),
    ]
    with Store(database) as store:
        EpisodicMemory(store, HashEmbedder()).add(said)
        with store.database.write() as connection:  # as version 2 was
            connection.execute(sa.update(vectors).values(vector=b"by its title alone"))
            connection.execute(sa.update(meta).values(value="2"))
    with Store(database) as store:
        missing = store.of("ann").without_vector(HashEmbedder().fingerprint)
        assert [text for _, text in missing] == ["Brewing. green tea"]
    with Store(database) as store:
        assert store.of("ann").without_vector(HashEmbedder().fingerprint) == missing


@pytest.mark.parametrize("retriever", ["dense", "bm25", "hybrid"])
def test_a_message_of_a_conversation_is_found_by_what_the_user_wrote(
    memory: EpisodicMemory, retriever: str
) -> None:
    turns = [
        ("Try the night train.", "I get sick on boats."),
        ("Boats are lovely in May.", "Then rather a window seat."),
        ("A window seat it is.", "Thanks."),
    ]
    memory.add(
        interaction(n, query=before, response=said, metadata={"turn": str(n + 1)})
        for n, (before, said) in enumerate(turns)
    )
    [found] = memory.recall("ann", "sick on boats", 1, retriever=retriever)
    assert found.interaction.response == "I get sick on boats."


def test_older_vectors_and_the_older_task_of_conversations_are_made_anew(database: str) -> None:
    said = [
        interaction(1, query="Boat?", response="No.", source="chatgpt", metadata={"turn": "1"}),
        interaction(2, query="Boat?", response="Never.", source="chatgpt",
                    metadata={"conversation": "c"}),
        interaction(3, query="Boat?", response="Yes.", metadata={"conversation": "c"}),
    ]  # fmt: skip
    old = Text("chat", "Write the message that this user sends to the assistant next.")
    with Store(database) as store:
        EpisodicMemory(store, HashEmbedder()).add(said)
        save_tasks(store, [old])
        with store.database.write() as connection:  # as version 4 was
            version = sa.update(meta).where(meta.c.key == "schema_version")
            connection.execute(version.values(value="4"))
    with Store(database) as store:
        missing = store.of("ann").without_vector(HashEmbedder().fingerprint)
        assert [text for _, text in missing] == ["Never."]
        assert task_named(store, "chat") == CHAT


class Erasing(HashEmbedder):
    """While the query "tea" is embedded, another process erases an interaction."""

    def __init__(self, database: str) -> None:
        super().__init__()
        self._database = database

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        if list(texts) == ["tea"]:
            with Store(self._database) as other:
                erase(other, "ann", ids=["i1"])
        return super().encode(texts)


def test_what_another_process_erases_during_a_recall_is_left_out(database: str) -> None:
    with Store(database) as store:
        EpisodicMemory(store, HashEmbedder()).add([interaction(n, "ann") for n in range(5)])
        memory = EpisodicMemory(store, Erasing(database))  # its index has no vectors yet
        assert sorted(ids(memory.recall("ann", "tea", 5))) == ["i0", "i2", "i3", "i4"]


def test_a_recall_gives_up_where_erasures_never_end(memory: EpisodicMemory) -> None:
    class Erased:
        def rank(self, scope: Scope, query: str, k: int) -> Ranking:
            raise ErasedMeanwhile

    memory.add([interaction(0, "ann")])
    with pytest.raises(StoreError, match="try again"):
        memory.recall("ann", "tea", 5, retriever=Erased())
