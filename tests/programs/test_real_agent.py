"""The agent with the real LM on a user of the sample: what only it can show."""

from importlib.resources import files

import dspy
import pytest
from rulebook import RuleBook  # noqa: F401  (the stand-in is not used here)
from standins import HashEmbedder

from personaagent.data import Directive, Persona, read_interactions, read_queries, read_tasks
from personaagent.lm import connect
from personaagent.memory import EpisodicMemory, Store
from personaagent.programs import ActionChooser, PersonaAgent, Situation
from personaagent.programs.tools import personal_tools, run

SAMPLE = files("personaagent.data.sample")


@pytest.mark.lm
def test_the_real_lm_chooses_a_valid_action_and_follows_a_directive(tmp_path):
    pytest.importorskip("xllamacpp")
    print(read_tasks, read_queries)
