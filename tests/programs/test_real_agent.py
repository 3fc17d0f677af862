"""The agent with the real LM on a user of the sample: what only it can show."""

from pathlib import Path

import dspy
import pytest
from standins import HashEmbedder

import personaagent.data.sample
from personaagent.data import Directive, Persona, read_interactions, read_queries, read_tasks
from personaagent.lm import connect
from personaagent.memory import EpisodicMemory, Store
from personaagent.programs import ActionChooser, MemoryRetriever, PersonaAgent, QueryScope
from personaagent.programs.tools import personal_tools, run

SAMPLE = Path(personaagent.data.sample.__file__).parent


@pytest.mark.lm
@pytest.mark.xdist_group("lm")
def test_the_real_lm_chooses_valid_actions_and_follows_a_directive(tmp_path):
    pytest.importorskip("xllamacpp")
    tasks = read_tasks(SAMPLE / "tasks.json")
    inbox = tasks["inbox"]
    history = [o for o in read_interactions(SAMPLE / "history.jsonl", tasks) if o.user == "chidi"]
    (asked,) = (o for o in read_queries(SAMPLE / "queries.jsonl", tasks) if o.id == "chidi-q01")
    dog = Directive("If the message mentions a dog, answer work.", cue="dog", reach=-1.0)
    plain = Persona("chidi", "inbox", actions=())
    lm = connect(cache=False)
    try:
        with Store(str(tmp_path / "memory.db")) as store, dspy.context(lm=lm):
            memory = EpisodicMemory(store, HashEmbedder())
            memory.add(history)
            agent = PersonaAgent(inbox, memory)

            usual = agent(query=asked.query, user="chidi", persona=plain)
            told = agent(query=asked.query, user="chidi", persona=plain.succeed(directives=(dog,)))
            assert usual.answer != "work"
            assert told.answer == asked.gold == "work"
            assert told.lm["work"] > 2 * usual.lm["work"]

            situation = QueryScope("chidi", inbox, asked.query)
            tools = personal_tools(MemoryRetriever(memory), situation, "Works with animals.")
            chosen = ActionChooser()(
                query=asked.query, tools=tools, persona=plain.standing_prompt()
            ).actions
            assert {action.tool for action in chosen} <= {tool.name for tool in tools}
            assert not any(seen.failed for seen in run(chosen, tools))
    finally:
        lm.engine.close()
