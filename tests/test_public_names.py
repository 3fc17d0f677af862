"""What a notebook sees of the package: names to complete, and objects that say what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest
from standins import HashEmbedder
from worlds_of_mail import INBOX, mail

import personaagent
from personaagent import EpisodicMemory, Persona, PersonaAgent, PersonaAlignment, Store
from personaagent.data import Meanings

LAZY = [f"personaagent{one}" for one in ("", ".data", ".lm", ".memory", ".programs", ".signatures")]
EAGER = ["personaagent.optimizers"]


@pytest.mark.parametrize("package", [*LAZY, *EAGER])
def test_every_public_name_is_there_to_complete(package):
    made = import_module(package)
    assert set(made.__all__) <= set(dir(made))
    assert all(getattr(made, name) is not None for name in made.__all__)


@pytest.mark.parametrize("package", LAZY)
def test_names_are_there_before_anything_is_loaded_and_no_helper_among_them(package):
    code = f"import json, {package} as p; print(json.dumps([dir(p), p.__all__]))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, public = json.loads(said.stdout)
    assert {one for one in shown if not one.startswith("__")} == set(public)


def test_a_name_that_is_not_there_is_said_as_of_any_module():
    with pytest.raises(AttributeError, match=r"module 'personaagent' has no attribute 'Agent'"):
        personaagent.Agent  # noqa: B018


def test_a_store_and_a_memory_say_where_they_are_and_how_much_they_hold(tmp_path):
    path = tmp_path / "memory.db"
    with Store(path) as store:
        store.add([mail(1, "a", "work"), mail(2, "b", "work"), mail(1, "c", "work", "bob")])
        memory = EpisodicMemory(store, HashEmbedder())
        assert repr(store) == f"Store('{path}', users=2, interactions=3)"
        assert repr(memory).startswith(f"EpisodicMemory({store!r}, ")
        assert repr(store.of("ann")) == f"UserMemory('ann' in '{path}', interactions=2)"
        agent = PersonaAgent(INBOX, memory)
        assert repr(agent).startswith(f"PersonaAgent('inbox', {memory!r}, ")
        agent.persona.value = Persona("ann", "inbox", version=3)
        assert repr(agent).endswith("version 3 of 'ann')")


def test_a_store_that_cannot_be_read_has_a_repr_all_the_same(tmp_path):
    path = tmp_path / "memory.db"
    with Store(path) as store:
        pass
    path.write_text("no database" * 1_000)
    assert repr(store) == f"Store('{path}', cannot be read)"
    assert "cannot be read" in repr(store.of("ann"))


def test_an_alignment_says_its_settings_and_meanings_do_not_print_their_weights():
    assert "iterations=7, batch=4" in repr(PersonaAlignment(iterations=7))
    assert "QUJD" not in repr(Meanings("space", 1.0, {"work": "QUJD"}))
