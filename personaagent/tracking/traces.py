"""Traces of answers in MLflow: one a query, with spans for what the agent did.

The agent knows nothing of it: the spans hang on DSPy's callbacks. Where `mlflow.dspy.autolog` is
on, it makes a span of every module already, and those that matter are only given their names here,
so that there are no two of each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from personaagent.errors import DataError
from personaagent.tracking import connection

if TYPE_CHECKING:
    import dspy

    from personaagent.memory import Memory
    from personaagent.programs import PersonaAgent


@contextmanager
def traced(
    agent: PersonaAgent,
    *,
    rate: float = 1.0,
    experiment: str = connection.EXPERIMENT,
    tracking_uri: str | None = None,
) -> Iterator[PersonaAgent]:
    """The agent, with traces of what it is asked inside the block.

    A trace holds the query, the answer and the memories, as the user wrote them. Where MLflow
    cannot be used, a `TrackingWarning` says so and the agent works untraced.

    Args:
        rate: the share of queries that are traced, in [0, 1]; drawn at random.
        experiment: MLflow's name for the group of traces.
        tracking_uri: as for `track`.

    Raises:
        DataError: a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise DataError(f"rate is {rate}: give a share from 0 to 1")
    import dspy

    uri = connection.address(tracking_uri)
    try:
        client = connection.connect(uri)
        group = connection.experiment_of(client, uri, experiment)
    except Exception as error:  # MLflow, its databases and its servers raise anything
        connection.warn(uri, error, "answers are not traced", level=3)
        yield agent
        return
    import mlflow

    callbacks = [*dspy.settings.callbacks, _callback(agent, rate, group)]
    with connection.current(uri), dspy.context(callbacks=callbacks):
        try:
            yield agent
        finally:
            mlflow.flush_trace_async_logging()


def _callback(agent: PersonaAgent, rate: float, group: str) -> dspy.utils.BaseCallback:
    """The callback; its class is made when DSPy and MLflow are needed anyway."""
    import dspy
    import mlflow
    from mlflow.dspy.callback import MlflowCallback
    from mlflow.entities.trace_location import MlflowExperimentLocation

    autologged = any(isinstance(one, MlflowCallback) for one in dspy.settings.callbacks)
    named = {
        id(agent): ("answer as the user", "AGENT", _asked, _said),
        id(agent.retrieve): ("retrieve memories", "RETRIEVER", _searched, _documents),
        id(agent.choose): ("choose actions", "CHAIN", _offered, _chosen),
        id(agent.answer): ("answer", "CHAIN", _plain, _distributed),
    }
    # The call of the agent that is traced here, if any; threads that it starts inherit it.
    inside: ContextVar[str] = ContextVar("personaagent_traced", default="")

    class Spans(dspy.utils.BaseCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.open: dict[str, tuple[AbstractContextManager[Any], Any, Any]] = {}

        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            if id(instance) not in named:
                return
            name, kind, read, write = named[id(instance)]
            given = {**inputs, **inputs.get("kwargs", {})}
            if instance is agent:
                inside.set(call_id if random.random() < rate else "")
            if inside.get():
                root = instance is agent
                self.start(call_id, name, kind, lambda: read(given, instance), write, root)

        def on_module_end(
            self, call_id: str, outputs: Any, exception: BaseException | None = None
        ) -> None:
            self.end(call_id, outputs, exception)
            if inside.get() == call_id:
                inside.set("")

        def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            if inside.get():
                given = inputs.get("kwargs", {})
                self.start(call_id, f"tool {instance.name}", "TOOL", lambda: given, _observed)

        def on_tool_end(
            self, call_id: str, outputs: Any, exception: BaseException | None = None
        ) -> None:
            self.end(call_id, outputs, exception)

        def start(
            self, call_id: str, name: str, kind: str, inputs: Any, write: Any, root: bool = False
        ) -> None:
            if autologged:
                if span := mlflow.get_current_active_span():
                    span.set_span_type(kind)
                    span.set_attribute("personaagent.step", name)
                return
            where = MlflowExperimentLocation(group) if root else None
            manager = mlflow.start_span(name, span_type=kind, trace_destination=where)
            span = manager.__enter__()
            span.set_inputs(inputs())
            self.open[call_id] = manager, span, write

        def end(self, call_id: str, outputs: Any, exception: BaseException | None) -> None:
            if call_id not in self.open:
                return
            manager, span, write = self.open.pop(call_id)
            if exception is None:
                span.set_outputs(write(outputs))
                manager.__exit__(None, None, None)
                return
            try:
                manager.__exit__(type(exception), exception, exception.__traceback__)
            except BaseException as raised:  # the manager raises what it was told of
                if raised is not exception:
                    raise

    return Spans()


def _asked(given: dict[str, Any], agent: PersonaAgent) -> dict[str, Any]:
    return {"query": given.get("query"), "user": given.get("user"), "task": agent.task.name}


def _said(said: dspy.Prediction) -> dict[str, Any]:
    return {
        "answer": said.answer,
        "distribution": said.distribution,
        "persona": said.persona,
        "directives": [one.text for one in said.directives],
    }


def _searched(given: dict[str, Any], _: Any) -> dict[str, Any]:
    (situation,) = given.get("args") or (given["situation"],)
    return {"text": given.get("text") or situation.query, "k": given.get("k")}


def _documents(found: dspy.Prediction) -> list[dict[str, Any]]:
    """In the form of MLflow's retriever spans."""
    memories: list[Memory] = found.memories
    return [
        {
            "id": one.interaction.id,
            "page_content": one.interaction.query,
            "metadata": {"response": one.interaction.response, "score": float(one.score)},
        }
        for one in memories
    ]


def _offered(given: dict[str, Any], _: Any) -> dict[str, Any]:
    query, tools = given.get("args") or (given["query"], given["tools"])
    return {"query": query, "tools": [tool.name for tool in tools]}


def _chosen(said: dspy.Prediction) -> list[dict[str, Any]]:
    return [{"tool": one.tool, "arguments": one.arguments} for one in said.actions]


def _plain(given: dict[str, Any], _: Any) -> dict[str, Any]:
    return {name: given.get(name, "") for name in ("query", "evidence", "directive")}


def _distributed(said: dspy.Prediction) -> dict[str, Any]:
    return {"answer": said.answer, "distribution": said.distribution}


def _observed(result: Any) -> Any:
    """What a tool found: a personal one gives a text and the memories behind it."""
    match result:
        case (str(text), tuple()):
            return text
        case _:
            return str(result)
