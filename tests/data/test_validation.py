"""What is wrong with an argument is said where it is given: what, where, and the remedy."""

from __future__ import annotations

import asyncio
from datetime import date

import dspy
import numpy as np
import pytest
from rulebook import RuleBook, calls, stand_in
from standins import HashEmbedder
from worlds_of_mail import INBOX, mail, remembering

from personaagent import EpisodicMemory, PersonaAgent, PersonaAlignment, Personal, Store
from personaagent.data import Choice, Classification, Interaction, Query, Rating, Text, validation
from personaagent.errors import DataError, StoreError
from personaagent.experiments.baselines import (
    ICL,
    PAG,
    RAG,
    Majority,
    NearestNeighbour,
    NonPersonalized,
    ZeroShot,
)
from personaagent.experiments.membank import MemBank
from personaagent.experiments.react import ReAct
from personaagent.optimizers import (
    AcceptOnEvidence,
    AcceptOnReplay,
    HardBatch,
    ItemisedEdits,
    Patience,
    Setting,
)
from personaagent.programs import MemoryRetriever, ProfileSummarizer


@pytest.fixture
def memory(tmp_path):
    with remembering(tmp_path, mail(1, "a car", "work"), mail(2, "a trip", "travel")) as memory:
        yield memory


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Classification("inbox", "?", labels="abc"), "labels is of type str"),
        (lambda: Classification("inbox", "?", labels=None), "labels is of type NoneType"),
        (lambda: Classification("inbox", "?", labels=(1, 2)), "a label is 1, must be text"),
        (lambda: Classification("inbox", "?", labels=("a", " ")), "a label is empty"),
        (lambda: Classification("inbox", "?", labels=("a",)), "at least two labels"),
        (lambda: Classification("", "?", labels=("a", "b")), "the name of a task is empty"),
        (lambda: Classification(None, "?", labels=("a", "b")), "the name of a task is None"),
        (lambda: Text("notes", None), "instruction is None"),
        (lambda: Text("notes", "?", labels=("a", "b")), "free text has no labels"),
        (lambda: Text("notes", "?", item=3), "item is 3"),
        (lambda: Text("notes", "?", lifetime=-1), "lifetime is -1"),
        (lambda: Text("notes", "?", lifetime="long"), "lifetime is 'long'"),
        (lambda: Rating("stars", "?", low="1"), "low is of type str"),
        (lambda: Rating("stars", "?", low=5, high=1), "must be below high"),
        (lambda: Rating("stars", "?", labels=("good", "bad")), "no labels but low and high"),
        (lambda: Choice("pairs", "?", labels=("a", "b")), "are [1], [2] and so on"),
        (lambda: Interaction("1", "ann", "inbox", "q", "r", time="noon"), "'time' is of type str"),
        (lambda: Query("1", "ann", "inbox", "q", time=date(2026, 1, 1)), "'time' is of type date"),
    ],
)
def test_values(make, said):
    with pytest.raises(DataError) as refused:
        make()
    assert said in str(refused.value)


