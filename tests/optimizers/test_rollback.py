"""Automatic rollback: a champion that newer interactions turn against."""

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rulebook import stand_in
from worlds_of_mail import DAWN, INBOX, book, habitual, mail, remembering

from personaagent.data import Directive, Persona
from personaagent.errors import BudgetError, ConflictError
from personaagent.lm import Budget
from personaagent.optimizers import AcceptOnEvidence, Contests, Replay, Trial, watch_champion
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent

GOOD = Directive("If the message mentions dog, answer travel.", "dog", 0.3)
BAD = Directive("If the message mentions dog, answer family.", "dog", 0.3)


def newer(count, response="travel", first=100):
    return [mail(first + n, "meeting dog", response) for n in range(count)]


@pytest.fixture
def world(tmp_path):
    """An agent, and a function that publishes the next version with some directives."""
    with remembering(tmp_path, *habitual()[:6]) as memory:
        mine = memory.store.of("ann")

        def publish(*directives, **changes):
            champion = mine.persona("inbox")
            said = {"profile": "P.", "directives": directives, "actions": ()} | changes
            new = champion.succeed(**said) if champion else Persona("ann", "inbox", **said)
            mine.publish(new, expected=champion.hash if champion else None, reason="test")
            return new

        yield PersonaAgent(INBOX, memory), publish


def watch(agent, interactions, contests=None, rules=None, **options):
    budget = options.pop("budget", None)
    with dspy.context(lm=stand_in(rules or book(), budget=budget)):
        return watch_champion(agent, "ann", interactions, contests=contests or of(agent), **options)


def of(agent):
    return Contests.of(agent.memory.store.of("ann"), "inbox")


def test_the_parents_content_comes_back_as_the_next_version(world):
    agent, publish = world
    parent, champion = publish(GOOD), publish(BAD)
    watched = watch(agent, newer(5))
    assert watched.rolled_back
    assert watched.replayed == 5
    mine = agent.memory.store.of("ann")
    assert mine.persona("inbox") == watched.champion
    assert (watched.champion.version, watched.champion.parent) == (2, champion.hash)
    assert (watched.champion.directives, watched.champion.profile) == (parent.directives, "P.")
    assert mine.personas("inbox") == [parent, champion, watched.champion]
    assert mine.history("inbox")[-1].reason == watched.reason
    assert watched.reason.startswith("rolled back to version 0: evidence")


def test_a_champion_that_does_better_or_no_worse_stays(world):
    agent, publish = world
    publish(BAD)
    champion = publish(GOOD)
    watched = watch(agent, newer(5))
    assert not watched.rolled_back
    assert watched.champion == agent.memory.store.of("ann").persona("inbox") == champion
    publish(GOOD, Directive("If the message mentions cat, answer work.", "cat", 0.9))
    assert not watch(agent, newer(5)).rolled_back


def test_little_evidence_adds_up_over_watches_and_counts_once(world):
    agent, publish = world
    publish(GOOD)
    publish(BAD)
    for _ in range(5):
        assert not watch(agent, newer(2)).rolled_back
    assert watch(agent, [*newer(2), *newer(3, first=200)]).rolled_back


def test_after_a_rollback_the_evidence_stands_against_the_champions_return(world):
    agent, publish = world
    parent, champion = publish(GOOD), publish(BAD)
    watch(agent, newer(5))
    with dspy.context(lm=stand_in(book())):
        replay = Replay(agent, MemoryWorkLog())
        again = newer(3, "family", first=300)
        trial = Trial(parent, champion, replay(parent, again), replay(champion, again))
        assert AcceptOnEvidence().accepts(trial)[0]
        assert not AcceptOnEvidence(of(agent)).accepts(trial)[0]
    assert AcceptOnEvidence(of(agent)).undecided(parent) == []


def test_there_is_nothing_to_watch_without_a_parent_that_says_something_else(world):
    agent, publish = world
    rules = book()
    assert watch(agent, newer(5), rules=rules) is None
    publish(GOOD)
    assert watch(agent, newer(5), rules=rules) is None
    publish(GOOD, actions=None)
    assert watch(agent, newer(5), rules=rules) is None
    publish(BAD)
    assert watch(agent, [], rules=rules) is None
    assert rules.asked == []


def test_what_wrote_the_champion_does_not_judge_it(world):
    agent, publish = world
    publish(GOOD)
    publish(Directive(BAD.text, "dog", 0.3, support=tuple(one.id for one in newer(5))))
    assert watch(agent, newer(5)) is None
    assert watch(agent, newer(6)).replayed == 1


def test_a_watch_that_stops_goes_on_without_repeating_a_call(world):
    agent, publish = world
    publish(GOOD)
    publish(BAD)
    record, rules = MemoryWorkLog(), book()
    with pytest.raises(BudgetError):
        watch(agent, newer(5), rules=rules, record=record, budget=Budget(calls=7))
    assert watch(agent, newer(5), rules=rules, record=record).rolled_back
    assert len(rules.asked) == 10


def test_who_publishes_meanwhile_wins_over_a_rollback(world):
    agent, publish = world
    publish(GOOD)
    publish(BAD)
    theirs = []

    def label(asked):
        if not theirs:
            theirs.append(publish(GOOD, profile="Theirs."))
        good = "answer travel" in asked.everything
        return {"travel": 0.9, "work": 0.05, "family": 0.05} if good else {
            "travel": 0.02, "work": 0.49, "family": 0.49}  # fmt: skip

    with pytest.raises(ConflictError):
        watch(agent, newer(5), rules=book(says={"label": label}))
    assert agent.memory.store.of("ann").persona("inbox") == theirs[0]


moves = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from([(), (GOOD,), (BAD,), (GOOD, BAD)])),
        st.tuples(st.just("roll back"), st.integers(0, 9)),
        st.tuples(st.just("watch"), st.sampled_from(["travel", "family", "work"])),
        st.tuples(st.just("stale"), st.integers(1, 9)),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves)
def test_any_sequence_of_publishes_and_rollbacks_keeps_the_chain_valid(tmp_path_factory, moves):
    with remembering(tmp_path_factory.mktemp("chain")) as memory:
        agent, mine = PersonaAgent(INBOX, memory), memory.store.of("ann")
        said = []

        def publish(new, over):
            mine.publish(new, expected=over.hash if over else None, reason="test")
            said.append(new)

        for number, (move, what) in enumerate(moves):
            champion = mine.persona("inbox")
            if move == "publish":
                content = {"profile": "P.", "directives": what, "actions": ()}
                new = (
                    champion.succeed(**content) if champion else Persona("ann", "inbox", **content)
                )
                publish(new, champion)
            elif move == "roll back" and champion:
                wanted = said[what % len(said)]
                publish(champion.succeed(directives=wanted.directives), champion)
            elif move == "watch":
                watched = watch(agent, newer(4, what, first=100 * number + 100))
                said += [watched.champion] if watched and watched.rolled_back else []
            elif move == "stale" and len(said) > what:
                old = said[-1 - what]
                with pytest.raises(ConflictError):
                    mine.publish(old.succeed(profile="Stale."), expected=old.hash, reason="")
            chain = mine.personas("inbox")
            assert chain == said
            assert [one.version for one in chain] == list(range(len(chain)))
            hashes = [None, *(one.hash for one in chain)]
            assert [one.parent for one in chain] == hashes[:-1]
            assert len(set(hashes)) == len(hashes)
            assert mine.persona("inbox") == (chain[-1] if chain else None)
        times = [one.created for one in mine.history("inbox")]
        assert times == sorted(times)
        assert all(time > DAWN for time in times)
