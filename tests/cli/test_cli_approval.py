"""`edit`, `pin`, `unpin`, `approval`, `waiting`, `approve` and `reject`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from personaagent.memory import Store
from personaagent.memory.tasks import load_tasks

COMPILE = ("compile", "--user", "amira", "--replay", "6", "--no-track")
AMIRA = ("--user", "amira")


def test_edit_publishes_what_a_person_wrote_and_show_says_who(run, told, imported):
    said = told("edit", *AMIRA, "--add", "Answer in British English.", "--by", "Bela")
    assert (said["changed"], said["version"]) == (True, 0)
    assert said["persona"]["directives"][0]["author"] == "Bela"
    told("edit", *AMIRA, "--profile", "Runs a bakery.", "--no-pin")
    shown = run("show", *AMIRA).stdout
    assert "1. Answer in British English.  by Bela  pinned" in shown
    assert "Runs a bakery.  by amira" in shown
    assert shown.count("pinned") == 1
    assert (
        "published version 2" in run("edit", *AMIRA, "--directive", 1, "--text", "Be brief.").stdout
    )
    assert "says so already" in run("edit", *AMIRA, "--directive", 1, "--text", "Be brief.").stdout
    assert told("edit", *AMIRA, "--drop", 1)["persona"]["directives"] == []


def test_items_are_added_corrected_and_dropped_by_the_numbers_that_show_gives(run, told, imported):
    told("edit", *AMIRA, "--add-item", "eats no nuts", "--kind", "need", "--topic", "food")
    told("edit", *AMIRA, "--add-item", "lives in Oslo", "--by", "Bela")
    shown = run("show", *AMIRA).stdout
    assert "1. eats no nuts (need)  by amira" in shown
    assert "2. lives in Oslo (fact)  by Bela" in shown
    said = told("edit", *AMIRA, "--item", 2, "--text", "lives in Bergen")["persona"]["items"]
    assert [one["text"] for one in said] == ["eats no nuts", "lives in Bergen"]
    assert "2. lives in Bergen" in run("blame", *AMIRA).stdout
    left = told("edit", *AMIRA, "--drop-item", 1)["persona"]["items"]
    assert [one["text"] for one in left] == ["lives in Bergen"]


def test_pin_and_unpin_are_versions_and_pins_hold_through_compile(run, told, imported):
    told("edit", *AMIRA, "--add", "File the car under travel.", "--no-pin")
    assert told("pin", *AMIRA, "--directive", 1, "--profile")["persona"]["profile_pinned"]
    told(*COMPILE)
    now = told("show", *AMIRA)
    assert now["profile"] == ""
    assert "File the car under travel." in [one["text"] for one in now["directives"]]
    run("unpin", *AMIRA, "--directive", 1, "--profile")
    assert "pinned" not in str(told("show", *AMIRA)["directives"])


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("edit",), "nothing to edit"),
        (("edit", "--text", "x"), "go together"),
        (("edit", "--directive", "1"), "go together"),
        (("edit", "--directive", "1", "--item", "1", "--text", "x"), "go together"),
        (("edit", "--drop-item", "4"), "no item 4"),
        (("edit", "--add-item", "x", "--kind", "rumour"), "its kind is one of"),
        (("edit", "--add-item", "x", "--no-pin"), "always stays"),
        (("edit", "--drop", "4"), "no directive 4"),
        (("pin",), "give --directive NUMBER, or --profile"),
        (("pin", "--profile"), "has no persona"),
        (("approve",), "waits for approval"),
        (("reject",), "waits for approval"),
    ],
)
def test_what_cannot_be_done_is_said(run, imported, command, problem):
    said = " ".join(run(command[0], *AMIRA, *command[1:], ok=False).stderr.split())
    assert problem.lower() in said.lower()


def test_with_approval_compile_waits_until_it_is_approved(run, told, imported):
    assert "new personas are published at once" in run("approval").stdout
    assert told("approval", *AMIRA, "--on", "--days", 14)["days"] == 14
    assert "of amira wait 14 days" in run("approval", *AMIRA).stdout
    made = told(*COMPILE)
    assert made["held"] == "waiting"
    assert "has no persona" in run("show", *AMIRA, ok=False).stderr
    (one,) = told("waiting")["waiting"]
    assert (one["hash"], one["over"], one["stale"]) == (made["hash"], None, False)
    assert {"sign": "+", "text": "- If the message mentions car, answer money."} in one["lines"]
    assert all(answer["query"] and answer["truth"] for answer in one["answers"])
    shown = run("waiting", *AMIRA).stdout
    assert "If the message mentions car, answer money." in shown
    assert ("becomes" in shown) == bool(one["answers"])
    assert "published version 0" in run("approve", *AMIRA, "--by", "Bela").stdout
    assert told("history", *AMIRA)["versions"][0]["reason"].startswith("approved by Bela: aligned")
    assert run("waiting").stdout.strip() == "nothing waits for approval"


def test_a_rejected_persona_is_gone_and_compile_says_why_it_is_not_proposed(run, told, imported):
    run("approval", "--on")
    assert "waits for approval: " in run(*COMPILE).stdout
    assert "rejected version 0" in run("reject", *AMIRA).stdout
    assert "not proposed: rejected before" in run(*COMPILE).stdout
    assert told("waiting", *AMIRA)["waiting"] == []
    run("approval", "--off")
    assert "published version 0" in run(*COMPILE).stdout


DOCUMENT = (Path(__file__).parents[2] / "docs" / "approval.md").read_text()


def test_the_commands_and_the_program_about_approval_run(run, imported):
    for command in re.findall(r"^personaagent (.+)$", DOCUMENT, re.M):
        quick = ("--replay", "6", "--no-track") if command.startswith("compile") else ()
        run(*shlex.split(command), *quick)
    with Store(imported.with_name("memory.db")) as store:
        names = {"store": store, "task": load_tasks(store)["inbox"]}
        for program in re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.M | re.S):
            exec(program, names)
        assert [one.text for one in names["now"].directives if one.author == "Amira"]
