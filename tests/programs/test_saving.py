"""A program as a file, and copies of it."""

import json
from copy import deepcopy

import dspy
import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book

from personaagent.data import Action, Directive, FusionWeights, Persona
from personaagent.programs import PersonaAgent

MINE = Persona(
    "ann",
    "inbox",
    profile='Räumt auf: "{alles}".',
    directives=(Directive("A rule.", "dog", 0.25, ("i1", "i2"), ("i3",)), Directive("Another.")),
    trust=FusionWeights(0.5, 0.25),
    actions=(Action("recall", {"k": 3, "query": "x"}),),
    version=4,
    parent="abc",
)


@pytest.mark.parametrize("persona", [MINE, Persona("ann", "inbox"), None])
def test_a_saved_program_comes_back_with_its_persona(memory, tmp_path, persona):
    path = tmp_path / "ann.json"
    PersonaAgent(INBOX, memory, persona=persona).save(str(path))
    other = PersonaAgent(INBOX, memory, persona=Persona("ann", "inbox", profile="old"))
    other.load(str(path))
    assert other.persona.value == persona
    if persona:
        assert other.persona.value.hash == persona.hash


def test_the_file_is_plain_json_without_pickle_and_without_memories(memory, tmp_path):
    path = tmp_path / "ann.json"
    PersonaAgent(INBOX, memory, persona=MINE).save(str(path))
    content = path.read_text()
    state = json.loads(content)
    del state["metadata"]  # names the versions that DSPy depends on, cloudpickle's among them
    assert set(state) == {"persona", "choose.predict", "answer.predict"}
    assert "pickle" not in json.dumps(state)
    assert "dinner with the dog" not in content


def test_a_loaded_program_answers_as_the_saved_one(memory, tmp_path):
    path = tmp_path / "ann.json"
    dog = Directive("If the message mentions dog, answer travel.", cue="dog", reach=0.4)
    mine = Persona("ann", "inbox", directives=(dog,), actions=())
    saved = PersonaAgent(INBOX, memory, persona=mine)
    saved.save(str(path))
    loaded = PersonaAgent(INBOX, memory)
    loaded.load(str(path))
    with dspy.context(lm=stand_in(book())):
        one, two = (agent(query="dinner dog", user="ann") for agent in (saved, loaded))
    assert one.answer == "travel"
    assert one.toDict() == two.toDict()


@pytest.mark.parametrize("copy", [deepcopy, PersonaAgent.deepcopy])
def test_a_copy_has_its_own_persona_and_shares_the_memory(memory, copy):
    agent = PersonaAgent(INBOX, memory, persona=MINE)
    copied = copy(agent)
    copied.persona.value = MINE.succeed(profile="New.")
    assert agent.persona.value is MINE
    assert copied.memory is agent.memory
    assert copied.retrieve is not agent.retrieve


def test_a_program_that_is_reset_forgets_its_persona(memory):
    agent = PersonaAgent(INBOX, memory, persona=MINE)
    agent.persona.reset()
    assert agent.persona_of("ann") == Persona("ann", "inbox")
