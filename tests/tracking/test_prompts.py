"""Personas in the prompt registry: aliases, one version a persona, and text that stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from personaagent.data import Directive, Persona
from personaagent.optimizers.log import AlignmentLog, Candidate, Step
from personaagent.tracking import TrackingWarning, prompt_name, register, track
from personaagent.tracking.prompts import challenger_of, template

FIRST = Persona("bea.x", "inbox", profile="Bea likes {{tea}} {% and %} }} {#.")
BETTER = FIRST.succeed(directives=(Directive("Tea is {{leisure}}."),))
RIVAL = FIRST.succeed(directives=(Directive("Tea is work."),))
NAME = "persona.inbox.bea_2Ex"


def log(*steps: Step, last: Persona = BETTER) -> AlignmentLog:
    return AlignmentLog(
        "bea.x", "inbox", FIRST, last, 0.9, 0.2, steps, ("c",), "done", {"n": len(steps)}, {}
    )


def step(number: int, accepted: int | None, *candidates: Candidate) -> Step:
    return Step(number, ("a",), (), candidates, accepted, 0.5, 0.5)


@pytest.fixture
def load(uri: str, client: Any) -> Any:
    """The version behind an alias, None without one."""
    from mlflow.exceptions import MlflowException

    def load(alias: str, name: str = NAME) -> Any:
        try:
            return client.get_prompt_version_by_alias(name, alias)
        except MlflowException:
            return None

    return load


@pytest.mark.usefixtures("no_warning")
def test_the_champion_is_what_was_published(uri: str, load: Any):
    first = register(FIRST, tracking_uri=uri)
    assert first == f"prompts:/{NAME}/1"
    assert load("champion").format() == FIRST.render()
    assert load("challenger") is None
    assert register(BETTER, challenger=RIVAL, tracking_uri=uri) == f"prompts:/{NAME}/3"
    assert load("champion").format() == BETTER.render()
    assert load("challenger").format() == RIVAL.render()
    assert load("champion").tags["personaagent.hash"] == BETTER.hash
    assert register(FIRST, tracking_uri=uri) == first  # rolled back: no new version
    assert load("champion").version == 1
    assert load("challenger") is None


@pytest.mark.usefixtures("no_warning")
def test_an_alignment_registers_its_champion_and_challenger(uri: str, client: Any, load: Any):
    mine = replace(BETTER, user="cid"), replace(RIVAL, user="cid")
    better, rival = Candidate(mine[0], 0.5, 0.5, 1, "better"), Candidate(mine[1], 0.7, 0.5, 1, "no")
    aligned = replace(log(step(1, 0, better, rival), last=mine[0]), user="cid")
    run = track(aligned, tracking_uri=uri)
    champion = load("champion", "persona.inbox.cid")
    assert champion.format() == mine[0].render()
    assert champion.tags["personaagent.mlflow_run"] == run
    assert load("challenger", "persona.inbox.cid").format() == mine[1].render()


def test_the_challenger_is_the_best_that_was_refused():
    worse, best = replace(RIVAL, profile="worse"), replace(RIVAL, profile="best")
    steps = (
        step(1, None, Candidate(worse, 0.8, 0.1, 1, ""), Candidate(RIVAL, 0.9, 0.1, 1, "")),
        step(2, 1, Candidate(best, 0.6, 0.1, 1, ""), Candidate(BETTER, 0.5, 0.9, 1, "")),
    )
    assert challenger_of(log(*steps)) == best
    assert challenger_of(log(steps[1].__class__(2, (), (), (), None, 0.5, 0.5))) is None


def test_a_registry_that_cannot_be_used_is_a_warning():
    with pytest.warns(TrackingWarning, match="the persona is not registered") as caught:
        assert register(FIRST, tracking_uri="http://127.0.0.1:9") is None
    assert [one.filename for one in caught] == [__file__]


def test_an_alignment_is_tracked_even_where_prompts_are_refused(
    uri: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no registry here")

    monkeypatch.setattr("personaagent.tracking.prompts.publish", refuse)
    with pytest.warns(TrackingWarning, match="not registered as prompts.*no registry here"):
        assert track(log(), tracking_uri=uri)


@given(st.text(alphabet=st.sampled_from("{}%# ax'\"\\\r\n-_é"), max_size=20))
@example("{{{%raw%}{%endraw%}\r\n{#\n")
@example("{% if x %}{{ x }}{% endif %}")
@example("{{ one }} and {two} and {{{three}}}")
@example("{%{\r")
def test_any_text_comes_back_as_it_was(text: str):
    from mlflow.entities.model_registry import PromptVersion

    assert PromptVersion("name", 1, template(text)).format() == text


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_names_are_allowed_and_tell_users_and_tasks_apart(a: str, b: str, c: str, d: str):
    from mlflow.prompt.constants import PROMPT_NAME_RULE

    first, second = Persona(a, b), Persona(c, d)  # which takes spaces off their names
    one, other = prompt_name(first), prompt_name(second)
    assert PROMPT_NAME_RULE.match(one)
    assert (one == other) == ((first.user, first.task) == (second.user, second.task))
