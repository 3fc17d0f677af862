"""Exported personas: one JSON file that can be verified, and the same text as Markdown.

The JSON holds the persona, the ids of its evidence and where it comes from; never a text of an
interaction. The Markdown is the persona's system prompt and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from personaagent.data import Persona
from personaagent.errors import ArtifactError, DataError
from personaagent.files import file_name, private_file, private_folder

if TYPE_CHECKING:
    import sqlalchemy as sa

    from personaagent.data import Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import Embedder, Journal, UserMemory
    from personaagent.optimizers.log import AlignmentLog
    from personaagent.programs import PersonaAgent

SCHEMA = 1
_ORIGIN = ("lm", "lm_fingerprint", "embedder", "scores")
AGAIN = "export the persona again or restore a backup"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A persona with its origin; `Artifact.of` makes it.

    Attributes:
        persona: what is exported.
        created: when, ISO 8601 in UTC.
        package: the version of PersonaAgent that made it.
        scores: loss and score on replay, of the first and of this persona; empty if not known.
        lm: what `personaagent.lm.connect` was given.
        lm_fingerprint: the weights' SHA-256, or name and address.
        embedder: the fingerprint of the embedding model.
        task: the definition of the persona's task, as `memory.definitions` has it, so that the file
            can be restored where the task is not known.
        schema: the version of the file's form.
    """

    persona: Persona
    created: str
    package: str
    scores: dict[str, float] = field(default_factory=dict, hash=False)
    lm: str | None = None
    lm_fingerprint: str | None = None
    embedder: str | None = None
    task: dict[str, Any] | None = field(default=None, hash=False)
    schema: int = SCHEMA

    @classmethod
    def of(
        cls,
        persona: Persona,
        *,
        log: AlignmentLog | None = None,
        lm: PersonaLM | None = None,
        embedder: Embedder | None = None,
        task: Task | None = None,
    ) -> Self:
        """What `export` writes.

        Args:
            persona: what is exported.
            log: of the alignment that made it: gives the scores.
            lm: the LM that it was made with.
            embedder: the embedding model that it was made with.
            task: the persona's.

        Raises:
            DataError: the log ends with another persona, or the task is another one.
        """
        from personaagent.memory.definitions import definition, is_ours

        if task is not None and task.name != persona.task:
            raise DataError(f"a persona is for task '{persona.task}', not '{task.name}'")
        if log is not None and log.last.hash != persona.hash:
            raise DataError(
                f"persona {persona.hash[:12]} of user '{persona.user}': the log is of persona "
                f"{log.last.hash[:12]}: give the log of its own alignment, or none"
            )
        return cls(
            persona=persona,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            package=package_version(),
            scores={} if log is None else _scores(log),
            lm=lm.spec if lm else None,
            lm_fingerprint=lm.fingerprint if lm else None,
            embedder=embedder.fingerprint if embedder else None,
            task=json.loads(json.dumps(definition(task))) if task and is_ours(task) else None,
        )

    @classmethod
    def known(cls, memory: UserMemory, persona: Persona, task: Task) -> Self:
        """What `export` writes of a published persona: with the LM and the embedding model of the
        latest alignment, or import, that led to it, where that is known."""
        made = _made(memory, task.name).entries()
        chain = [entry.hash for entry in memory.history(task.name)]
        origins = [made[hash] for hash in chain if hash in made]
        said = {name: value for name, value in (origins or [{}])[-1].items() if name != "scores"}
        scores = made.get(persona.hash, {}).get("scores", {})
        return replace(cls.of(persona, task=task), **said, scores=scores)

    def keep(self, memory: UserMemory, connection: sa.Connection) -> None:
        """Note what the persona was made with, in the transaction that publishes it."""
        said = {name: getattr(self, name) for name in _ORIGIN}
        _made(memory, self.persona.task).write(connection, self.persona.hash, said)

    @property
    def defined(self) -> Task | None:
        """The persona's task, None where the file does not describe it."""
        from personaagent.memory.definitions import task_from

        return None if self.task is None else task_from(self.task)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The ids of all interactions that speak for or against an item or a directive, sorted."""
        return tuple(sorted(self.persona.cited))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data with everything that the file holds, the checksum included."""
        data: dict[str, Any] = asdict(self) | {"persona": self.persona.to_dict()}
        data = json.loads(json.dumps(data))
        data |= {
            "persona": self.persona.to_dict(),
            "hash": self.persona.hash,
            "parent": self.persona.parent,
            "evidence": list(self.evidence),
        }
        return data | {"checksum": _checksum(data)}


