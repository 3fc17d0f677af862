"""The recorded demo: a run that was kept, which needs no LM and hides nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import personaagent
from personaagent.cli.app import app
from personaagent.data import Persona, read_roles

SAMPLE = Path(personaagent.__file__).parent / "data" / "sample"


@pytest.fixture
def kept():
    return json.loads((SAMPLE / "recorded.json").read_text(encoding="utf-8"))


def test_it_shows_the_persona_and_both_answers_and_says_that_it_is_a_recording(kept):
    said = CliRunner().invoke(app, ["demo", "--recorded"])
    assert said.exit_code == 0, said.output
    shown = " ".join(said.stdout.split())
    assert "This is a recording of" in shown
    assert "No LM is asked" in shown
    for one in kept["answers"]:
        assert all(one[how].split()[0] in shown for how in ("without", "with"))


def test_everything_that_is_known_rests_on_messages_of_the_sample(kept):
    persona = Persona.from_dict(kept["persona"])
    written = {one.id for one in read_roles(SAMPLE / "chats.json")}
    assert len(written) == kept["messages"]
    assert persona.role == "assistant"
    assert len(persona.items) > 8
    assert persona.cited <= written
    assert all(one.support for one in persona.items)


def test_json_is_the_recording_itself(kept):
    said = CliRunner().invoke(app, ["demo", "--recorded", "--json"])
    assert json.loads(said.stdout) == kept
