"""The paper's own way: Algorithm 1 and nothing beside it, counted to the call."""

from functools import partial
from itertools import count

import dspy
import pytest
from aligning import align
from rulebook import calls, stand_in
from worlds_of_mail import INBOX, book, habitual, remembering

from personaagent.data import Persona
from personaagent.optimizers import PAPER, PersonaAlignment, Setting, as_in_the_paper
from personaagent.programs import PersonaAgent
from personaagent.signatures.paper import TEMPLATE

PROMPT = "You serve one user, who files dogs under travel.\nLook for dogs in memory."


def critic(asked):
    """A capable LM: a profile, critiques, and a system prompt."""
    if "Present system prompt" in asked.text:
        return PROMPT
    return "Say what dogs are." if "Response of the assistant" in asked.text else "Has dogs."


def learned(agent, history, rules, *, likelihoods=False, **given):
    lm = stand_in(rules, likelihoods=likelihoods)
    return align(agent, history, lm=lm, **as_in_the_paper(**given))


def rules():
    return book(says={"text": critic, "actions": calls(("recall", {"query": "dog", "k": 4}))})


@pytest.mark.parametrize("likelihoods", [True, False])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_it_takes_eleven_calls_and_ten_for_each_further_iteration(
    agent, history, iterations, likelihoods
):
    """A profile; then three times a choice of actions and an answer, three gradients, an update."""
    said, written = rules(), count()
    said.says["text"] = lambda asked: (
        f"{PROMPT} {next(written)}" if "Present system prompt" in asked.text else critic(asked)
    )
    log = learned(agent, history, said, iterations=iterations, likelihoods=likelihoods)
    assert len(said.asked) == log.usage["calls"] == 1 + 10 * iterations
    assert log.judged == ()
    assert [step.accepted for step in log.steps] == [0] * iterations
    assert len([one for one in said.of("json") if "actions" in one.fields]) == 3 * iterations


def test_a_long_history_costs_no_more(tmp_path):
    history = habitual(count=200)
    with remembering(tmp_path, *history) as memory:
        said = rules()
        learned(PersonaAgent(INBOX, memory), history, said)
        assert len(said.asked) == 11


def test_the_latest_three_are_simulated_under_the_papers_template(agent, history):
    said = rules()
    log = learned(agent, history, said)
    assert log.first.render() == TEMPLATE.format(profile="Has dogs.")
    assert log.first.actions is None
    (step,) = log.steps
    assert step.batch == tuple(one.id for one in history[-3:])
    simulated = [one for one in said.of("json") if "answer" in one.fields]
    assert {one.system for one in simulated} == {log.first.render()}


def test_the_gradient_sees_persona_answer_and_truth_and_the_update_the_feedback(agent, history):
    said = rules()
    log = learned(agent, history, said)
    asked = [one.text for one in said.of("text")]
    (critique,) = [one for one in asked if history[-1].query in one and "Expected answer" in one]
    assert log.first.render() in critique
    assert f"Expected answer:\n{history[-1].response}" in critique
    (update,) = [one for one in asked if "Present system prompt" in one]
    assert update.count("- Say what dogs are.") == 3


def test_the_new_system_prompt_is_the_persona_as_it_stands(agent, history):
    last = learned(agent, history, rules()).last
    assert last.render() == last.standing_prompt() == PROMPT
    assert last.actions is None
    assert Persona.from_dict(last.to_dict()) == last


def test_it_answers_by_tools_that_the_lm_chooses(agent, history):
    said = rules()
    last = learned(agent, history, said).last
    with dspy.context(lm=stand_in(said, likelihoods=False)):
        answer = agent(query="dinner dog", user="ann", persona=last)
    assert [one.tool for one in answer.actions] == ["recall"]
    assert len(answer.memories) == 4


def test_the_preset_is_the_same_arm():
    numbers = PAPER.iterations, PAPER.batch, PAPER.k, PAPER.replay
    assert numbers == (1, 3, 4, 0)
    assert PAPER.alignment().settings() == PersonaAlignment(**as_in_the_paper()).settings()


def test_whoever_always_accepts_replays_nothing(agent, history):
    said = book(says={"text": partial(lambda asked: "dog"), "profile": "P.", "rules": ["R."]})
    setting = Setting(update="rewrite", accept="always", sampler="latest", iterations=1)
    with dspy.context(lm=stand_in(said)):
        log = setting.alignment().compile(agent, trainset=history).alignment
    assert len(said.asked) == 1 + 4 + 4 + 1  # a profile, a batch, its gradients, a rewrite
    assert [one.tool for one in log.last.actions] == ["recall"]


def test_an_own_persona_of_ours_is_rewritten_as_it_is(memory, history):
    mine = Persona("ann", "inbox", profile="P.", version=1, parent="0" * 64)
    log = learned(PersonaAgent(INBOX, memory, persona=mine), history, rules())
    assert log.first == mine
    assert log.last.render() == PROMPT


def test_personas_from_before_keep_their_hashes():
    whole = Persona("ann", "inbox", profile=PROMPT, whole=True)
    assert whole.render() == PROMPT
    assert "whole" not in Persona("ann", "inbox").to_dict()