def export(path: str | Path, artifact: Artifact) -> tuple[Path, Path]:
    """Write the JSON file and the Markdown beside it; the paths of both.

    The whole Markdown works as a plain `system` message. Existing files are replaced, each at once;
    only their owner may read them.

    Args:
        path: a file that ends in `.json`; anything else is a folder, in which the file is named by
            user, task and version.
        artifact: what is written.

    Raises:
        ArtifactError: a file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".json":
        target /= name_of(artifact.persona)
    data = json.dumps(artifact.to_dict(), sort_keys=True, ensure_ascii=False, indent=2)
    prompt = target.with_suffix(".md")
    try:
        private_folder(target.parent)
        replace_file(prompt, artifact.persona.render() + "\n")
        replace_file(target, data + "\n")
    except OSError as error:
        raise _unwritable(target, error) from error
    return target, prompt


def save_program(path: str | Path, program: PersonaAgent) -> Path:
    """Write the state of a program, its persona among it, for `program.load`; JSON, no pickle.

    Only its owner may read the file.

    Raises:
        ArtifactError: the file cannot be written.
    """
    target = Path(path)
    try:
        private_folder(target.parent)
        private_file(target)
        program.save(str(target))
    except OSError as error:
        raise _unwritable(target, error) from error
    return target


def load(path: str | Path) -> Artifact:
    """Read and verify an exported JSON file; the Markdown is not looked at.

    Raises:
        ArtifactError: the file is missing, truncated, changed or of a newer schema.
    """
    data = _read(Path(path))
    schema = data.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise ArtifactError(
            f"{path}: its schema is {schema}, newer than {SCHEMA}, the newest one known here: "
            "upgrade with 'pip install --upgrade personaagent'"
        )
    artifact = _validated(path, data)
    for name in ("checksum", "hash", "parent", "evidence"):
        if name not in data:
            raise ArtifactError(f"{path}: field '{name}' is missing: {AGAIN}")
    if data.pop("checksum") != _checksum(data):
        raise ArtifactError(f"{path}: the checksum is wrong, so it was changed: {AGAIN}")
    if data["hash"] != artifact.persona.hash:
        raise ArtifactError(
            f"{path}: the persona is not the one that was exported (its hash differs): {AGAIN}"
        )
    return artifact


def restore(memory: UserMemory, artifact: Artifact, *, source: str | Path) -> Persona:
    """Publish an exported persona as the champion of `memory`'s user, whatever its user was called.

    It continues the chain that there is, or begins one. If the champion says the same already,
    nothing changes. Evidence ids that this memory does not know are kept.

    Args:
        memory: `store.of(user)`.
        artifact: what `load` read.
        source: the file; its name is kept in the history.

    Returns:
        The champion.

    Raises:
        ConflictError: somebody published in between, or it rests on erased interactions;
            nothing was changed.
    """
    given = artifact.persona
    memory.refuse_erased(given)
    place = ("user", "task", "version", "parent")
    said: dict[str, Any] = {
        one.name: getattr(given, one.name) for one in fields(Persona) if one.name not in place
    }
    champion = memory.persona(given.task)
    if champion and all(getattr(champion, name) == value for name, value in said.items()):
        return champion
    restored = champion.succeed(**said) if champion else Persona(memory.user, given.task, **said)
    expected = champion.hash if champion else None
    memory.publish(
        restored,
        expected=expected,
        reason=f"imported from {Path(source).name}",
        then=partial(replace(artifact, persona=restored).keep, memory),
    )
    return restored


def _made(memory: UserMemory, task: str) -> Journal:
    """What each persona was made with, by its hash."""
    return memory.journal(f"made/{task}")


def _unwritable(path: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"{path}: cannot be written ({error.strerror or error}): give a folder that you may write "
        "to, or a shorter name that ends in .json"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: there is no such file: check the path") from error
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror or error}): give the exported .json file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path}: not JSON or truncated ({error}): give the exported .json file, or {AGAIN}"
        ) from error
    if not isinstance(data, dict):
        raise ArtifactError(f"{path}: not an exported persona: give the exported .json file")
    return data


def _validated(path: str | Path, data: dict[str, Any]) -> Artifact:
    """The artifact with every field present and of its type."""
    from pydantic import TypeAdapter, ValidationError

    needed = [name for name in Artifact.__dataclass_fields__ if name != "task"]  # it came later
    if missing := [name for name in needed if name not in data]:
        raise ArtifactError(f"{path}: field '{missing[0]}' is missing: {AGAIN}")
    try:
        artifact = TypeAdapter(Artifact).validate_python(data)
    except DataError as error:
        raise ArtifactError(f"{path}: field 'persona': {error}: {AGAIN}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path}: field '{where}': {first['msg']}: {AGAIN}") from error
    try:
        _ = artifact.defined
    except (AssertionError, DataError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: field 'task': no task of ours ({error}): {AGAIN}") from error
    return artifact


def _checksum(data: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON: sorted keys, no spaces, UTF-8; layout does not matter."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _scores(log: AlignmentLog) -> dict[str, float]:
    """The first and last loss and score, where they are numbers."""
    names = ("first_loss", "first_score", "last_loss", "last_score")
    scores = {name: float(getattr(log, name)) for name in names}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def name_of(persona: Persona, form: str = ".json") -> str:
    """What `export` calls the file of a form: user, task and version."""
    return file_name(persona.user, persona.task, suffix=f"-v{persona.version}{form}")


def replace_file(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; only its owner may read it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".personaagent-")
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def package_version() -> str:
    """The installed version of PersonaAgent."""
    try:
        return version("personaagent")
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"
