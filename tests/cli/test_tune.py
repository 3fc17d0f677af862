"""`personaagent tune` from histories to a setting that `compile` takes, with a stand-in LM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import Engine, Run, rows, write

from personaagent.data import LAMP_TASKS

USERS = ("amira", "bela", "cem", "dana", "elif", "farid")


@pytest.fixture
def asked(monkeypatch):
    requests = []
    answer = Engine.complete

    def complete(self, request):
        requests.append(request)
        return answer(self, request)

    monkeypatch.setattr(Engine, "complete", complete)
    return requests


@pytest.fixture
def six(run: Run, tasks: Path, tmp_path: Path) -> None:
    """Six users of 18 interactions, and one who has too few."""
    given = [row for user in USERS for row in rows(user)]
    path = write(tmp_path / "six.jsonl", [*given, *rows("gül", 4)])
    run("import", path, "--tasks", tasks)


def learning(said):
    return {one["number"]: one for one in said["trials"]}


def values(said):
    return sorted((str(one["setting"]), one["loss"], one["cost"]) for one in said["trials"])


@pytest.mark.usefixtures("six")
def test_the_winner_is_a_file_that_compile_takes(run, told, tmp_path):
    said = told("tune", "--trials", 3, "--users", 3)
    winner = said["winner"]["setting"]
    assert json.loads((tmp_path / "tuning" / "setting.json").read_text()) == winner
    compiled = told("compile", "--user", "amira", "--config", "tuning/setting.json", "--no-track")
    settings = compiled["log"]["settings"]
    assert (settings["batch"], settings["iterations"]) == (winner["batch"], winner["iterations"])


@pytest.mark.usefixtures("six")
def test_the_report_holds_the_front_the_slices_and_every_trial(run, tmp_path):
    said = run("tune", "--trials", 6, "--users", 3, "--out", "there").stdout
    assert said.count("trial ") >= 6
    assert "The winner is batch" in said
    page = (tmp_path / "there" / "report.html").read_text()
    twin = (tmp_path / "there" / "report.md").read_text()
    assert page.count("<svg") >= 4
    for name in ("front", "slice-batch", "slice-iterations", "slice-k"):
        assert f"]({name}.svg)" in twin
        assert (tmp_path / "there" / f"{name}.svg").is_file()
    assert "the defaults" in twin


@pytest.mark.usefixtures("six")
def test_the_same_command_asks_nothing_again_and_says_the_same(told, asked):
    first = told("tune", "--trials", 3, "--users", 3)
    spent = len(asked)
    assert told("tune", "--trials", 3, "--users", 3) == first
    assert len(asked) == spent


@pytest.mark.usefixtures("six")
def test_what_one_setting_has_asked_another_does_not_ask_but_pays_for(told, asked):
    said = told("tune", "--trials", 2, "--users", 3)
    paper, ours = (learning(said)[number] for number in (0, 1))
    alone = 3 * (paper["cost"] + ours["cost"]) / 12  # the stand-in counts 12 tokens a call
    assert ours["cost"] > paper["cost"]
    assert len(asked) < alone


@pytest.mark.usefixtures("six")
def test_held_out_interactions_are_seen_by_nothing_that_learns(told, asked, tmp_path):
    told("tune", "--trials", 2, "--users", 6, "--held-out", 4)
    for request in asked:
        said = repr(request)
        later = [n for n in range(14, 18) if f"part {n}" in said or f"sails at {n}" in said]
        assert not later or "Which folder" in said  # only ever as the question itself
        assert len(later) <= 1


@pytest.mark.usefixtures("six")
def test_a_published_persona_has_no_say(told, run):
    first = told("tune", "--trials", 1, "--users", 3, "--out", "one")
    run("compile", "--all", "--no-track")
    second = told("tune", "--trials", 1, "--users", 3, "--out", "two")
    assert first["trials"] == second["trials"]


@pytest.mark.usefixtures("six")
def test_the_winner_is_checked_on_users_that_the_search_did_not_see(told):
    said = told("tune", "--trials", 2, "--users", 3, "--check", 3)
    assert said["checked"]["users"] == 3
    gap = said["checked"]["loss"]
    assert gap["low"] <= gap["value"] <= gap["high"]


@pytest.mark.usefixtures("six")
def test_choices_are_searched_on_request_and_the_base_is_a_file(told, tmp_path):
    (tmp_path / "base.json").write_text('{"replay": 3, "batch": 5}')
    said = told(
        *("tune", "--trials", 2, "--users", 2, "--config", "base.json"),
        *("--search", "update,retriever,profile"),
    )
    paper, base = (learning(said)[number]["setting"] for number in (0, 1))
    assert paper["update"] == "paper"
    assert base["batch"] == 5
    assert set(base) == {"batch", "iterations", "k", "update", "retriever", "profile"}
    assert said["winner"]["setting"]["replay"] == 3


@pytest.mark.usefixtures("six")
def test_a_budget_that_runs_out_keeps_what_was_asked(run, told, asked):
    said = run("tune", "--trials", 2, "--users", 3, "--max-calls", 40, ok=False).stderr
    assert "the same command goes on from there" in said
    assert len(asked) == 40
    again = told("tune", "--trials", 2, "--users", 3)
    spent = len(asked)
    afresh = told("tune", "--trials", 2, "--users", 3, "--out", "afresh")
    assert len(asked) - spent == spent  # nothing was asked twice
    assert values(afresh) == values(again)


@pytest.mark.usefixtures("six")
def test_loss_alone_is_an_objective(told):
    said = told("tune", "--trials", 3, "--users", 6, "--objective", "loss")
    assert said["winner"]["number"] == min(said["trials"], key=lambda one: one["loss"])["number"]


@pytest.fixture
def lamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A questions file of LaMP of three users."""
    monkeypatch.setattr(Engine, "answers", {"Which category": '{"answer": "travel"}'})

    def past(user, n):
        car = n % 2
        text = f"the car {user} number {n}" if car else f"a ferry {user} number {n}"
        return {
            "id": f"{user}{n}",
            "title": text,
            "text": text,
            "category": "business" if car else "travel",
            "date": f"2020-01-{n + 1:02}",
        }

    records = [
        {
            "id": f"{user}0",
            "user_id": user,
            "input": LAMP_TASKS["lamp-2n"].prompt("a ferry"),
            "profile": [past(user, n) for n in range(9)],
        }
        for user in ("11", "12", "13")
    ]
    (tmp_path / "questions.json").write_text(json.dumps(records))


