"""What an alignment will cost is said before it is made: at least, about, and at most."""

from __future__ import annotations

from dataclasses import replace

import dspy
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, remembering

from personaagent.data import Persona, Text
from personaagent.data.importers.chat import CHAT
from personaagent.lm import Usage
from personaagent.lm.capabilities import Known
from personaagent.optimizers import PAPER, selection
from personaagent.optimizers.conversations import ConversationReader
from personaagent.optimizers.estimate import Calls, Estimate, Rates
from personaagent.optimizers.prequential import CALLS
from personaagent.optimizers.setting import Setting
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent

NOTE = Text("note", "Write as the user would.", item="message", answer="note")
RULE = "If the message mentions dog, answer travel."
EDIT = {"action": "add", "rule": 0, "text": RULE, "because": [1]}


def engine(helps: bool, task=INBOX):
    """An LM whose edits help, or change nothing for the better."""
    edit = EDIT if helps else EDIT | {"text": "Answer work."}
    rules = book(obeys=helps, says={"edits": [edit]})
    rules.task = task
    return rules


def made(folder, history, setting, lm, rules, *, task=INBOX, champion=None):
    """What was said, and the calls that an alignment then made."""
    (folder / "memory.db").unlink(missing_ok=True)
    ahead = Calls.ahead(task, history, setting, lm, champion)
    assert rules.asked == []
    with remembering(folder, *history) as memory, dspy.context(lm=lm):
        agent = PersonaAgent(task, memory, persona=champion)
        setting.alignment().compile(agent, trainset=history)
    assert ahead.least <= ahead.calls <= ahead.most
    return ahead, len(rules.asked)


SETTINGS = st.builds(
    Setting,
    iterations=st.integers(1, 5),
    batch=st.integers(1, 8),
    replay=st.integers(0, 12),
    accept=st.sampled_from(["replay", "evidence", "always"]),
    sampler=st.sampled_from(["auto", "latest"]),
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(count=st.integers(1, 72), setting=SETTINGS, likelihoods=st.booleans(), helps=st.booleans())
@example(count=72, setting=Setting(), likelihoods=False, helps=True)
@example(count=72, setting=Setting(), likelihoods=True, helps=False)
@example(count=30, setting=PAPER, likelihoods=False, helps=True)
def test_an_alignment_asks_no_less_and_no_more_than_was_said(
    tmp_path, count, setting, likelihoods, helps
):
    rules = engine(helps)
    lm = stand_in(rules, likelihoods=likelihoods)
    ahead, asked = made(tmp_path, habitual(count=count), setting, lm, rules)
    assert ahead.least <= asked <= ahead.most


def test_of_an_lm_that_tells_its_answers_alone_about_thirty_calls_are_expected(tmp_path):
    said = {
        likelihoods: Calls.ahead(
            INBOX, habitual(count=72), Setting(), stand_in(book(), likelihoods=likelihoods)
        )
        for likelihoods in (True, False)
    }
    assert said[False].calls == CALLS
    assert said[False].least == 9  # a profile, and eight answers that are all right
    assert said[False].most < said[True].calls


@pytest.mark.parametrize(("likelihoods", "more"), [(True, 8 + 12), (False, 3 * 8)])
def test_of_a_long_history_the_trials_of_many_memories_are_counted(monkeypatch, likelihoods, more):
    lm = stand_in(book(), likelihoods=likelihoods)
    with_memories = Calls.ahead(INBOX, habitual(count=72), Setting(), lm)
    monkeypatch.setattr(selection, "LONG", 1_000)
    without = Calls.ahead(INBOX, habitual(count=72), Setting(), lm)
    assert with_memories.most - without.most == more
    assert with_memories.least == without.least


def test_where_nobody_knows_what_the_lm_gives_both_kinds_are_counted():
    lm = stand_in(book())
    one, other = (
        Calls.ahead(INBOX, habitual(count=72), Setting(), stand_in(book(), likelihoods=given))
        for given in (True, False)
    )
    lm.known = Known()
    found = Calls.ahead(INBOX, habitual(count=72), Setting(), lm)
    assert found == Calls(other.least, one.calls, one.most)


@pytest.mark.parametrize("texts", [True, False])
def test_texts_are_written_and_read_where_the_lm_can_be_held_to_them(tmp_path, texts):
    history = [replace(one, task="note") for one in habitual(count=36)]
    rules = book(says={"text": "Has habits.", "edits": [EDIT], "rules": ["Be short."]})
    lm = stand_in(rules, texts=texts, likelihoods=texts)
    ahead, asked = made(tmp_path, history, Setting(), lm, rules, task=NOTE)
    assert ahead.least <= asked <= ahead.most


@pytest.mark.parametrize("likelihoods", [True, False])
def test_a_published_persona_needs_no_profile(tmp_path, likelihoods):
    champion = Persona("ann", "inbox", profile="Has habits.", actions=())
    rules = engine(True)
    lm = stand_in(rules, likelihoods=likelihoods)
    ahead, asked = made(tmp_path, habitual(), Setting(), lm, rules, champion=champion)
    assert ahead.least <= asked <= ahead.most
    assert ahead.least < Calls.ahead(INBOX, habitual(), Setting(), lm).least


def test_a_conversation_is_read_in_the_calls_that_were_said():
    turns = [
        replace(one, task=CHAT.name, metadata={"conversation": "c", "turn": str(n)})
        for n, one in enumerate(habitual(count=60))
    ]
    note = {"kind": "preference", "text": "likes dogs", "topic": "pets", "reach": ""}
    rules = book(
        says={
            "notes": [{**note, "support": [1], "oppose": []}],
            "relations": [],
        }
    )
    lm = stand_in(rules, likelihoods=False)
    ahead = Calls.ahead(CHAT, turns, Setting(), lm)
    reader = ConversationReader(lambda texts: [[1.0]] * len(texts), MemoryWorkLog())
    with dspy.context(lm=lm):
        reader.read([], turns, turns)
    assert ahead.least == 3
    assert ahead.least <= len(rules.asked) <= ahead.most


def test_seconds_and_money_follow_from_measured_rates():
    spent = Usage(calls=10, input_tokens=900, output_tokens=100, seconds=20.0, money=0.5)
    rates = Rates.measured([spent])
    assert rates == Rates(tokens=100.0, seconds=2.0, money=0.05)
    ahead = Estimate.of([Calls(9, 30, 60)] * 2, rates, slots=2)
    assert (ahead.least, ahead.calls, ahead.most) == (18, 60, 120)
    assert ahead.seconds == ahead.calls * 2.0 / 2
    assert ahead.money == pytest.approx(ahead.calls * 0.05)
    assert Rates.measured([]) is None
    assert Rates.measured([Usage(calls=3, unpriced=1)]).money is None