def test_labels_may_be_a_list_and_the_task_is_hashable():
    task = Classification("inbox", "Which?", labels=["work", "home"])
    assert task.labels == ("work", "home")
    assert hash(task) == hash(Classification("inbox", "Which?", labels=("work", "home")))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PersonaAlignment(iterations=-1), "iterations is -1"),
        (lambda: PersonaAlignment(iterations=2.5), "iterations is 2.5"),
        (lambda: PersonaAlignment(iterations=True), "iterations is True"),
        (lambda: PersonaAlignment(batch=0), "batch is 0"),
        (lambda: PersonaAlignment(replay=-1), "replay is -1"),
        (lambda: PersonaAlignment(reach=0), "reach is 0"),
        (lambda: PersonaAlignment(simulate=0), "simulate is 0"),
        (lambda: PersonaAlignment(profile=0), "profile is 0"),
        (lambda: PersonaAlignment(seed="0"), "seed is of type str"),
        (lambda: PersonaAlignment(acceptance="replay"), "no method 'accepts'"),
        (lambda: PersonaAlignment(sampler="hard"), "no method 'sample'"),
        (lambda: PersonaAlignment(update="edits"), "no method 'propose'"),
        (lambda: PersonaAlignment(stopping=3), "no method 'stops'"),
        (lambda: PersonaAlignment(prior="prior.json"), "prior is of type str"),
        (lambda: Setting(iterations=0), "'iterations'"),
        (lambda: Setting(update="everything"), "'update'"),
        (lambda: Setting(k=99), "'k'"),
        (lambda: Patience(0), "steps is 0"),
        (lambda: HardBatch(easy=2), "easy is 2, must be a number from 0 to 1"),
        (lambda: AcceptOnReplay(margin=-1), "margin is -1"),
        (lambda: AcceptOnEvidence(alpha="5%"), "alpha is of type str"),
        (lambda: ItemisedEdits(keep=0), "keep is 0"),
        (lambda: ProfileSummarizer(words=0), "words is 0"),
    ],
)
def test_alignments_and_their_parts(make, said):
    with pytest.raises(DataError) as refused:
        make()
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda m: PersonaAgent("inbox", m), "task is of type str: give a task"),
        (lambda m: PersonaAgent(INBOX, m.store), "memory is of type Store"),
        (lambda m: PersonaAgent(INBOX, m, persona="Be kind."), "persona is of type str"),
        (lambda m: PersonaAgent(INBOX, m, rounds=-1), "rounds is -1"),
        (lambda m: PersonaAgent(INBOX, m, k=0), "k is 0"),
        (lambda m: PersonaAgent(INBOX, m, retriever="bm52"), "'bm52' is none of the retrievers"),
        (lambda m: PersonaAgent(INBOX, m, tools=["search"]), "tools[0] is of type str"),
        (lambda m: PersonaAgent(INBOX, m, tools=len), "tools is of type builtin_function"),
        (lambda m: PersonaAgent(INBOX, m, tools=None), "tools is of type NoneType"),
        (lambda m: Personal("my program", task=INBOX, memory=m), "program is of type str"),
        (lambda m: MemoryRetriever(None), "memory is None"),
        (lambda m: MemoryRetriever(m, k=-1), "k is -1"),
        (lambda m: RAG("inbox", m), "task is of type str"),
        (lambda m: ICL(INBOX, m, k=0), "k is 0"),
        (lambda m: PAG(INBOX, "memory.db"), "memory is of type str"),
        (lambda m: ReAct(INBOX, m, iterations=0), "iterations is 0"),
        (lambda m: ReAct(INBOX, m, tools=["search"]), "tools[0] is of type str"),
        (lambda m: MemBank(INBOX, m, days=0), "days is 0"),
        (lambda m: NonPersonalized("inbox"), "task is of type str"),
        (lambda m: EpisodicMemory("memory.db", HashEmbedder()), "store is of type str"),
        (lambda m: EpisodicMemory(m.store, "MiniLM"), "embedder is of type str"),
        (lambda m: EpisodicMemory(m.store, HashEmbedder(), resident=-1), "resident is -1"),
        (lambda m: m.add(mail(1, "x", "work")), "interactions is of type Interaction"),
        (lambda m: m.add("history.jsonl"), "interactions is of type str"),
        (lambda m: m.add([{"query": "x"}]), "interactions[0] is of type dict"),
        (lambda m: m.store.add([mail(1, "a", "work"), None]), "interactions[1] is None"),
        (lambda m: m.store.of(None), "the user is None"),
        (lambda m: m.recall("ann", None, 3), "the query is None"),
        (lambda m: m.recall("ann", "x", 2.5), "k is 2.5"),
        (lambda m: m.recall(None, "x", 2), "the user is None"),
    ],
)
def test_programs_and_memory(memory, make, said):
    with pytest.raises(DataError) as refused:
        make(memory)
    assert said in str(refused.value)


def test_a_database_that_is_no_place_is_refused():
    with pytest.raises(StoreError, match="type int"):
        Store(5)