@pytest.mark.usefixtures("lamp")
def test_a_file_of_lamp_is_tuned_on_as_it_is(told):
    said = told("tune", "--task", "lamp-2n", "--questions", "questions.json", "--trials", 1)
    assert said["trials"][0]["loss"] > 0


@pytest.mark.usefixtures("lamp")
@pytest.mark.parametrize("known", ["in memory", "by --results"])
def test_an_interrupted_search_on_files_goes_with_its_user(run, told, tasks, tmp_path, known):
    if known == "in memory":
        run("import", write(tmp_path / "11.jsonl", rows("11")), "--tasks", tasks)
    tune = ("tune", "--task", "lamp-2n", "--questions", "questions.json", "--trials")
    run(*tune, 2, "--max-calls", 20, ok=False)
    assert holding(tmp_path / "tuning", "the car 11") != []
    forget = ("forget", "--user", "11", "--all", "--yes")
    receipt = told(*forget, *(("--results", "tuning") if known == "by --results" else ()))
    assert (receipt["workfiles"], receipt["complete"]) == (1, True)
    assert holding(tmp_path / "tuning", "the car") == []
    run(*tune, 1)
    if known == "in memory":  # and what is done is looked for no more
        run("import", write(tmp_path / "12.jsonl", rows("12")), "--tasks", tasks)
        run(*tune, 1, "--out", "again")
        done = told("forget", "--user", "12", "--all", "--yes")
        assert "files" not in done["beyond"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--search", "tempo"), "'tempo' cannot be searched"),
        (("--questions", "q.json"), "--questions goes with --task"),
        (("--task", "stars"), "there are 0 of them"),
        (("--config", "none.json"), "none.json: cannot be read"),
    ],
)
@pytest.mark.usefixtures("six")
def test_what_is_missing_is_said(run, arguments, problem):
    assert problem in run("tune", *arguments, ok=False).stderr.replace("\n", " ")


