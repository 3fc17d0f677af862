"""Exported personas: what is written is read back, and what was changed is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from standins import HashEmbedder

from personaagent import artifacts
from personaagent.artifacts import Artifact, export, load, restore
from personaagent.data import (
    Action,
    Classification,
    Directive,
    FusionWeights,
    Item,
    Persona,
    Rating,
)
from personaagent.errors import ArtifactError, ConflictError, DataError
from personaagent.memory import Store
from personaagent.optimizers.log import AlignmentLog

FIRST = Persona("ann/é", "inbox", profile="Ann drinks Früchtetee.")
PERSONA = FIRST.succeed(
    directives=(
        Directive("Tea is leisure.", cue="tea", reach=0.4, support=("i2", "i1"), oppose=("i3",)),
        Directive("Answer in {{one}} word.", support=("i1",)),
    ),
    trust=FusionWeights(0.5, 0.25),
    actions=(Action("recall", {"query": "tea", "k": 3}),),
    items=(
        Item(
            "preference",
            "prefers Früchtetee",
            "drinks",
            "mornings",
            ("i1", "i4"),
            ("i5",),
            datetime(2024, 6, 1, 12, tzinfo=UTC),
            "health",
        ),
    ),
    role="assistant",
    words=300,
)
LOG = AlignmentLog(
    "ann/é", "inbox", FIRST, PERSONA, 0.9, float("nan"), (), ("i9",), "done", {}, {"calls": 3}
)
LM: Any = SimpleNamespace(spec="embedded", fingerprint="abc123")


@pytest.fixture
def artifact() -> Artifact:
    return Artifact.of(PERSONA, log=LOG, lm=LM, embedder=HashEmbedder())


@pytest.fixture
def exported(tmp_path: Path, artifact: Artifact) -> Path:
    return export(tmp_path / "ann.json", artifact)[0]


@pytest.fixture
def change(exported: Path) -> Callable[..., Path]:
    """Changes fields of the exported file; with `sign` the checksum is made right again."""

    def apply(*, drop: str = "", sign: bool = True, **changes: Any) -> Path:
        data = json.loads(exported.read_text("utf-8")) | changes
        data.pop(drop, None)
        if sign:
            data.pop("checksum", None)
            data["checksum"] = artifacts._checksum(data)
        exported.write_text(json.dumps(data), "utf-8")
        return exported

    return apply


def test_what_was_exported_is_loaded(exported: Path, artifact: Artifact):
    assert load(exported) == artifact
    assert artifact.persona.hash == PERSONA.hash
    assert artifact.evidence == ("i1", "i2", "i3", "i4", "i5")
    assert artifact.scores == {"first_loss": 0.9, "last_loss": 0.9}
    assert (artifact.lm, artifact.lm_fingerprint, artifact.embedder) == (
        "embedded",
        "abc123",
        "hash:32",
    )


def test_the_file_holds_evidence_parent_and_checksum(exported: Path):
    data = json.loads(exported.read_text("utf-8"))
    assert data["schema"] == 1
    assert data["evidence"] == ["i1", "i2", "i3", "i4", "i5"]
    assert data["persona"]["items"][0]["last"] == "2024-06-01T12:00:00+00:00"
    assert (data["hash"], data["parent"]) == (PERSONA.hash, FIRST.hash)
    assert data["created"].endswith("+00:00")
    assert list(data) == sorted(data)


def test_the_markdown_is_the_system_prompt_and_nothing_else(exported: Path):
    text = exported.with_suffix(".md").read_bytes().decode()
    assert text == PERSONA.render() + "\n"
    assert "drinks:\n- prefers Früchtetee (mornings; not always)\n" in text


def test_a_file_without_items_says_nothing_of_them(tmp_path: Path):
    file, _ = export(tmp_path / "first.json", Artifact.of(FIRST))
    assert not {"items", "role", "words"} & json.loads(file.read_text("utf-8"))["persona"].keys()
    assert load(file).persona == FIRST


def test_an_item_that_none_can_be_is_refused_with_its_reason(change: Callable[..., Path]):
    data = PERSONA.to_dict()
    data["items"][0]["kind"] = "opinion"
    with pytest.raises(ArtifactError, match="field 'persona': an item is no 'opinion'"):
        load(change(persona=data))


def test_layout_and_order_do_not_matter(exported: Path, artifact: Artifact):
    data = json.loads(exported.read_text("utf-8"))
    exported.write_text(json.dumps(dict(reversed(data.items()))), "utf-8")
    assert load(exported) == artifact


def test_the_markdown_may_be_edited_or_gone(exported: Path, artifact: Artifact):
    exported.with_suffix(".md").unlink()
    assert load(exported) == artifact


def test_in_a_folder_users_and_tasks_name_files_of_their_own(tmp_path: Path, artifact: Artifact):
    json_file, md_file = export(tmp_path / "new" / "folder", artifact)
    assert (json_file.parent, json_file.name) == (
        tmp_path / "new" / "folder",
        "ann%2Fé-inbox-v1.json",
    )
    assert md_file == json_file.with_suffix(".md")
    named = [replace(PERSONA, user=user, task=task) for user, task in (("a-b", "c"), ("a", "b-c"))]
    files = {export(tmp_path, Artifact.of(one))[0] for one in named}
    assert len(files) == 2
    assert all(file.parent == tmp_path for file in files)


def test_an_export_replaces_the_last_one_and_leaves_nothing_else(exported: Path):
    export(exported, Artifact.of(FIRST))
    assert load(exported).persona == FIRST
    assert sorted(file.name for file in exported.parent.iterdir()) == ["ann.json", "ann.md"]


def test_a_write_that_fails_keeps_what_was_there(
    exported: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtifactError, match=r"ann\.json: cannot be written \(No space left"):
        export(exported, Artifact.of(FIRST))
    monkeypatch.undo()
    assert load(exported) == artifact
    assert sorted(file.name for file in exported.parent.iterdir()) == ["ann.json", "ann.md"]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path, artifact: Artifact):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        export(tmp_path / "taken", artifact)


def test_a_log_of_another_persona_is_refused():
    with pytest.raises(DataError, match="the log is of persona"):
        Artifact.of(FIRST, log=LOG)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"gone\.json: there is no such file: check the path"):
        load(tmp_path / "gone.json")


def test_a_folder_is_not_an_artifact(tmp_path: Path):
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 0.3, 0.9])
def test_a_truncated_file_is_refused(exported: Path, kept: float):
    data = exported.read_bytes()
    exported.write_bytes(data[: int(kept * len(data)) if kept < 1 else 1])
    with pytest.raises(ArtifactError, match=r"ann\.json: not JSON or truncated .*export"):
        load(exported)


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"[" * 200_000])
def test_bytes_that_are_no_json_are_refused(exported: Path, text: bytes):
    exported.write_bytes(text)
    with pytest.raises(ArtifactError, match="not JSON or truncated"):
        load(exported)


@pytest.mark.parametrize("text", ["[]", '"persona"', "null"])
def test_json_that_is_no_artifact_is_refused(exported: Path, text: str):
    exported.write_text(text)
    with pytest.raises(ArtifactError, match="not an exported persona"):
        load(exported)


@pytest.mark.parametrize(
    "name",
    ["schema", "persona", "scores", "lm", "created", "hash", "parent", "evidence", "checksum"],
)
def test_a_missing_field_is_named(change: Callable[..., Path], name: str):
    with pytest.raises(ArtifactError, match=f"field '{name}' is missing"):
        load(change(drop=name, sign=name != "checksum"))


def test_a_changed_value_breaks_the_checksum(change: Callable[..., Path]):
    with pytest.raises(ArtifactError, match=r"the checksum is wrong, so it was changed: export"):
        load(change(sign=False, scores={"last_loss": 0.0}))


@pytest.mark.parametrize(
    "task",
    [{}, {"kind": "poem"}, {"kind": "rating", "labels": "abc"}, {"kind": "text", "labels": []}],
)
def test_a_task_that_is_none_is_refused(change: Callable[..., Path], task: dict[str, Any]):
    with pytest.raises(ArtifactError, match="field 'task': no task of ours"):
        load(change(task=task))


def test_a_file_of_before_tasks_were_in_it_is_read(change: Callable[..., Path]):
    assert load(change(drop="task")).defined is None


def test_the_task_goes_with_the_persona(tmp_path: Path):
    task = Classification("inbox", "Which folder?", labels=("work", "home"), item="m", answer="f")
    path, _ = export(tmp_path / "a.json", Artifact.of(FIRST, task=task))
    assert load(path).defined == task
    with pytest.raises(DataError, match="for task 'inbox', not 'stars'"):
        Artifact.of(FIRST, task=Rating("stars", "How many?"))


def test_a_newer_schema_asks_for_an_upgrade(change: Callable[..., Path]):
    with pytest.raises(ArtifactError, match=r"schema is 2, newer than 1.*pip install --upgrade"):
        load(change(drop="persona", schema=2))


def test_another_persona_under_a_right_checksum_is_refused(change: Callable[..., Path]):
    other = replace(PERSONA, profile="Ann drinks coffee.").to_dict()
    with pytest.raises(ArtifactError, match="its hash differs"):
        load(change(persona=other))


def test_a_value_of_the_wrong_type_is_named(change: Callable[..., Path]):
    broken = PERSONA.to_dict()
    broken["directives"][1]["text"] = 5
    with pytest.raises(ArtifactError, match=r"field 'persona\.directives\.1\.text'"):
        load(change(persona=broken))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(tmp_path / "memory.db") as store:
        yield store


def test_a_user_without_a_persona_begins_a_chain(store: Store, artifact: Artifact):
    mine = store.of("bob")
    restored = restore(mine, artifact, source="folder/ann.json")
    assert mine.persona("inbox") == restored
    assert (restored.user, restored.version, restored.parent) == ("bob", 0, None)
    assert restored.render() == PERSONA.render()
    assert restored.directives == PERSONA.directives
    assert [one.reason for one in mine.history("inbox")] == ["imported from ann.json"]


def test_an_import_continues_the_chain_that_there_is(store: Store, artifact: Artifact):
    mine = store.of("ann/é")
    mine.publish(FIRST, expected=None, reason="profile")
    restored = restore(mine, artifact, source="ann.json")
    assert (restored.version, restored.parent) == (1, FIRST.hash)
    assert (restored.trust, restored.actions) == (PERSONA.trust, PERSONA.actions)
    assert mine.personas("inbox") == [FIRST, restored]


def test_importing_the_champion_again_changes_nothing(store: Store, artifact: Artifact):
    mine = store.of("bob")
    first = restore(mine, artifact, source="ann.json")
    assert restore(mine, artifact, source="again.json") == first
    assert len(mine.history("inbox")) == 1


def test_an_older_persona_can_be_brought_back(store: Store, artifact: Artifact):
    mine = store.of("bob")
    restore(mine, Artifact.of(FIRST), source="old.json")
    restore(mine, artifact, source="new.json")
    back = restore(mine, Artifact.of(FIRST), source="old.json")
    assert (back.version, back.render()) == (2, FIRST.render())


def test_somebody_who_published_in_between_is_not_overwritten(
    store: Store, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
):
    mine = store.of("bob")
    restore(mine, Artifact.of(FIRST), source="old.json")
    champion = mine.persona("inbox")
    assert champion
    mine.publish(champion.succeed(profile="New."), expected=champion.hash, reason="aligned")
    monkeypatch.setattr(type(mine), "persona", lambda self, task: champion)
    with pytest.raises(ConflictError, match="read it and try again"):
        restore(mine, artifact, source="ann.json")
