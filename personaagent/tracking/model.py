"""The agent as an MLflow model: code that is loaded by name, personas as JSON; nothing is pickled.

`mlflow models serve --env-manager local` answers for every user whose persona is in it.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaagent.errors import ArtifactError
from personaagent.files import private_folder
from personaagent.tracking import connection

if TYPE_CHECKING:
    from personaagent.artifacts import Artifact
    from personaagent.data import Persona, Task
    from personaagent.lm import PersonaLM
    from personaagent.programs import PersonaAgent

_CODE = Path(__file__).with_name("served.py")
_SETTINGS = "agent.json"
_PERSONAS = "personas"


def log_agent(
    task: Task,
    personas: Sequence[Artifact],
    *,
    lm: str = "embedded",
    api_base: str | None = None,
    name: str = "personaagent",
    extras: Sequence[str] = (),
    experiment: str = connection.EXPERIMENT,
    tracking_uri: str | None = None,
) -> str:
    """Log the agent with its users' personas to MLflow, in a run of its own.

    Args:
        task: what an answer is.
        personas: one a user.
        lm: what `personaagent.lm.connect` gets where the model is served, unless PERSONAAGENT_LM
            says otherwise there.
        api_base: likewise, and PERSONAAGENT_API_BASE.
        name: of the logged model.
        extras: those of the package that are needed where it is served, such as `postgres`; the
            one of an embedded LM is added.
        experiment: MLflow's name for the group of runs.
        tracking_uri: as for `track`.

    Returns:
        The model's address, which `mlflow models serve -m` takes.

    Raises:
        ArtifactError: the personas are of several tasks or two of one user, or there are none.
        Exception: whatever MLflow raises: unlike tracking this is what was asked for.
    """
    uri = connection.address(tracking_uri)
    with _written(task, personas, lm, api_base) as folder:
        client = connection.connect(uri)
        group = connection.experiment_of(client, uri, experiment)
        users = json.dumps([one.persona.user for one in personas])
        tags = {connection.USERS: users}
        run = client.create_run(group, run_name=f"{name} {task.name}", tags=tags)
        with connection.current(uri):
            import mlflow

            with mlflow.start_run(run.info.run_id):
                logged = mlflow.pyfunc.log_model(
                    name=name, **_parts(folder, _requirement(lm, api_base, extras))
                )
    return str(logged.model_uri)


def save_agent(
    path: str | Path,
    task: Task,
    personas: Sequence[Artifact],
    *,
    lm: str = "embedded",
    api_base: str | None = None,
    extras: Sequence[str] = (),
) -> Path:
    """Write the same model to a folder, which must be new or empty; the folder.

    Raises:
        ArtifactError: see `log_agent`; or there is something in the folder.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ArtifactError(f"{path}: there is something already: give the name of a new folder")
    connection.quieten()
    with _written(task, personas, lm, api_base) as folder:
        import mlflow

        private_folder(path)
        mlflow.pyfunc.save_model(str(path), **_parts(folder, _requirement(lm, api_base, extras)))
    return path


def load_agent(folder: Path) -> tuple[PersonaAgent, dict[str, Persona], PersonaLM]:
    """The agent of a model's files, its personas by user, and its LM.

    The memory is the database that PERSONAAGENT_DB names, else an empty one.

    Raises:
        ArtifactError: a persona was changed.
        StoreError: the database that is named is not there.
        LMError: the LM cannot be had.
    """
    from personaagent import artifacts, memory
    from personaagent.lm import connect
    from personaagent.memory.definitions import task_from
    from personaagent.programs import PersonaAgent

    settings = json.loads((folder / _SETTINGS).read_text("utf-8"))
    found = [artifacts.load(file).persona for file in sorted((folder / _PERSONAS).iterdir())]
    lm = os.environ.get("PERSONAAGENT_LM") or settings["lm"]
    api_base = os.environ.get("PERSONAAGENT_API_BASE") or settings["api_base"]
    named = os.environ.get("PERSONAAGENT_DB")
    store = memory.Store(named, create=False) if named else memory.Store(_nowhere())
    remembered = memory.EpisodicMemory(store, memory.named_embedder())
    agent = PersonaAgent(task_from(settings["task"]), remembered)
    return agent, {one.user: one for one in found}, connect(lm, api_base=api_base)


def _nowhere() -> Path:
    """A database that is gone with the process."""
    folder = tempfile.mkdtemp(prefix="personaagent-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / "memory.db"


@contextmanager
def _written(
    task: Task, personas: Sequence[Artifact], lm: str, api_base: str | None
) -> Iterator[Path]:
    """The model's files in a folder that is gone afterwards."""
    from personaagent import artifacts
    from personaagent.memory.definitions import definition

    users = [one.persona.user for one in personas]
    if strange := {one.persona.task for one in personas} - {task.name}:
        raise ArtifactError(f"a persona is for task '{strange.pop()}', not '{task.name}'")
    if len(set(users)) < max(1, len(users)):
        raise ArtifactError("give one persona for every user, and one at least")
    with tempfile.TemporaryDirectory(prefix="personaagent-") as name:
        folder = Path(name) / "agent"
        for one in personas:
            # Named by hash: MLflow takes no file whose name has a percent sign.
            _, prompt = artifacts.export(folder / _PERSONAS / f"{one.persona.hash}.json", one)
            prompt.unlink()
        settings = {"task": definition(task), "lm": lm, "api_base": api_base}
        (folder / _SETTINGS).write_text(json.dumps(settings, indent=2), "utf-8")
        yield folder


def _requirement(lm: str, api_base: str | None, extras: Sequence[str]) -> str:
    """What pip installs where the model is served."""
    from personaagent.artifacts import package_version

    local = api_base is None and (lm == "embedded" or lm.lower().endswith(".gguf"))
    names = ",".join(sorted({*extras, *(["embedded"] if local else [])}))
    version = package_version()
    pinned = "" if version == "unknown" else f"=={version}"
    return f"personaagent{f'[{names}]' if names else ''}{pinned}"


def _parts(folder: Path, requirement: str) -> dict[str, Any]:
    return {
        "python_model": str(_CODE),
        "artifacts": {"agent": str(folder)},
        # Given, because MLflow would load the LM to find out.
        "pip_requirements": [requirement],
    }
