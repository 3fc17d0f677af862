"""Ablations: what is left of a persona, and of the agent under it."""

from dataclasses import replace

import dspy
import numpy as np
import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book

from personaagent.data import Action, Directive, FusionWeights, Meanings, Persona
from personaagent.errors import DataError
from personaagent.experiments.ablations import PERSONAL_TOOLS, Personas
from personaagent.experiments.systems import SYSTEMS
from personaagent.programs import MemoryRetriever, QueryScope
from personaagent.programs.fusion import fuse
from personaagent.programs.tools import personal_tools
from personaagent.programs.user_label_prior import named, vote

RULE = Directive("If the message mentions dog, answer travel.", cue="dog", reach=0.2)
ALIGNED = Persona(
    "ann",
    "inbox",
    profile="ALIGNED",
    directives=(RULE, Directive("ALWAYS.")),
    actions=(Action("recall", {"k": 1}), Action("weather")),
    trust=FusionWeights(0.5, 1.0, {"work": 0.5, "family": -0.5, "travel": 0.0}),
    version=1,
)
FIRST = Persona("ann", "inbox", profile="FIRST", actions=())
OTHER = Persona("eve", "inbox", profile="ANOTHER", actions=(Action("recall"),))
PAPER = replace(FIRST, profile="You are the helper of Ann.", whole=True)
PERSONAS = Personas({"ann": ALIGNED, "eve": OTHER}, {"ann": FIRST}, {"ann": "eve"}, {"ann": PAPER})
PARTS = ("alignment", "persona", "memory", "action", "habit", "lean")
ALONE = replace(ALIGNED.trust, habit=0.0)


def weather() -> str:
    """Tell the weather."""
    return "SUNNY"


def answer(memory, name, aligned=ALIGNED):
    """What the system gives back, and what the LM was asked, one request of each kind."""
    rules = book(says={"actions": [{"tool": "recall", "query": "budgets", "k": 1}]})
    personas = replace(PERSONAS, aligned={**PERSONAS.aligned, "ann": aligned})
    with dspy.context(lm=stand_in(rules)):
        system = SYSTEMS[name](INBOX, memory, personas, tools=[dspy.Tool(weather)])
        said = system(query="dinner with the dog", user="ann")
    return said, rules.of("json"), rules.of("labels")[0]


def found(said):
    return [action.tool for action in said.actions]


def test_nothing_is_taken_from_the_full_system(memory):
    said, chosen, asked = answer(memory, "personaagent")
    assert said.persona == ALIGNED.hash
    assert (found(said), chosen) == (["recall", "weather"], [])
    assert all(
        part in asked.everything for part in ("ALIGNED", "ALWAYS.", RULE.text, "SUNNY", "travel")
    )
    assert said.distribution != said.lm


def test_without_alignment_the_profile_is_left_and_the_lm_chooses(memory):
    said, chosen, asked = answer(memory, "personaagent-without-alignment")
    assert (found(said), len(chosen)) == (["recall"], 1)
    assert "FIRST" in chosen[0].system
    assert "FIRST" in asked.system
    assert "ALWAYS." not in asked.everything
    assert RULE.text not in asked.everything
    assert said.distribution == pytest.approx(said.lm)


def test_without_persona_memory_and_actions_are_left(memory):
    said, chosen, asked = answer(memory, "personaagent-without-persona")
    assert (found(said), len(chosen)) == (["recall"], 1)
    assert asked.system == Persona("ann", "inbox").render()
    assert "meeting on budgets" in asked.text
    assert said.distribution == pytest.approx(said.lm)


def test_without_memory_directives_and_general_tools_are_left(memory):
    said, chosen, asked = answer(memory, "personaagent-without-memory")
    assert (found(said), chosen, said.memories) == (["weather"], [], [])
    assert "ALWAYS." in asked.system
    assert RULE.text in asked.text
    assert "ALIGNED" not in asked.everything
    meant = vote(INBOX.labels, [], named(memory, INBOX, "dinner with the dog"))
    assert said.habit == pytest.approx(meant)  # nothing of the user's answers
    assert said.distribution == pytest.approx(fuse(said.lm, meant, ALIGNED.trust))