QUERIES = [
    (None, "ann", "the query is None"),
    ("", "ann", "the query is empty"),
    (" \n", "ann", "the query is empty"),
    (3, "ann", "the query is 3"),
    ("a car", None, "the user is None"),
    ("a car", "", "the user is empty"),
    ("a car", "  ", "the user is empty"),
]


@pytest.mark.parametrize(("query", "user", "said"), QUERIES)
def test_an_agent_refuses_to_answer_nothing_and_nobody(memory, query, user, said):
    agent = PersonaAgent(INBOX, memory)
    own = Personal(dspy.Predict("persona, query -> answer"), task=INBOX, memory=memory)
    with dspy.context(lm=stand_in(RuleBook(INBOX))):
        for program in (agent, own):
            with pytest.raises(DataError, match=said):
                program(query=query, user=user)
        with pytest.raises(DataError, match=said):
            asyncio.run(agent.acall(query=query, user=user))


@pytest.mark.parametrize(("query", "user", "said"), QUERIES)
def test_so_does_every_system_that_it_is_compared_with(memory, query, user, said):
    for kind in (
        Majority,
        ZeroShot,
        NearestNeighbour,
        NonPersonalized,
        ICL,
        RAG,
        PAG,
        ReAct,
        MemBank,
    ):
        with dspy.context(lm=stand_in(RuleBook(INBOX))), pytest.raises(DataError, match=said):
            kind(INBOX, memory)(query=query, user=user)


def test_the_text_of_a_persona_is_no_persona(memory):
    with (
        dspy.context(lm=stand_in(RuleBook(INBOX))),
        pytest.raises(DataError, match="persona is of type str"),
    ):
        PersonaAgent(INBOX, memory)(query="a car", user="ann", persona="Be kind.")


def test_a_plain_function_is_made_a_tool_and_called(memory):
    asked = []

    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return f"rain in {city}"

    agent = PersonaAgent(INBOX, memory, tools=[weather])
    assert [(one.name, one.desc) for one in agent.tools] == [("weather", "The weather of a city.")]
    rules = RuleBook(INBOX, says={"actions": calls(("weather", {"city": "Bern"}))})
    with dspy.context(lm=stand_in(rules)):
        said = agent(query="a trip", user="ann")
    assert asked == ["Bern"]
    assert said.observations[0].text == "rain in Bern"


@pytest.mark.parametrize(
    ("trainset", "said"),
    [
        ([dspy.Example(query="a car", answer="work")], r"trainset\[0\] is of type Example"),
        (None, "trainset is None"),
        ("history.jsonl", "trainset is of type str"),
        ([], "no interactions to align to"),
        ([mail(1, "a car", "WRONG")], "interaction 'ann-1' of user 'ann'.*'WRONG' is not one of"),
        ([mail(1, "a car", "")], "interaction 'ann-1' has no response"),
        ([mail(1, "a car", "work", task="stars")], "'ann-1' is of task 'stars'"),
    ],
)
def test_what_cannot_be_learned_from_is_named_before_anything_is_asked(memory, trainset, said):
    rules = RuleBook(INBOX)
    with dspy.context(lm=stand_in(rules)), pytest.raises(DataError, match=said):
        PersonaAlignment().compile(PersonaAgent(INBOX, memory), trainset=trainset)


def test_a_valset_is_checked_likewise_and_a_bare_program_is_no_student(memory):
    good, bad = [mail(1, "a car", "work")], [mail(2, "a car", "WRONG")]
    with dspy.context(lm=stand_in(RuleBook(INBOX))):
        with pytest.raises(DataError, match="interaction 'ann-2'"):
            PersonaAlignment().compile(PersonaAgent(INBOX, memory), trainset=good, valset=bad)
        with pytest.raises(DataError, match=r"put your own program into personaagent\.Personal"):
            PersonaAlignment().compile(dspy.Predict("query -> answer"), trainset=good)


def test_numpy_numbers_of_the_right_size_are_no_surprise():
    with pytest.raises(DataError, match="must be a whole number"):
        validation.whole("k", np.float64(3), 1)
