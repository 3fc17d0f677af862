"""Traces of answers: the right spans, the right share, and an agent that is left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from rulebook import RuleBook, calls, stand_in
from worlds_of_mail import INBOX, READINGS, book, habitual, remembering

from personaagent.data import Directive, Persona
from personaagent.errors import DataError, LMError
from personaagent.optimizers import PersonaAlignment
from personaagent.programs import PersonaAgent
from personaagent.tracking import TrackingWarning, traced, track
from personaagent.tracking.connection import current

Traces = Callable[[], list[Any]]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[PersonaAgent]:
    persona = Persona("ann", "inbox", directives=(Directive("Dogs travel."),))
    with remembering(tmp_path, *habitual()) as memory:
        yield PersonaAgent(INBOX, memory, persona=persona)


@pytest.fixture
def recalling() -> RuleBook:
    return RuleBook(INBOX, READINGS, says={"actions": calls(("recall", {"query": "dog", "k": 2}))})


@pytest.fixture
def traces(uri: str, client: Any) -> Traces:
    """What was traced since this test began, the latest first."""
    before: set[str] = set()

    def found() -> list[Any]:
        groups = [one.experiment_id for one in client.search_experiments()]
        return [
            one for one in client.search_traces(locations=groups) if one.info.trace_id not in before
        ]

    before |= {one.info.trace_id for one in found()}
    return found


def ask(agent: PersonaAgent, **options: Any) -> Any:
    return agent(query="dinner with the dog", user="ann", **options)


@pytest.mark.usefixtures("no_warning")
def test_a_trace_has_spans_for_retrieval_choice_tools_and_answer(
    agent: PersonaAgent, recalling: RuleBook, uri: str, traces: Traces
):
    with dspy.context(lm=stand_in(recalling)), traced(agent, tracking_uri=uri):
        said = ask(agent)
    (trace,) = traces()
    spans = {span.name: span for span in trace.data.spans}
    assert {name: span.span_type for name, span in spans.items()} == {
        "answer as the user": "AGENT",
        "choose actions": "CHAIN",
        "tool recall": "TOOL",
        "retrieve memories": "RETRIEVER",
        "answer": "CHAIN",
    }
    root = spans["answer as the user"]
    assert root.parent_id is None
    assert root.inputs == {"query": "dinner with the dog", "user": "ann", "task": "inbox"}
    assert root.outputs["answer"] == said.answer
    assert root.outputs["persona"] == agent.persona.value.hash
    assert spans["choose actions"].inputs["tools"] == ["recall", "habits"]
    assert spans["choose actions"].outputs == [
        {"tool": "recall", "arguments": {"query": "dog", "k": 2}}
    ]
    assert spans["tool recall"].parent_id == root.span_id
    retrieval = spans["retrieve memories"]
    assert retrieval.parent_id == spans["tool recall"].span_id
    assert retrieval.inputs == {"text": "dog", "k": 2}
    assert [one["id"] for one in retrieval.outputs] == [one.interaction.id for one in said.memories]
    assert spans["answer"].outputs["distribution"] == pytest.approx(said.lm)


@pytest.mark.usefixtures("no_warning")
def test_tools_side_by_side_are_in_the_same_trace(agent: PersonaAgent, uri: str, traces: Traces):
    two = calls(("recall", {"query": "dog", "k": 1}), ("habits", {}))
    lm = stand_in(RuleBook(INBOX, READINGS, says={"actions": two}))
    with dspy.context(lm=lm), traced(agent, tracking_uri=uri):
        ask(agent)
    (trace,) = traces()
    assert {"tool recall", "tool habits"} <= {span.name for span in trace.data.spans}


@pytest.mark.usefixtures("no_warning")
def test_a_share_of_the_queries_is_traced(
    agent: PersonaAgent, uri: str, traces: Traces, monkeypatch: pytest.MonkeyPatch
):
    drawn = iter([0.05, 0.2, 0.09, 0.5])
    monkeypatch.setattr("random.random", lambda: next(drawn))
    with dspy.context(lm=stand_in(book())), traced(agent, rate=0.1, tracking_uri=uri):
        for _ in range(4):
            ask(agent)
    assert len(traces()) == 2


@pytest.mark.usefixtures("no_warning")
def test_only_the_agent_and_only_inside_the_block(agent: PersonaAgent, uri: str, traces: Traces):
    other = PersonaAgent(INBOX, agent.memory)
    with dspy.context(lm=stand_in(book())):
        with traced(agent, tracking_uri=uri):
            ask(other)
            dspy.Tool(lambda: "x", name="alone")()
        ask(agent)
    assert traces() == []


@pytest.mark.usefixtures("no_warning")
def test_a_failure_is_raised_and_traced_as_one(agent: PersonaAgent, uri: str, traces: Traces):
    with (
        dspy.context(lm=stand_in(book(dies_after=1))),
        traced(agent, tracking_uri=uri),
        pytest.raises(LMError, match="the LM is gone"),
    ):
        ask(agent)
    (trace,) = traces()
    assert trace.info.status.value == "ERROR"
    assert {span.name: span.status.status_code.value for span in trace.data.spans}["answer"] == (
        "ERROR"
    )


def test_a_server_that_is_down_leaves_the_agent_untraced(agent: PersonaAgent):
    def work() -> Any:
        with traced(agent, tracking_uri="http://127.0.0.1:9") as same:
            assert same is agent
            return ask(agent)

    with (
        dspy.context(lm=stand_in(book())),
        pytest.warns(TrackingWarning, match="answers are not traced") as caught,
    ):
        said = work()
    assert said.answer in INBOX.labels
    assert [one.filename for one in caught] == [__file__]


def test_mlflows_own_settings_are_as_before(
    agent: PersonaAgent, uri: str, monkeypatch: pytest.MonkeyPatch
):
    import os

    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    with traced(agent, tracking_uri=uri):
        assert mlflow.get_tracking_uri() == uri
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///elsewhere.db"
    assert mlflow.get_tracking_uri() == "sqlite:///elsewhere.db"


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_is_a_share(agent: PersonaAgent, rate: float):
    with pytest.raises(DataError, match="give a share from 0 to 1"), traced(agent, rate=rate):
        pass


@pytest.fixture
def autolog(uri: str) -> Iterator[None]:
    import mlflow

    callbacks, usage = dspy.settings.callbacks, dspy.settings.track_usage
    with current(uri):
        mlflow.dspy.autolog(log_compiles=True, silent=True)
        yield
        mlflow.dspy.autolog(disable=True, silent=True)
    dspy.configure(callbacks=callbacks, track_usage=usage)


@pytest.mark.usefixtures("no_warning", "autolog")
def test_beside_autolog_there_is_one_trace_with_both(
    agent: PersonaAgent, recalling: RuleBook, uri: str, traces: Traces
):
    with dspy.context(lm=stand_in(recalling)), traced(agent, tracking_uri=uri):
        ask(agent)
        ask(agent)
    found = traces()
    assert len(found) == 2
    steps = {
        span.attributes["personaagent.step"]: span.span_type
        for span in found[0].data.spans
        if "personaagent.step" in span.attributes
    }
    assert steps == {
        "answer as the user": "AGENT",
        "choose actions": "CHAIN",
        "tool recall": "TOOL",
        "retrieve memories": "RETRIEVER",
        "answer": "CHAIN",
    }
    names = [span.name for span in found[0].data.spans]
    assert "Predict.forward" in names  # what autolog adds
    assert names.count("PersonaAgent.forward") == 1


@pytest.mark.usefixtures("no_warning", "autolog")
def test_an_alignment_is_tracked_by_autolog_and_by_us(agent: PersonaAgent, uri: str, client: Any):
    def runs() -> int:
        groups = [one.experiment_id for one in client.search_experiments()]
        return len(client.search_runs(groups))

    before = runs()
    with dspy.context(lm=stand_in(book())):
        aligned = PersonaAlignment(iterations=1).compile(agent, trainset=habitual())
    assert runs() == before + 1  # autolog's
    ours = track(aligned.alignment, tracking_uri=uri)
    assert runs() == before + 2
    assert client.get_run(ours).data.params["task"] == "inbox"


def test_without_tracing_mlflow_is_not_imported():
    code = (
        "import sys; from personaagent.programs import PersonaAgent; "
        "import personaagent.tracking; assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
