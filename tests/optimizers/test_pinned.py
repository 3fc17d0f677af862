"""What a person pinned stands, whatever an alignment proposes, and whoever proposes it."""

import random
from dataclasses import replace

import pytest
from aligning import align
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, mail, remembering

from personaagent.data import Directive, Persona
from personaagent.optimizers import (
    AcceptOnEvidence,
    AcceptOnReplay,
    AlwaysAccept,
    Contests,
    ItemisedEdits,
    watch_champion,
)
from personaagent.optimizers.prior import Prior, Start
from personaagent.optimizers.selection import undecided, without
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent

ANSWERS = ("work", "family", "travel")
CUES = ("dog", "car", "dinner", "")


def rule(cue, answer, *, pinned=False, reach=0.3):
    text = f"If the message mentions {cue}, answer {answer}." if cue else f"Prefer {answer}."
    return Directive(text, cue, reach, pinned=pinned, author="ann" if pinned else "")


rules = st.builds(rule, st.sampled_from(CUES), st.sampled_from(ANSWERS), pinned=st.booleans())
personas = st.builds(
    lambda profile, some, held: Persona(
        "ann", "inbox", profile, tuple(some), actions=(), profile_pinned=held
    ),
    st.sampled_from(["", "Likes lists."]),
    st.lists(rules, max_size=3, unique_by=lambda one: (one.cue, one.text)),
    st.booleans(),
)


class Ruthless:
    """Proposes personas that know nothing of pins, and what `ItemisedEdits` proposes."""

    def __init__(self, seed):
        self.dice = random.Random(seed)

    def propose(self, proposal, rewriter, memory):
        def anew():
            some = [rule(self.dice.choice(CUES), self.dice.choice(ANSWERS)) for _ in range(2)]
            return tuple(dict.fromkeys(some))

        persona = proposal.persona
        return [
            persona.succeed(profile="", directives=()),
            persona.succeed(profile="Somebody else.", directives=anew()),
            persona.succeed(directives=anew()),
            *ItemisedEdits(cap=1).propose(proposal, rewriter, memory),
        ]


def holds(champion, persona):
    pinned = {one for one in champion.directives if one.pinned}
    kept = pinned <= set(persona.directives)
    if champion.profile_pinned:
        kept = kept and (persona.profile, persona.profile_pinned) == (champion.profile, True)
    return kept


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with remembering(tmp_path_factory.mktemp("pins"), *habitual(count=18)) as memory:
        yield memory


patient = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@patient
@given(
    persona=personas,
    seed=st.integers(0, 99),
    judge=st.sampled_from([AcceptOnReplay, AcceptOnEvidence, AlwaysAccept]),
    cohort=st.booleans(),
)
def test_no_candidate_of_any_kind_lacks_what_is_pinned(world, persona, seed, judge, cohort):
    agent, lm = PersonaAgent(INBOX, world), stand_in(book())
    agent.persona.value = persona
    prior = Prior("inbox", lm.fingerprint, Start(profile=False), 3) if cohort else None
    log = align(
        agent,
        habitual(count=18),
        lm=lm,
        acceptance=judge(),
        update=Ruthless(seed),
        prior=prior,
        iterations=2,
        replay=4,
    )
    proposed = [one.persona for step in log.steps for one in step.candidates]
    assert all(holds(persona, one) for one in (*proposed, log.last))
    pins = persona.profile_pinned or any(one.pinned for one in persona.directives)
    assert pins or proposed or log.stopped == "nothing left to learn from"


@patient
@given(champion=personas, other=personas)
def test_no_persona_and_earlier_challengers_keep_what_is_pinned(champion, other):
    assert all(holds(champion, one) for one in without(champion))
    contests = Contests(MemoryWorkLog())
    contests.add(champion, replace(other, user="ann"), {"x": 0.1}, kind="rewrite")
    waiting = undecided(AcceptOnEvidence(contests), champion, MemoryWorkLog())
    assert all(holds(champion, one) for one in waiting)


GOOD, BAD = rule("dog", "travel"), rule("dog", "family")


@pytest.fixture
def published(tmp_path):
    """Publishes one after another in a memory of six messages; the agent and the function."""
    with remembering(tmp_path, *habitual()[:6]) as memory:
        mine = memory.store.of("ann")

        def publish(*directives, **said):
            champion = mine.persona("inbox")
            said = {"profile": "P.", "directives": directives, "actions": ()} | said
            new = champion.succeed(**said) if champion else Persona("ann", "inbox", **said)
            mine.publish(new, expected=champion.hash if champion else None, reason="test")
            return new

        yield PersonaAgent(INBOX, memory), publish


def watched(agent):
    import dspy

    newer = [mail(100 + n, "meeting dog", "travel") for n in range(6)]
    contests = Contests.of(agent.memory.store.of("ann"), "inbox")
    with dspy.context(lm=stand_in(book())):
        return watch_champion(agent, "ann", newer, contests=contests)


def test_a_rollback_keeps_what_was_pinned_since(published):
    agent, publish = published
    publish(GOOD)
    standing = rule("", "work", pinned=True)
    publish(BAD, standing)
    found = watched(agent)
    assert found.rolled_back
    assert set(found.champion.directives) == {GOOD, standing}


def test_a_version_that_differs_by_what_a_person_pinned_is_not_watched(published):
    agent, publish = published
    publish(GOOD)
    pinned = replace(BAD, author="ann", pinned=True)
    publish(pinned)
    assert watched(agent) is None
    assert agent.memory.store.of("ann").persona("inbox").directives == (pinned,)


def test_what_is_pinned_but_wrong_costs_answers_and_stays(world):
    agent = PersonaAgent(INBOX, world)
    wrong = replace(BAD, author="ann", pinned=True)
    agent.persona.value = Persona("ann", "inbox", "P.", (wrong,), actions=())
    log = align(agent, habitual(count=18), iterations=2, replay=4)
    assert wrong in log.last.directives
    agent.persona.value = Persona("ann", "inbox", "P.", (BAD,), actions=())
    free = align(agent, habitual(count=18), iterations=2, replay=4)
    assert BAD not in free.last.directives