@pytest.mark.usefixtures("six")
def test_mlflow_has_a_run_with_a_child_for_every_trial_and_keeps_them_apart(told, tmp_path):
    from mlflow import MlflowClient

    command = ("tune", "--users", 3, "--track")
    parent = told(*command, "--trials", 2)["tracked"]
    assert told(*command, "--trials", 3)["tracked"] == parent
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = client.get_run(parent)
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert len(children) == 3
    assert {one.data.params["iterations"] for one in children} >= {"1", "4"}
    assert all(one.data.metrics["tokens"] > 0 for one in children)
    files = {one.path for one in client.list_artifacts(parent)}
    assert {"report.html", "setting.json", "front.svg"} <= files


@pytest.mark.usefixtures("six")
def test_a_tracking_server_that_is_down_is_said_and_the_search_is_complete(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = run("tune", "--users", 2, "--trials", 1, "--track").stdout
    assert "cannot be used, so this search is not tracked" in said
    assert "The winner is" in said


def holding(folder: Path, text: str) -> list[str]:
    files = [one for one in folder.rglob("*") if one.is_file()]
    return sorted(one.name for one in files if text.encode() in one.read_bytes())


@pytest.mark.usefixtures("six")
def test_what_was_asked_is_gone_when_the_search_is_done(run, tmp_path):
    run("tune", "--trials", 2, "--users", 3, "--check", 3)
    assert list((tmp_path / "tuning").glob("asked-*")) == []
    for text in ("needs part", "amira", "farid"):
        assert holding(tmp_path / "tuning", text) == []


@pytest.mark.usefixtures("six")
def test_a_check_that_was_made_is_not_made_again(told, asked):
    command = ("tune", "--trials", 2, "--users", 3, "--check", 3)
    first = told(*command)
    spent = len(asked)
    assert told(*command) == first
    assert len(asked) == spent


@pytest.mark.usefixtures("six")
def test_what_an_interrupted_search_has_asked_goes_with_its_user(run, told, tmp_path):
    run("tune", "--trials", 2, "--users", 6, "--max-calls", 40, ok=False)
    assert holding(tmp_path / "tuning", "needs part") != []
    receipt = told("forget", "--user", "amira", "--id", "amira-3", "--yes")
    assert receipt["workfiles"] == 1
    assert receipt["complete"] is True
    assert holding(tmp_path / "tuning", "needs part") == []
    assert told("forget", "--user", "bela", "--all", "--yes")["workfiles"] == 0
    assert holding(tmp_path, "bela-1") == ["six.jsonl"]
    run("tune", "--trials", 2, "--users", 5)


@pytest.mark.usefixtures("six")
def test_a_search_on_other_users_keeps_the_first_ones_report(run, told, tmp_path):
    first = told("tune", "--trials", 2, "--users", 2)
    before = {one: one.read_bytes() for one in map(Path, first["files"])}
    second = told("tune", "--trials", 2, "--users", 3)
    assert {one: one.read_bytes() for one in before} == before
    assert not set(first["files"]) & set(second["files"])
    (folder,) = {Path(one).parent for one in second["files"]}
    assert folder.parent == Path("tuning")
    assert str(folder) in run("tune", "--trials", 2, "--users", 3).stdout.replace("\n", "")
    assert told("tune", "--trials", 2, "--users", 2) == first


@pytest.mark.usefixtures("six")
def test_a_winner_that_is_no_better_leaves_no_setting_and_says_so(run, tmp_path):
    said = run("tune", "--trials", 1, "--users", 3).stdout  # the paper's, and no defaults
    assert "No setting.json" in said
    assert not (tmp_path / "tuning" / "setting.json").exists()
