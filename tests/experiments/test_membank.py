"""MemBank: days are summarized, memories fade, and recall keeps them."""

from datetime import timedelta

import dspy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rulebook import stand_in
from worlds_of_mail import DAWN, INBOX, book, mail, remembering

from personaagent.experiments.membank import MemBank, rehearse


@pytest.fixture
def world(tmp_path):
    with remembering(tmp_path) as memory:
        yield memory


def at(hours, query, response="work", **fields):
    """A message so many hours after dawn; ten days are 240."""
    time = DAWN + timedelta(hours=hours)
    return mail(0, query, response, id=f"at-{hours}", time=time, **fields)


END = DAWN + timedelta(days=10)


def recalled(memory, query, k=1, days=10, **options):
    with dspy.context(lm=stand_in(book())):
        said = MemBank(INBOX, memory, k=k, days=days)(query=query, user="ann", **options)
    return [one.interaction.id for one in said.memories]


def history(*, walked):
    """A walk with the dog long ago, then days with rent, or else with more walks."""
    first = [at(hours, "rent") for hours in range(4)]
    later = [at(hours, f"dog walk {hours}" if walked else "rent") for hours in range(20, 220, 20)]
    return [*first, at(10, "dog walk"), *later, at(230, "dog food")]


def test_a_memory_that_no_query_recalls_is_forgotten_however_well_it_fits(world):
    world.add(history(walked=False))
    assert "at-10" in recalled(world, "dog walk", k=2, before=END, days=1)
    assert "at-10" not in recalled(world, "dog walk", k=2, before=END)


def test_a_memory_that_past_queries_recalled_is_kept(world):
    world.add(history(walked=True))
    assert "at-10" in recalled(world, "dog walk", k=2, before=END)


def test_memories_without_a_date_do_not_fade(world):
    world.add(mail(n, query, "work", time=None) for n, query in enumerate(["dog", "tax", "cat"]))
    assert recalled(world, "dog") == ["ann-0"]


def test_a_day_with_several_events_is_summarized_and_the_portrait_drawn_of_all_days(world):
    world.add([at(0, "dog walk"), at(2, "vet"), at(100, "tax"), at(239, "cat")])
    rules = book(says={"text": lambda asked: f"NOTE {len(rules.asked)}"})
    with dspy.context(lm=stand_in(rules)):
        said = MemBank(INBOX, world)(query="dog", user="ann", before=END)
    summary, portrait, answer = rules.asked
    assert "dog walk" in summary.text
    assert "vet" in summary.text
    assert "tax" not in summary.text
    for line in ("Day 1: NOTE 0", f"Day 5: {INBOX.example('tax', 'work')}", "Day 10: "):
        assert line in portrait.text
    assert "About this user: NOTE 1" in answer.text
    assert {"at-239", "at-100"} <= {one.interaction.id for one in said.memories}


def test_summaries_are_remembered_beside_what_they_summarize(world):
    world.add([at(0, "rent"), at(238, "zebra"), at(239, "tiger")])
    rules = book(says={"text": "The zebra met the tiger at the zoo."})
    with dspy.context(lm=stand_in(rules)):
        said = MemBank(INBOX, world, k=1)(
            query="The zebra met the tiger at the zoo", user="ann", before=END
        )
    assert "Summary of a day: The zebra met" in rules.asked[-1].text
    assert said.memories == []  # it is no interaction


def test_what_was_written_is_kept_until_its_day_changes(world):
    world.add([at(0, "dog walk"), at(2, "vet"), at(100, "tax"), at(101, "rent")])
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        MemBank(INBOX, world).prepare("ann", before=END)
        assert len(rules.of("text")) == 3
        MemBank(INBOX, world)(query="dog", user="ann", before=END)
        assert len(rules.of("text")) == 3
        world.add([at(200, "cat")])
        MemBank(INBOX, world)(query="dog", user="ann", before=END)
        assert len(rules.of("text")) == 4  # the portrait


def test_an_answer_depends_on_no_other_query(world):
    world.add([at(0, "dog walk"), at(50, "cat"), at(120, "dog food"), at(230, "tax")])
    with dspy.context(lm=stand_in(book())):
        system = MemBank(INBOX, world, k=2)

        def ask(query):
            return system(query=query, user="ann", before=END).toDict()

        alone = ask("cat")
        for query in ("dog walk", "dog", "tax", "cat"):
            ask(query)
        assert ask("cat") == alone


def test_a_history_of_one_moment_has_one_day(world):
    world.add([at(0, "dog walk"), mail(1, "dog food", "work", time=DAWN)])
    assert set(recalled(world, "dog", k=2)) == {"at-0", "ann-1"}


@given(
    count=st.integers(0, 12), k=st.integers(1, 4), seed=st.integers(0, 99), undated=st.booleans()
)
def test_every_past_query_strengthens_what_it_recalls(count, k, seed, undated):
    dice = np.random.default_rng(seed)
    vectors = dice.standard_normal((count, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    times = np.zeros(count) if undated else np.sort(dice.uniform(0, 10, count))
    strengths, lasts = rehearse(vectors, times, count, k)
    recalls = sum(min(k, int((times < time).sum())) for time in times)
    assert strengths.sum() == count + recalls
    assert ((lasts > times) == (strengths > 1)).all()
