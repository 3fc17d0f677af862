"""examples/own_program.py, with a stand-in for the LM."""

import re
import runpy
from pathlib import Path

import dspy
import pytest
from rulebook import RuleBook, stand_in
from standins import HashEmbedder

from personaagent.data import read_interactions, read_tasks

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_program.py"
SAMPLE = Path(__file__).parents[2] / "personaagent" / "data" / "sample"


class Reader(RuleBook):
    """The message is what the request ends with."""

    def query(self, asked):
        return asked.text.rpartition("message:\n")[2]


class WordEmbedder(HashEmbedder):
    """Words without their punctuation, and of them only the one that matters here."""

    def encode(self, texts, *, progress=False):
        words = (re.findall(r"[a-z]{3,}", text.lower()) for text in texts)
        return super().encode([" ".join(w for w in some if w == "car") for some in words])


@pytest.fixture
def example(monkeypatch):
    # The example configures DSPy for good, as a script does; a test must not.
    names = {"lm": None}
    monkeypatch.setattr(dspy, "configure", lambda **given: names.update(given))
    return runpy.run_path(str(EXAMPLE)), names


def test_the_example_makes_a_program_personal(example, capsys):
    module, configured = example
    tasks = read_tasks(SAMPLE / "tasks.json")
    past = read_interactions(SAMPLE / "history.jsonl", tasks)
    usual = {one.query: one.response for one in past if not re.search(r"\bcar\b", one.query)}
    rules = Reader(
        tasks["inbox"], {"holiday": "travel"} | usual, says={"folder": "money", "text": "car"}
    )
    lm = stand_in(rules)
    with dspy.context(lm=lm):
        aligned = module["main"](lm, WordEmbedder())
    assert configured["lm"] is lm
    said = capsys.readouterr().out
    assert "before: travel\nafter:  money\n" in said
    assert "bare:   money" in said
    assert aligned.alignment.user == "amira"
    assert not any("Fwd:" in one.text for one in rules.of("labels"))  # its own step was taken
