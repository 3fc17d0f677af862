"""The user's own posterior."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds_of_mail import DAWN, INBOX, mail

from personaagent.data import Choice, Meanings, Rating
from personaagent.memory import Memory
from personaagent.programs import MemoryRetriever, QueryScope
from personaagent.programs.user_label_prior import named, user_label_prior, vote

PAIR = Choice("papers", "Which paper?")


def posterior(memory, query, user="ann", task=INBOX, **seen):
    return user_label_prior(MemoryRetriever(memory), QueryScope(user, task, query, **seen))


voters = st.lists(
    st.builds(
        Memory,
        st.builds(
            mail,
            st.integers(0, 9),
            st.just("x"),
            st.sampled_from(INBOX.labels),
            weight=st.floats(0.1, 5),
        ),
        st.floats(-1, 1),
    ),
    min_size=1,
)


@given(voters)
def test_it_sums_to_one_and_gives_every_label_something(memories):
    shares = vote(INBOX.labels, memories)
    assert list(shares) == list(INBOX.labels)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(p > 0 for p in shares.values())


@given(voters, st.sampled_from(INBOX.labels))
def test_one_more_vote_for_a_label_never_makes_it_less_likely(memories, label):
    if len(memories) >= 8:  # then the votes share what they are worth
        memories = memories[:7]
    more = [*memories, Memory(mail(99, "x", label), max(m.score for m in memories))]
    assert vote(INBOX.labels, more)[label] >= vote(INBOX.labels, memories)[label] - 0.25


def test_near_memories_count_more_than_far_ones(memory):
    shares = posterior(memory, "dog walk")
    assert max(shares, key=shares.get) == "travel"
    shares = posterior(memory, "meeting on budgets")
    assert max(shares, key=shares.get) == "work"


@pytest.mark.parametrize(
    "seen", [{"user": "nobody"}, {"before": DAWN}, {"exclude": ("ann-1", "ann-2", "ann-3")}]
)
def test_without_memories_the_names_of_the_labels_are_all_there_is(memory, seen):
    shares = posterior(memory, "the dog and the family", **seen)
    assert max(shares, key=shares.get) == "family"
    assert shares == pytest.approx(
        vote(INBOX.labels, [], named(memory, INBOX, "the dog and the family"))
    )


def test_memories_without_an_answer_do_not_vote(memory):
    before = posterior(memory, "dog", user="carl")
    memory.add([mail(1, "a paper", "", "carl")])
    assert posterior(memory, "dog", user="carl") == before


def test_what_the_user_has_shown_outweighs_what_a_label_is_called(memory):
    memory.add(mail(n, f"family dinner {n}", "work", "carl") for n in range(1, 9))
    shares = posterior(memory, "family dinner", user="carl")
    assert max(shares, key=shares.get) == "work"


def test_numbers_mean_nothing_by_their_names(memory):
    stars = Rating("stars", "How many stars?")
    assert named(memory, stars, "5 dogs") == {}
    assert posterior(memory, "5 dogs", task=stars) is None


def test_what_a_cohort_means_counts_in_place_of_the_names(memory):
    def learned(space, labels):
        weights = np.array([[*(8.0 * memory.embed("piano")), float(n == 2)] for n in range(3)])
        weights[:2] *= -1  # whatever has a piano in it is travel
        return Meanings.of(space, labels, weights)

    space = memory.embedder.fingerprint
    ask = MemoryRetriever(memory), QueryScope("nobody", INBOX, "family piano")
    by_name = user_label_prior(*ask)
    assert max(by_name, key=by_name.get) == "family"
    by_cohort = user_label_prior(*ask, learned(space, INBOX.labels))
    assert max(by_cohort, key=by_cohort.get) == INBOX.labels[2]
    for other in (learned("another space", INBOX.labels), learned(space, INBOX.labels[::-1])):
        assert user_label_prior(*ask, other) == by_name


@given(voters, st.sampled_from(INBOX.labels))
def test_a_label_that_means_the_query_is_never_less_likely_for_it(memories, label):
    meant = {one: float(one == label) for one in INBOX.labels}
    assert vote(INBOX.labels, memories, meant)[label] >= vote(INBOX.labels, memories)[label]


def test_histories_without_moments_vote_bit_for_bit_as_if_there_were_no_bound(memory, monkeypatch):
    memory.add(mail(n, "dog walk", "family", "carl", source="crm") for n in range(9, 15))
    memory.add(mail(n, f"dog {n}", "work", "carl") for n in range(9))
    memory.add(mail(n, f"dog {n}", "travel", "dora", time=None) for n in range(9))
    before = [posterior(memory, "dog walk", user) for user in ("ann", "carl", "dora")]
    monkeypatch.setattr("personaagent.programs.user_label_prior.balanced", lambda votes, _: votes)
    assert [posterior(memory, "dog walk", user) for user in ("ann", "carl", "dora")] == before


def test_a_flood_on_one_day_does_not_decide_against_what_was_known(memory):
    noon = DAWN + timedelta(hours=12)
    memory.add(
        mail(n, f"dog walk {n}", "work", "carl", time=noon + timedelta(days=n)) for n in range(4)
    )
    known = posterior(memory, "dog walk", "carl")
    memory.add(
        mail(n, f"dog walk {n}", "travel", "carl", time=noon + timedelta(days=9, minutes=n))
        for n in range(10, 30)
    )
    flooded = posterior(memory, "dog walk", "carl")
    assert max(known, key=known.get) == max(flooded, key=flooded.get) == "work"


def test_the_future_and_what_is_excluded_do_not_vote(memory):
    noon = DAWN + timedelta(days=3)
    without = posterior(memory, "dog walk", before=noon, exclude=("ann-1",))
    assert max(without, key=without.get) == "work"
    assert posterior(memory, "dog walk", before=noon) == posterior(
        memory, "dog walk", exclude=("ann-3",)
    )


def test_of_a_pair_the_option_nearer_to_memory_is_likelier(memory):
    memory.add(mail(n, text, "", "carl", task="papers") for n, text in enumerate(["dogs", "cats"]))
    first = posterior(memory, 'Which? [1]: "dogs cats" [2]: "steel"', "carl", PAIR)
    second = posterior(memory, 'Which? [1]: "steel" [2]: "dogs cats"', "carl", PAIR)
    assert first["[1]"] > 0.5
    assert sum(first.values()) == pytest.approx(1)
    assert first["[1]"] == pytest.approx(second["[2]"])


def test_a_pair_without_memories_has_no_habits(memory):
    assert posterior(memory, 'Which? [1]: "a" [2]: "b"', "carl", PAIR) is None
