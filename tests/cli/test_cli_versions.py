"""`diff`, `blame`, `compile --accept evidence`, and what happens when versions meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cli_world import CAR, rows, write
from typer.testing import CliRunner

from personaagent.cli.app import app
from personaagent.data import Directive, Interaction, Persona
from personaagent.memory import Store
from personaagent.optimizers import Contests
from personaagent.service import Trainer

# Cues from the hardest interactions: what these tests are about is what becomes of them.
CUES = ("--sampler", "hard", "--update", "edits")
COMPILE = ("compile", "--user", "amira", "--replay", "6", "--no-track", *CUES)
RULE = "If the message mentions car, answer money."


@pytest.fixture
def database(imported):
    return imported.with_name("memory.db")


def publish(database, *personas, user="amira"):
    """Each on top of the one before."""
    with Store(database) as store:
        memory = store.of(user)
        for at, persona in enumerate(personas):
            champion = memory.persona("inbox")
            memory.publish(
                persona, expected=champion.hash if champion else None, reason=f"reason {at}"
            )


def chain(*directives):
    made = [Persona("amira", "inbox", "P.", directives[0], actions=())]
    for one in directives[1:]:
        made.append(made[-1].succeed(directives=one))
    return made


def interaction(n, response, word="car", **options):
    time = datetime.now(UTC) + timedelta(minutes=n)
    return Interaction(
        f"new-{n}", "amira", "inbox", f"the {word} again {n}", response, time, **options
    )


# Diff

WIDE = Directive(RULE, "car", 0.2, ("amira-1",))
NARROW = Directive(RULE, "car", 0.3, ("amira-1", "amira-3"))
OTHER = Directive("If the message mentions ferry, answer family.", "ferry", 0.2)


def test_diff_tells_the_edits_between_any_two_versions(told, database):
    publish(database, *chain((WIDE,), (NARROW, OTHER), (OTHER,)))
    said = told("diff", "--user", "amira", "--from", 0, "--to", 1)
    assert [(one["edit"], one["cue"]) for one in said["edits"]] == [
        ("revise", "car"),
        ("add", "ferry"),
    ]
    assert said["edits"][0]["from"] == {"reach": 0.2, "support": 1, "oppose": 0}
    assert said["edits"][0]["to"] == {"reach": 0.3, "support": 2, "oppose": 0}
    assert (said["from"], said["to"]) == (0, 1)
    last = told("diff", "--user", "amira")
    assert (last["from"], last["to"]) == (1, 2)
    assert [(one["edit"], one["cue"]) for one in last["edits"]] == [("drop", "car")]
    back = told("diff", "--user", "amira", "--from", 2, "--to", 0)
    assert [(one["edit"], one["cue"]) for one in back["edits"]] == [
        ("drop", "ferry"),
        ("add", "car"),
    ]


def test_diff_of_the_first_version_is_all_of_it(run, told, database):
    publish(database, *chain((WIDE,)))
    said = told("diff", "--user", "amira")
    assert (said["from"], said["to"]) == (None, 0)
    assert {"sign": "+", "text": f"- {RULE}"} in said["lines"]
    assert "from no persona to version 0" in run("diff", "--user", "amira").stdout


def test_diff_shows_a_revision_that_no_line_shows(run, database):
    publish(database, *chain((WIDE,), (NARROW,)))
    assert f"~ {RULE} reach 0.2 to 0.3, support 1 to 2" in run("diff", "--user", "amira").stdout


def test_diff_of_an_unknown_version_says_which_there_are(run, database):
    publish(database, *chain((WIDE,)))
    said = run("diff", "--user", "amira", "--to", 3, ok=False).stderr
    assert "there is no version 3: there are 0 to 0" in said


# Blame


def test_blame_leads_from_a_directive_to_interactions_and_gradients(run, told, imported):
    compiled = told(*COMPILE)
    (rule,) = told("blame", "--user", "amira")["directives"]
    assert rule["text"] == compiled["log"]["last"]["directives"][0]["text"]
    assert {one["response"] for one in rule["support"]} == {"money"}
    assert rule["since"]["hash"] == compiled["hash"]
    assert rule["since"]["reason"] == compiled["reason"]
    in_log = [
        one["interaction"]
        for step in compiled["log"]["steps"]
        if step["accepted"] is not None
        for one in step["gradients"]
    ]
    assert [one["interaction"] for one in rule["gradients"] if one["accepted"]] == in_log != []
    assert all(one["named"] and one["text"] == "car" for one in rule["gradients"])
    shown = run("blame", "--user", "amira").stdout
    assert f"since version 0 ({compiled['hash'][:8]})" in shown
    assert f"* gradient of {in_log[0]} (said travel, the user money): car" in shown


def test_blame_finds_the_version_that_brought_a_directive_back(told, database):
    publish(database, *chain((WIDE,), (OTHER,), (NARROW,), (NARROW, OTHER)))
    first, second = told("blame", "--user", "amira")["directives"]
    assert (first["since"]["version"], second["since"]["version"]) == (2, 3)
    (old,) = told("blame", "--user", "amira", "--version", 0)["directives"]
    assert (old["since"]["version"], old["gradients"]) == (0, [])


def test_blame_says_when_nothing_is_known_of_the_gradients(run, database):
    publish(database, *chain((WIDE,), ()))
    assert "no gradients are kept" in run("blame", "--user", "amira", "--version", 0).stdout
    assert "has no items and no directives" in run("blame", "--user", "amira").stdout


# Acceptance by evidence


def test_compile_by_evidence_waits_for_it_and_then_learns_from_what_comes(run, told, imported):
    (few := [*COMPILE])[4] = "4"  # too few of the judges have a car in them
    said = told(*few, "--accept", "evidence")
    assert said["log"]["settings"]["acceptance"] == "AcceptOnEvidence"
    first = [one["reason"] for step in said["log"]["steps"] for one in step["candidates"]]
    assert any("of the 5 needed" in reason for reason in first)
    assert told("show", "--user", "amira")["directives"] == []

    more = [
        row
        | {"id": f"later-{row['id']}", "time": f"2026-04-{at + 1:02}T12:00:00Z"}
        | {"query": f"{row['query']} once more"}
        for at, row in enumerate(rows())
    ]
    run("import", write(imported.with_name("more.jsonl"), more))
    said = told(*few, "--accept", "evidence")
    assert [one["cue"] for one in said["log"]["last"]["directives"]] == ["car"]
    assert said["log"]["steps"][0]["iteration"] == 0  # what was undecided before
    assert "answers that it changed so far" in said["log"]["steps"][0]["candidates"][0]["reason"]


def test_where_the_edits_of_others_failed_more_evidence_is_needed(told, database):
    def evidence(database):
        log = told(*COMPILE, "--accept", "evidence", "--db", database)["log"]
        return float(log["steps"][0]["candidates"][0]["reason"].split()[1])

    wary = database.with_name("wary.db")
    wary.write_bytes(database.read_bytes())
    bela = Persona("bela", "inbox")
    with Store(wary) as store:
        failed = {str(n): -1.0 for n in range(20)}
        contests = Contests.of(store.of("bela"), "inbox")
        contests.add(bela, bela.succeed(directives=(OTHER,)), failed, kind="add")
    assert 1 < evidence(wary) < evidence(database)


def test_compile_serves_no_persona_rather_than_one_that_does_worse(
    run, told, imported, monkeypatch
):
    monkeypatch.setattr("cli_world.Engine.answers", {"past answers show": f"This user {CAR}."})
    usual = [row | {"user": "uma", "response": "travel"} for row in rows()]
    run("import", write(imported.with_name("usual.jsonl"), usual))
    shown = run("compile", "--user", "uma", "--no-track", *CUES).stdout
    assert "starts without a profile: accepted, loss 0.105, score 100%" in shown
    assert "published version 0" in shown
    (version,) = told("history", "--user", "uma")["versions"]
    assert version["reason"].startswith("answers without a persona: no persona saves")
    assert told("show", "--user", "uma")["profile"] == ""
    assert told("ask", "the car is old", "--user", "uma")["answer"] == "travel"


# Automatic rollback


def test_compile_rolls_back_a_champion_that_newer_interactions_turn_against(run, told, database):
    publish(database, *chain((NARROW,), (OTHER,)))
    with Store(database) as store:
        store.add([interaction(n, "money") for n in range(5)])
    said = told(*COMPILE)
    assert said["watched"]["rolled_back"]
    versions = told("history", "--user", "amira")["versions"]
    assert versions[2]["parent"] == versions[1]["hash"]
    assert versions[2]["reason"].startswith("rolled back to version 0: evidence")
    assert "on what came after version 1" in versions[2]["reason"]
    assert CAR in told("show", "--user", "amira")["system"]
    assert told("ask", "the car is old", "--user", "amira")["answer"] == "money"


def test_a_champion_that_holds_stays(told, database):
    publish(database, *chain((), (NARROW,)))
    with Store(database) as store:
        store.add([interaction(n, "money") for n in range(5)])
    said = told(*COMPILE)
    assert said["watched"]["rolled_back"] is False
    assert "better on 0 of 5" in said["watched"]["reason"]


def test_the_papers_arm_is_not_watched(told, database):
    publish(database, *chain((NARROW,), (OTHER,)))
    with Store(database) as store:
        store.add([interaction(n, "money") for n in range(5)])
    assert told(*COMPILE, "--accept", "always")["watched"] is None


# Two writers


def test_after_a_conflict_the_same_command_builds_on_the_other_writer(
    run, told, database, monkeypatch
):
    aligned = Trainer.align
    with monkeypatch.context() as patched:

        def meanwhile(*arguments, **options):
            found = aligned(*arguments, **options)
            publish(database, *chain((replace(OTHER, reach=0.9),)))  # no answer speaks against it
            return found

        patched.setattr(Trainer, "align", meanwhile)
        result = CliRunner().invoke(app, COMPILE)
        assert result.exit_code == 1
        assert "read it and try again" in result.stderr
    assert len(told("history", "--user", "amira")["versions"]) == 1
    said = told(*COMPILE)
    assert said["version"] == 1
    assert {one["cue"] for one in told("show", "--user", "amira")["directives"]} == {
        "car",
        "ferry",
    }
