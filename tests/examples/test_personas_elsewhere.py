"""The examples that carry a persona into other libraries, run against a local server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from openai_server import serving
from worlds_of_mail import book

from personaagent.artifacts import Artifact, export
from personaagent.data import Directive, Persona

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = {
    "openai_client.py": "openai",
    "langchain_chat.py": "langchain_openai",
    "agents_sdk.py": "agents",
}
PERSONA = Persona(
    "ann",
    "inbox",
    profile="Ann writes {braces} and {{more}}.",
    directives=(Directive("If the message mentions dog, answer travel."),),
)


@pytest.mark.parametrize("script", PACKAGES)
def test_an_example_answers_under_the_persona(script: str, tmp_path: Path):
    needed = PACKAGES[script]
    pytest.importorskip(needed, reason=f"the example needs the package of '{needed}'")
    _, prompt = export(tmp_path, Artifact.of(PERSONA))
    rules = book()
    rules.says["text"] = lambda asked: rules.reading(asked)[0]
    with serving(rules) as address:
        done = subprocess.run(
            [sys.executable, EXAMPLES / script, prompt, "message: dinner with the dog {x}"],
            env=os.environ | {"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "key"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "travel\n"
    (asked,) = rules.asked
    assert asked.system.strip() == PERSONA.render()
    assert asked.text == "message: dinner with the dog {x}"


def test_every_example_is_run_by_a_test():
    tests = "".join(file.read_text() for file in Path(__file__).parents[1].rglob("test_*.py"))
    files = [one.name for one in EXAMPLES.iterdir() if one.suffix in (".py", ".ipynb")]
    assert [name for name in files if name not in tests] == []