def test_without_action_the_prompt_is_left(memory):
    said, chosen, asked = answer(memory, "personaagent-without-action")
    assert (found(said), chosen, said.memories) == ([], [], [])
    assert asked.system == ALIGNED.standing_prompt()
    assert RULE.text in asked.text
    assert "SUNNY" not in asked.text
    assert said.distribution == pytest.approx(fuse(said.lm, None, ALONE))


def test_without_habit_only_the_fusion_is_gone(memory):
    full, _, shown = answer(memory, "personaagent")
    said, _, asked = answer(memory, "personaagent-without-habit")
    assert asked == shown
    assert said.actions == full.actions
    assert said.distribution == pytest.approx(fuse(said.lm, None, ALONE))


def test_without_lean_habit_still_has_its_say(memory):
    full, _, shown = answer(memory, "personaagent")
    said, _, asked = answer(memory, "personaagent-without-lean")
    assert asked == shown
    plain = replace(ALIGNED.trust, lean={})
    assert said.distribution == pytest.approx(fuse(said.lm, said.habit, plain))
    assert said.distribution != pytest.approx(full.distribution)


def test_without_meanings_labels_mean_what_they_are_called(memory):
    weights = np.array([[0.0] * memory.embedder.dimensions + [bias] for bias in (5.0, 0.0, 0.0)])
    meant = Meanings.of(memory.embedder.fingerprint, INBOX.labels, weights)
    taught = replace(ALIGNED, trust=replace(ALIGNED.trust, meanings=meant))
    plain, _, shown = answer(memory, "personaagent")
    full, _, asked = answer(memory, "personaagent", taught)
    said, _, again = answer(memory, "personaagent-without-meanings", taught)
    assert shown == asked == again
    assert full.habit[INBOX.labels[0]] > plain.habit[INBOX.labels[0]]
    assert said.habit == plain.habit


def test_without_alignment_what_the_cohort_began_stays(memory):
    begun = Persona("ann", "inbox", actions=(Action("recall"),), trust=FusionWeights(0.5, 0.5))
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        system = SYSTEMS["personaagent-without-alignment"](
            INBOX, memory, Personas({"ann": ALIGNED}, {"ann": begun})
        )
        said = system(query="dinner with the dog", user="ann")
    assert said.persona == begun.hash


def test_swapped_is_another_users_persona_on_the_users_own_memory(memory):
    said, chosen, asked = answer(memory, "personaagent-swapped")
    assert (found(said), chosen) == (["recall"], [])
    assert "ANOTHER" in asked.system
    assert "ALIGNED" not in asked.everything
    assert said.memories
    assert {one.interaction.user for one in said.memories} == {"ann"}


@pytest.mark.parametrize("part", PARTS)
def test_no_ablation_is_the_full_system(memory, part):
    name = f"personaagent-without-{part}"
    assert answer(memory, name)[0].persona != ALIGNED.hash


def test_the_tools_of_memory_are_those_that_are_taken_away(memory):
    situation = QueryScope("ann", INBOX, "dog")
    tools = personal_tools(MemoryRetriever(memory), situation, "A profile.")
    assert {tool.name for tool in tools} == set(PERSONAL_TOOLS)


def test_what_is_published_has_no_say(memory):
    memory.store.of("ann").publish(
        Persona("ann", "inbox", profile="PUBLISHED"), expected=None, reason="test"
    )
    for name in SYSTEMS:
        if name.startswith("personaagent"):
            _, chosen, asked = answer(memory, name)
            assert not any("PUBLISHED" in one.everything for one in (*chosen, asked))


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name.startswith("personaagent")])
def test_a_user_without_a_persona_is_an_error_and_no_default(memory, name):
    with dspy.context(lm=stand_in(book())), pytest.raises(DataError, match="'bob' has no"):
        SYSTEMS[name](INBOX, memory, PERSONAS)(query="dog", user="bob")
