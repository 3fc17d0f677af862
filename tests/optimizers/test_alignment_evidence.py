"""Alignment by evidence, the floor under it, and the likelihoods in its gradients."""

import dspy
import pytest
from aligning import align, content
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rulebook import in_turn, stand_in
from worlds_of_mail import FILLERS, INBOX, READINGS, book, habitual, mail, remembering

from personaagent.data import Directive, Persona
from personaagent.errors import LMError
from personaagent.optimizers import (
    AcceptOnEvidence,
    AcceptOnReplay,
    AlwaysAccept,
    Contests,
    FullRewrite,
    HardBatch,
    PersonaAlignment,
    Replay,
)
from personaagent.optimizers.log import BARE, EARLIER, WITHOUT
from personaagent.optimizers.selection import means, without
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent

# Evidence


def test_evidence_lets_the_same_habits_be_learned_as_replay(agent, history):
    replayed = align(agent, history)
    proven = align(agent, history, acceptance=AcceptOnEvidence())
    assert {one.cue for one in proven.last.directives} == {"dog", "car"}
    assert proven.last == replayed.last
    reasons = [step.candidates[step.accepted].reason for step in proven.steps]
    assert all(reason.startswith("evidence") for reason in reasons)


def test_with_too_few_to_judge_a_challenger_waits_and_the_next_alignment_decides(tmp_path):
    history = habitual(count=60)
    with remembering(tmp_path, *history) as memory:
        agent, mine = PersonaAgent(INBOX, memory), memory.store.of("ann")

        def run(past, **options):
            judge = AcceptOnEvidence(Contests.of(mine, "inbox"))
            log = align(agent, past, acceptance=judge, **options)
            champion = mine.persona("inbox")
            last = log.last
            if champion is None or last != champion:
                mine.publish(last, expected=champion.hash if champion else None, reason="")
            return log

        mine.publish(Persona("ann", "inbox", "P.", actions=()), expected=None, reason="")
        early = run(history[:24], replay=4)
        assert early.last.directives == ()
        assert early.steps[0].iteration != EARLIER
        log = run(history, replay=12)
    assert log.steps[0].iteration == EARLIER
    assert log.steps[0].batch == ()
    assert log.steps[0].accepted is not None
    chosen = log.steps[0].candidates[log.steps[0].accepted]
    proposed = [one.persona.directives for step in early.steps for one in step.candidates]
    assert chosen.persona.directives in proposed
    learned = {one.cue for one in chosen.persona.directives}
    assert learned
    assert learned <= {one.cue for one in log.last.directives}


def test_an_alignment_by_evidence_goes_on_after_the_lm_died(agent, history):
    rules = book()
    whole = align(agent, history, rules, acceptance=AcceptOnEvidence())
    calls = len(rules.asked)
    for share in (0.3, 0.6, 0.9):
        contests, record = Contests(MemoryWorkLog()), MemoryWorkLog()
        rules = book(dies_after=int(share * calls))
        with pytest.raises(LMError):
            align(agent, history, rules, record=record, acceptance=AcceptOnEvidence(contests))
        rules.dies_after = None
        log = align(agent, history, rules, record=record, acceptance=AcceptOnEvidence(contests))
        assert content(log) == content(whole)
        assert len(rules.asked) == calls


# The floor

WRONG = "If it mentions dinner, answer work."


def plain(count=24):
    """A user who answers as anyone would."""
    words = sorted(READINGS)
    return [mail(n, f"{words[n % 3]} number{n}", READINGS[words[n % 3]]) for n in range(count)]


@pytest.mark.parametrize("policy", [AcceptOnReplay, AcceptOnEvidence])
def test_a_persona_that_does_worse_than_none_is_not_served(tmp_path, policy):
    history = plain()
    with remembering(tmp_path, *history) as memory:
        persona = Persona("ann", "inbox", directives=(Directive(WRONG),))
        agent = PersonaAgent(INBOX, memory, persona=persona)
        log = align(agent, history, book(says={"text": "number"}), acceptance=policy())
    last = log.steps[-1]
    assert log.first == persona
    assert (log.last.profile, log.last.directives) == ("", ())
    assert (last.iteration, last.batch, last.accepted) == (WITHOUT, (), 0)
    assert "no persona saves" in last.candidates[0].reason
    assert log.last_score == 1.0 > log.first_score
    assert log.last.parent == log.first.hash


def test_a_first_profile_that_does_worse_than_none_is_left_out_before_anything_is_learned(tmp_path):
    """So a habit is learned where the profile would have hidden it from view."""
    history = habitual()
    misleading = f"If it mentions {FILLERS[0]}, answer work."
    with remembering(tmp_path, *history) as memory:
        rules = book(says={"text": in_turn(misleading, "dog", "dog", "dog", "dog", "dog")})
        log = align(PersonaAgent(INBOX, memory), history, rules, iterations=1)
    start, learned = log.steps[0], log.steps[1]
    assert (start.iteration, start.batch, start.accepted) == (BARE, (), 0)
    assert start.loss < log.first_loss
    assert learned.iteration == 1
    assert all(one.persona.profile == "" for one in learned.candidates)
    assert (log.first.profile, log.last.profile) == (misleading, "")


def test_the_papers_arm_has_no_floor(tmp_path):
    history = plain()
    with remembering(tmp_path, *history) as memory:
        rules = book(says={"text": in_turn(WRONG, "x"), "profile": WRONG, "rules": []})
        log = align(
            PersonaAgent(INBOX, memory),
            history,
            rules,
            update=FullRewrite(),
            acceptance=AlwaysAccept(),
        )
    assert log.last.profile == WRONG


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(READINGS)),
    st.sampled_from(INBOX.labels),
    st.booleans(),
    st.sampled_from([AcceptOnReplay, AcceptOnEvidence]),
)
def test_no_aligned_persona_does_worse_than_none_on_what_judged_it(
    agent, history, word, label, obeys, policy
):
    profile = f"If it mentions {word}, answer {label}."
    lm = stand_in(book(obeys=obeys, says={"text": in_turn(profile, "dog")}))
    with dspy.context(lm=lm):
        log = (
            PersonaAlignment(acceptance=policy(), iterations=2)
            .compile(agent, trainset=history)
            .alignment
        )
        replay, judged = (
            Replay(agent, MemoryWorkLog()),
            [one for one in history if one.id in log.judged],
        )
        loss, score = means(replay(log.last, judged))
        silent = [means(replay(one, judged)) for one in without(log.first)]
    assert all(loss <= other + 1e-9 or score > right for other, right in silent)


# Likelihoods


def test_gradients_carry_how_likely_the_lm_thought_the_truth(agent, history):
    gradients = [one for step in align(agent, history).steps for one in step.gradients]
    assert gradients
    assert all(0 < one.likelihood < 0.5 for one in gradients)
    log = align(agent, history, lm=stand_in(book(), likelihoods=False), sampler=HardBatch())
    assert {one.likelihood for step in log.steps for one in step.gradients} == {None}


def test_a_rewrite_is_told_the_likelihoods(agent, history):
    rules = book(says={"profile": "P.", "rules": ["R."]})
    align(agent, history, rules, update=FullRewrite(), iterations=1)
    (rewrite,) = [one for one in rules.of("json") if "rules" in one.fields]
    assert "(which it thought 5% likely)" in rewrite.text
