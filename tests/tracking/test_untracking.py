"""What MLflow holds of one user goes; what it holds of others stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import pytest
from rulebook import RuleBook, stand_in
from worlds_of_mail import INBOX, READINGS, habitual, remembering

from personaagent.artifacts import Artifact
from personaagent.data import Persona
from personaagent.privacy.untracking import forget
from personaagent.programs import PersonaAgent
from personaagent.tracking import log_agent, register, traced

CANARY = "xyzzycanary"
HERE = "of this test"  # an experiment keeps its files where it was made


@pytest.fixture
def own(tmp_path: Path, client: Any, uri: str) -> str:
    """A copy of the empty database, for this test alone."""
    client.search_experiments()
    (tmp_path / "mlflow.db").write_bytes(Path(uri.removeprefix("sqlite:///")).read_bytes())
    return f"sqlite:///{tmp_path}/mlflow.db"


def holding(place: Path, what: str) -> list[Path]:
    files = [one for one in place.rglob("*") if one.is_file() and one.suffix != ".lock"]
    return [one for one in files if what.encode() in one.read_bytes()]


@pytest.mark.usefixtures("no_warning")
def test_traces_prompts_and_models_of_a_user_go_and_those_of_others_stay(
    tmp_path: Path, own: str
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(own)
    before = {one.name for one in client.search_prompts()}
    personas = [Persona(user, "inbox", f"{user} likes {CANARY}.") for user in ("olga", "pete")]
    for persona in personas:
        register(persona, tracking_uri=own)
    log_agent(INBOX, [Artifact.of(one) for one in personas], tracking_uri=own, experiment=HERE)
    log_agent(INBOX, [Artifact.of(personas[1])], tracking_uri=own, experiment=HERE, name="petes")
    with remembering(tmp_path / "memory", *habitual()) as memory:
        agent = PersonaAgent(INBOX, memory)
        lm = stand_in(RuleBook(INBOX, READINGS))
        with dspy.context(lm=lm), traced(agent, tracking_uri=own, experiment=HERE):
            for user in ("olga", "pete"):
                agent(query=f"{user} writes of the dog {CANARY}", user=user)

    assert forget("olga", tracking_uri=own) == 4  # a run with its model, a trace, a prompt
    assert forget("olga", tracking_uri=own) == 0
    assert holding(tmp_path, f"olga likes {CANARY}") == []
    assert holding(tmp_path, f"olga writes of the dog {CANARY}") == []
    assert holding(tmp_path / "mlartifacts", f"pete likes {CANARY}")
    assert {one.name for one in client.search_prompts()} - before == {"persona.inbox.pete"}
    groups = [one.experiment_id for one in client.search_experiments()]
    traces = client.search_traces(locations=groups, max_results=500)
    asked = [repr(one.data.spans[0].inputs) for one in traces if one.data.spans]
    assert [one for one in asked if CANARY in one and "pete" in one]
    assert not [one for one in asked if "olga" in one]
