"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = [
    "data.interaction",
    "data.persona",
    "data.task",
    "errors",
    "lm.connection",
    "memory.episodic",
    "memory.store",
    "programs.agent",
    "registry",
    "table",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = import_module(f"personaagent.{name}")
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
