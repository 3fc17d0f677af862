"""What a newcomer adds: each kind of part is one class in a short file, and works from there."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import dspy
import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, remembering

from personaagent import policies
from personaagent.data import ImportSummary, importers
from personaagent.memory import EpisodicMemory
from personaagent.optimizers import Setting
from personaagent.programs import PersonaAgent
from personaagent.registry import Registry

FOLDER = Path(__file__).parents[2] / "examples" / "extend"
NAMES = ["own_importer", "own_index", "own_retriever", "own_sampler", "own_task", "own_tool"]


def run(name: str) -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """What an example adds to a registry is gone with its test."""
    for registry in (policies.SAMPLERS, policies.RETRIEVERS, policies.INDEXES, importers.IMPORTERS):
        assert isinstance(registry, Registry)
        monkeypatch.setattr(registry, "_added", {})


def test_there_is_one_short_example_of_each_kind():
    assert sorted(one.stem for one in FOLDER.glob("*.py")) == NAMES
    assert all(len((FOLDER / f"{name}.py").read_text().splitlines()) <= 30 for name in NAMES)


def test_the_task_judges_as_its_class_says():
    urgency = run("own_task")["urgency"]
    assert urgency.score("3", "5") == pytest.approx(0.2)
    assert urgency.score("5", "3") == pytest.approx(0.6)
    assert urgency.labels == ("1", "2", "3", "4", "5")


def test_the_sampler_is_a_setting_and_picks_what_a_step_learns_from(tmp_path):
    run("own_sampler")
    setting = Setting(sampler="shortest", update="edits", replay=6, iterations=1)
    history = habitual()
    with remembering(tmp_path, *history) as memory, dspy.context(lm=stand_in(book())):
        agent = PersonaAgent(INBOX, memory)
        log = setting.alignment().compile(agent, trainset=history).alignment
    step = next(one for one in log.steps if one.batch)
    queries = {one.id: one.query for one in history}
    lengths = [len(queries[id]) for id in step.batch]
    assert lengths == sorted(lengths)


def test_the_retriever_is_known_by_its_name(memory):
    run("own_retriever")
    found = memory.recall("ann", "dog of a friend", 2, retriever="beginnings")
    assert found[0].interaction.query == "dog walk"
    assert len(found) == 2


def test_the_index_finds_what_the_default_finds(memory):
    run("own_index")
    own = EpisodicMemory(memory.store, memory.embedder, index="half")
    for query in ("dog of a friend", "a train"):
        ours, theirs = (one.recall("ann", query, 3) for one in (own, memory))
        assert [one.interaction.id for one in ours] == [one.interaction.id for one in theirs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-3)


def test_the_tool_is_one_of_the_agents(memory):
    agent = run("own_tool")["agent"](INBOX, memory)
    (tool,) = agent.tools
    assert tool.name == "holiday"
    assert tool(day="2026-12-25") == "Christmas Day"


def test_the_importer_reads_an_export(tmp_path):
    run("own_importer")
    path = tmp_path / "bookmarks.json"
    path.write_text(json.dumps([{"url": "x", "title": "How to bake bread", "folder": "cooking"}]))
    account = ImportSummary()
    read = importers.IMPORTERS.named("bookmarks").read
    (one,) = read(path, user="amira", task="folders", account=account)
    assert (one.query, one.response, account.taken["bookmark"]) == (
        "How to bake bread",
        "cooking",
        1,
    )
