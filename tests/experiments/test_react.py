"""ReAct: DSPy's loop over PersonaAgent's tools."""

import dspy
import pytest
from dspy import lm15
from rulebook import in_turn, stand_in
from worlds_of_mail import INBOX, book

from personaagent.data import Action
from personaagent.errors import LMError
from personaagent.experiments.react import LONGEST_THOUGHT, ReAct
from personaagent.programs.adapter import _FORMATS


def step(tool, thought="Let me see.", **arguments):
    return {"next_thought": thought, "tool": tool, **arguments}


def rules(*steps, **options):
    return book(says={"step": in_turn(*steps), "text": "Has a dog."}, **options)


def ask(system, asked, query="dog", **options):
    """After the profile, so that only the query's own requests are counted."""
    with dspy.context(lm=stand_in(asked)):
        system.prepare("ann", **options)
        asked.asked.clear()
        return system(query=query, user="ann", **options)


def test_what_the_tools_found_is_evidence_for_the_answer(memory):
    asked = rules(step("recall", query="budgets", k=1), step("finish"))
    said = ask(ReAct(INBOX, memory), asked, "dog")
    assert [one.kind for one in asked.asked] == ["json", "json", "labels"]
    assert said.actions == [Action("recall", {"query": "budgets", "k": 1})]
    assert [one.interaction.id for one in said.memories] == ["ann-2"]
    found = INBOX.example("meeting on budgets", "work")
    assert found in asked.asked[1].text
    assert found in asked.asked[2].text
    assert said.trajectory["thought_0"] == "Let me see."
    assert said.trajectory["observation_1"] == "Completed."


def test_the_tools_are_the_agents_and_finish(memory):
    asked = rules(step("finish"))
    ask(ReAct(INBOX, memory), asked)
    for tool in ("recall", "habits", "read_profile", "finish"):
        assert tool in asked.asked[0].system


def test_it_takes_three_steps_at_most(memory):
    asked = rules(*(step("recall", query=f"dog {n}", k=1) for n in range(9)))
    said = ask(ReAct(INBOX, memory), asked)
    assert [one.kind for one in asked.asked] == ["json"] * 3 + ["labels"]
    assert len(said.actions) == 3


def test_finishing_at_once_is_answering_without_evidence(memory):
    asked = rules(step("finish"))
    said = ask(ReAct(INBOX, memory), asked, "flight")
    assert (said.answer, said.actions, said.memories) == ("travel", [], [])


def test_what_was_found_twice_is_shown_once(memory):
    twice = (step("recall", query=words, k=1) for words in ("budgets", "meeting budgets"))
    asked = rules(*twice, step("finish"))
    said = ask(ReAct(INBOX, memory), asked)
    assert len(said.actions) == 2
    assert asked.of("labels")[0].text.count("meeting on budgets") == 1


def test_repeating_a_call_finishes(memory):
    asked = rules(step("recall", query="budgets ", k=1), step("recall", query="budgets", k=1))
    said = ask(ReAct(INBOX, memory), asked)
    assert [one.kind for one in asked.asked] == ["json", "json", "labels"]
    assert len(said.actions) == 1


def test_a_tool_that_fails_is_an_observation(memory):
    def weather(city: str) -> str:
        """Tell the weather."""
        raise RuntimeError("no satellite")

    asked = rules(step("weather", city="Oslo"), step("finish"))
    said = ask(ReAct(INBOX, memory, tools=[dspy.Tool(weather)]), asked)
    assert "no satellite" in asked.asked[1].text
    assert said.answer in INBOX.labels


@pytest.mark.parametrize(
    "nonsense", [step("fly"), step("recall", query="dog"), {"tool": "recall"}, "recall", None]
)
def test_a_step_in_no_usable_form_ends_the_loop_and_not_the_answer(memory, nonsense):
    asked = rules(nonsense)
    said = ask(ReAct(INBOX, memory), asked, "flight")
    assert [one.kind for one in asked.asked] == ["json", "labels"]
    assert (said.answer, said.actions) == ("travel", [])


@pytest.mark.parametrize("answered", [1, 2])
def test_an_lm_that_fails_is_an_error_and_never_an_answer(memory, answered):
    asked = rules(step("finish"), dies_after=answered, failure=lm15.ServerError("it is gone"))
    with dspy.context(lm=stand_in(asked)), pytest.raises(LMError, match="it is gone"):
        ReAct(INBOX, memory)(query="dog", user="ann")


def test_a_failure_in_a_step_is_an_error_even_if_the_lm_comes_back(memory):
    def fails(asked):
        raise lm15.ServerError("it was gone")

    with dspy.context(lm=stand_in(book(says={"step": fails}))):
        system = ReAct(INBOX, memory)
        with pytest.raises(LMError, match="it was gone"):
            system(query="dog", user="ann")


def test_thoughts_and_arguments_are_bounded_by_the_schema(memory):
    asked = rules(step("finish", thought="x" * (LONGEST_THOUGHT + 1)))
    said = ask(ReAct(INBOX, memory), asked)
    assert said.trajectory == {}  # refused


def test_schemas_are_built_once_for_the_same_tools(memory):
    asked = rules(step("finish"))
    system = ReAct(INBOX, memory)
    with dspy.context(lm=stand_in(asked)):
        system(query="dog", user="ann")
        built = len(_FORMATS)
        for n in range(3):
            system(query=f"dog {n}", user="ann")
    assert len(_FORMATS) == built
