"""Who writes a persona and who judges it."""

from datetime import timedelta

import dspy
from aligning import RULES, align
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rulebook import stand_in
from worlds_of_mail import DAWN, INBOX, book, mail

from personaagent.data import Directive, Persona
from personaagent.optimizers import AcceptOnReplay, AlwaysAccept, LatestBatch, Replay
from personaagent.optimizers.selection import judge
from personaagent.optimizers.split import split
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent, QueryScope
from personaagent.programs.directive_matching import match_directives

days = st.lists(st.integers(0, 30), min_size=1, max_size=60).map(sorted)


def drawn(days, judges=12, evidence=(), seed=0):
    history = [
        mail(n, f"note {n}", "work", time=DAWN + timedelta(days=day, minutes=n + 1))
        for n, day in enumerate(days)
    ]
    sides = split(history, None, evidence=evidence, judges=judges, writers=40, seed=seed)
    return history, *sides


def dates(interactions):
    return [one.time.date() for one in interactions]


@given(days, st.integers(0, 12), st.sets(st.integers(0, 59)), st.integers(0, 3))
def test_the_latest_write_or_judge_and_evidence_never_judges(days, judges, wrote, seed):
    evidence = {f"ann-{n}" for n in wrote}
    history, writing, judging = drawn(days, judges, evidence, seed)
    latest = history[-(40 + judges) :]
    assert sorted(dates(writing)) == dates(writing)
    assert sorted(dates(judging)) == dates(judging)
    assert {one.id for one in writing} | {one.id for one in judging} == {one.id for one in latest}
    assert len(writing) + len(judging) == len(latest)
    assert not evidence & {one.id for one in judging}
    free = [one for one in latest if one.id not in evidence]
    assert len(judging) == min(judges, len(latest) // 3, len(free))


@given(st.integers(0, 20), st.integers(2, 12))
def test_a_day_does_not_judge_what_it_wrote(seed, flood):
    """A flood at the end of forty quiet days, every fourth of which has two interactions."""
    quiet = [day for day in range(40) for _ in range(2 if day % 4 == 0 else 1)]
    _, writing, judging = drawn([*quiet, *[41] * flood], seed=seed)
    assert not set(dates(writing)) & set(dates(judging))
    assert max(dates(judging).count(day) for day in dates(judging)) <= 4


@given(st.integers(0, 200), st.integers(24, 60))
def test_each_answer_judges_about_as_often_as_it_is_given(seed, count):
    """A quarter of the answers are one, a sixteenth another, the rest a third."""
    rare = ["money" if n % 16 == 3 else "family" if n % 4 == 1 else "work" for n in range(count)]
    history = [mail(n, f"note {n}", answer) for n, answer in enumerate(rare)]
    _, judging = split(history, None, evidence=(), judges=12, writers=60, seed=seed)
    for answer in ("money", "family", "work"):
        share = rare.count(answer) / count * len(judging)
        assert abs(sum(one.response == answer for one in judging) - share) <= 1


def test_a_history_of_one_day_writes_and_judges_all_the_same():
    _, writing, judging = drawn([0] * 36)
    assert (len(writing), len(judging)) == (24, 12)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), latest=st.booleans())
def test_judged_interactions_never_write(agent, history, seed, latest):
    rules = book()
    sampler = LatestBatch() if latest else None
    log = align(agent, history, rules, seed=seed, sampler=sampler, iterations=2)
    judged = set(log.judged)
    assert len(judged) == 12
    for step in log.steps:
        assert not judged & set(step.batch)
        for candidate in step.candidates:
            for directive in candidate.persona.directives:
                assert not judged & {*directive.support, *directive.oppose}
    writing = "".join(one.everything for one in rules.of("text"))
    assert not any(one.query in writing for one in history if one.id in judged)


def test_interactions_given_to_judge_by_never_write_though_they_are_in_the_trainset(agent, history):
    rules = book()
    log = align(agent, history, rules, valset=history[-9:])
    judged = {one.id for one in history[-9:]}
    assert set(log.judged) == judged
    assert not any(judged & set(step.batch) for step in log.steps)
    assert not any(judged & set(one.support + one.oppose) for one in log.last.directives)
    writing = "".join(one.everything for one in rules.of("text"))
    assert not any(one.query in writing for one in history[-9:])


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000))
@example(seed=8)  # ends with a champion taken back, a step that writes and lends nothing
def test_what_is_lent_to_the_judges_of_a_step_writes_nothing_that_it_judges(agent, history, seed):
    log = align(agent, history, seed=seed)
    for step in (one for one in log.steps if one.batch):
        lent = set(step.lent)
        assert len(lent) == 8  # a third of those that may write
        assert not lent & {*step.batch, *log.judged}
        for candidate in step.candidates:
            assert candidate.changed <= len(log.judged) + len(lent)
            for directive in candidate.persona.directives:
                assert not lent & {*directive.support, *directive.oppose}


def test_lent_interactions_judge_where_none_of_the_judging_ones_is_reached(agent, history):
    dogs = [one for one in history if "dog" in one.query]
    others = [one for one in history if one not in dogs]
    champion = Persona("ann", "inbox", actions=())
    candidate = champion.succeed(directives=(Directive(RULES[0], cue="dog", reach=0.4),))
    with dspy.context(lm=stand_in(book())):
        replay = Replay(agent, MemoryWorkLog())
        on = champion, replay(champion, others), AcceptOnReplay(), replay
        alone, helped = judge([candidate], *on), judge([candidate], *on, lent=history)
    assert (alone.accepted, alone.candidates[0].changed) == (None, 0)
    assert (helped.accepted, helped.candidates[0].changed) == (0, len(dogs))
    assert helped.candidates[0].saved > helped.candidates[0].gained == len(dogs)
    assert helped.judged == alone.judged


def test_who_asks_for_no_evidence_or_names_the_judges_lends_nothing(agent, history):
    always = align(agent, history, acceptance=AlwaysAccept())
    named = align(agent, history, valset=history[-9:])
    assert not any(step.lent for log in (always, named) for step in log.steps)


def test_a_day_that_floods_the_history_neither_writes_nor_judges_beyond_its_share(agent, history):
    flood = [
        mail(100 + n, "dinner amber dog", "work", time=DAWN + timedelta(days=50, minutes=n + 1))
        for n in range(60)
    ]
    log = align(agent, [*history, *flood], iterations=1)
    flooded = {one.id for one in flood}
    judged = [id for id in log.judged if id in flooded]
    assert len(judged) <= 1  # the same sixty times is once
    assert log.settings["intake"] == "measured"


def test_a_directive_that_fits_second_best_is_not_shown_and_costs_no_call(memory):
    past = mail(0, "dog dog amber", "travel")
    best = Directive("If the message mentions dog, answer travel.", "dog", 0.1)
    second = Directive("If the message mentions amber, answer work.", "amber", 0.1)
    one, two = (
        Persona("ann", "inbox", directives=said, actions=()) for said in ((best,), (best, second))
    )
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        agent = PersonaAgent(INBOX, memory)
        assert len(match_directives(memory, two, QueryScope.replaying(INBOX, past))) == 2
        replay = Replay(agent, MemoryWorkLog())
        assert replay(one, [past]) == replay(two, [past])
    assert len(rules.of("labels")) == 1
