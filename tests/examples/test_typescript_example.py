"""The TypeScript example: npm's OpenAI client against a server of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from serving import listening
from standins import HashEmbedder
from upstreams import providing

from personaagent.data import Persona
from personaagent.lm import connect
from personaagent.memory import EpisodicMemory, Store
from personaagent.server import create_app

EXAMPLE = Path(__file__).parents[2] / "examples" / "typescript"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (EXAMPLE / "node_modules" / "openai").is_dir(),
    reason="takes node, and 'npm install' in examples/typescript",
)


def test_npms_openai_client_streams_under_the_persona_and_is_remembered(tmp_path: Path):
    store = Store(tmp_path / "memory.db")
    persona = Persona("amira", "chat", profile="Travels by train.", actions=())
    store.of("amira").publish(persona, expected=None, reason="first")
    texts = ["How do I get to Bern?", "Something faster?"]
    with providing() as provider:
        lm = connect("stand-in", api_base=provider.address)
        with listening(create_app(EpisodicMemory(store, HashEmbedder()), lm)) as address:
            done = subprocess.run(
                ["npm", "run", "--silent", "chat", "--", "amira", *texts],
                cwd=EXAMPLE,
                env=os.environ | {"PERSONAAGENT_URL": f"{address}/v1"},
                capture_output=True,
                text=True,
                timeout=120,
            )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "Take the train.\n" * 2
        assert "Travels by train." in provider.told[0]["content"]
    with Store(tmp_path / "memory.db") as again:
        found = again.of("amira").interactions()
    assert [one.response for one in found] == texts
    assert found[1].query == "Take the train."


def test_the_example_is_well_typed():
    done = subprocess.run(
        ["npx", "tsc", "-p", "."], cwd=EXAMPLE, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout
