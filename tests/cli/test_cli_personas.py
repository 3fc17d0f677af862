"""`compile`, `ask`, `show`, `history`, `rollback`, `export` and `restore`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import CAR, rows, write
from standins import HashEmbedder
from test_cli_data import lamp_files
from typer.testing import CliRunner

from personaagent.artifacts import Artifact, export
from personaagent.cli.app import app
from personaagent.data import LAMP_TASKS, Interaction, Persona
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import load_tasks
from personaagent.optimizers import Prior
from personaagent.optimizers.prior import Start
from personaagent.programs import PersonaAgent

COMPILE = ("compile", "--user", "amira", "--replay", "6", "--no-track")


@pytest.fixture
def compiled(told, imported):
    return told(*COMPILE)


def test_who_has_no_persona_starts_where_the_cohort_does(run, told, imported, tmp_path):
    file = tmp_path / "prior.json"
    file.write_text(json.dumps(Prior("inbox", "stand-in", Start(profile=False), 6).to_dict()))
    ask = ("ask", "the car is old", "--user", "amira")
    assert [one["tool"] for one in told(*ask)["actions"]] == ["recall"]  # the LM's choice
    assert told(*ask, "--prior", file)["actions"] == []
    run(*COMPILE)
    assert told(*ask, "--prior", file)["persona"] == told(*ask)["persona"]
    assert run(*ask, "--prior", tmp_path / "mistyped.json", ok=None).exit_code == 2


def test_ask_works_before_there_is_a_persona(run, told, imported):
    said = told("ask", "the car is old", "--user", "amira")
    assert said["answer"] == "travel"
    assert said["persona"]["version"] == 0
    assert [action["tool"] for action in said["actions"]] == ["recall"]
    assert {memory["response"] for memory in said["memories"]} == {"money"}
    assert said["usage"]["calls"] == 2
    assert run("ask", "the car is old", "--user", "amira").stdout == "travel\n"


def test_a_trace_shows_what_the_answer_came_from(run, imported, compiled):
    shown = run("ask", "the car is old", "--user", "amira", "--trace").stdout
    assert shown.startswith("money\n")
    assert f"version 0 ({compiled['hash'][:8]})" in shown
    assert CAR in shown
    assert "1 LM call, 12 tokens (4 cached)" in shown


def test_somebody_unknown_is_answered_with_a_note(run, imported):
    result = run("ask", "the car", "--user", "nobody", "--task", "inbox")
    assert result.stdout == "travel\n"
    assert "nothing is known of user 'nobody'" in result.stderr


def test_a_budget_that_is_used_up_is_an_error(run, imported):
    said = run("ask", "the car", "--user", "amira", "--max-calls", "1", ok=False).stderr
    assert "the budget of 1 calls is used up" in said


def test_compile_publishes_a_persona_that_does_better(told, imported, compiled):
    assert compiled["score"]["first"] < compiled["score"]["last"]
    (rule,) = compiled["log"]["last"]["directives"]
    assert CAR in rule["text"]
    assert {"sign": "+", "text": f"- {rule['text']}"} in compiled["lines"]
    assert told("ask", "the car is old", "--user", "amira")["answer"] == "money"
    shown = told("show", "--user", "amira")
    assert (shown["hash"], shown["version"]) == (compiled["hash"], 0)
    assert shown["reason"] == compiled["reason"]
    assert rule["text"] in shown["system"]


def test_compile_shows_gradients_candidates_and_scores(run, imported):
    shown = run(*COMPILE).stdout
    assert "iteration 1 of 4: accepted" in shown
    assert "said travel, the user money: " in shown
    assert CAR in shown
    assert "score on 6 replayed interactions" in shown
    assert "published version 0" in shown


def test_compile_again_keeps_what_cannot_be_bettered(run, told, compiled):
    assert "stays: nothing better was found" in run(*COMPILE).stdout
    assert len(told("history", "--user", "amira")["versions"]) == 1


def test_a_stopped_compile_goes_on_where_it_was(run, told, imported):
    whole = _calls(told(*COMPILE, "--db", _copy(imported)))
    said = run(*COMPILE, "--max-calls", 10, ok=False).stderr
    assert "the same command goes on from there" in said
    assert _calls(told(*COMPILE)) == whole - 10


def _calls(said):
    return said["log"]["usage"]["calls"]


def _copy(imported: Path) -> Path:
    copy = imported.with_name("copy.db")
    copy.write_bytes(imported.with_name("memory.db").read_bytes())
    return copy


def test_restart_forgets_what_was_done(run, told, imported):
    whole = _calls(told(*COMPILE, "--db", _copy(imported)))
    run(*COMPILE, "--max-calls", 10, ok=False)
    assert _calls(told(*COMPILE, "--restart")) == whole


def test_the_preset_is_the_papers_own_way_and_the_command_line_goes_before_it(told, imported):
    said = told(*COMPILE, "--preset", "paper", "--iterations", "2")
    settings = said["log"]["settings"]
    assert (settings["update"], settings["acceptance"]) == ("PaperRewrite", "AlwaysAccept")
    assert (settings["batch"], settings["replay"], settings["iterations"]) == (3, 0, 2)
    assert said["log"]["judged"] == []
    assert said["log"]["last"]["whole"] is True


def test_the_papers_way_can_be_chosen(told, imported):
    options = ("--update", "rewrite", "--accept", "always", "--sampler", "latest")
    said = told(*COMPILE, *options, "--iterations", "1", "--gradient-lm", "openai/larger")
    assert said["log"]["settings"]["update"] == "FullRewrite"
    assert said["log"]["settings"]["acceptance"] == "AlwaysAccept"
    assert said["log"]["settings"]["sampler"] == "LatestBatch"
    assert said["log"]["last"]["directives"][0]["text"] == "File the car under money."


def test_an_answer_that_cannot_be_read_is_an_error(run, imported, monkeypatch):
    monkeypatch.setattr("cli_world.Engine.answers", {"Which folder": "I cannot say."})
    said = run("ask", "the car", "--user", "amira", "--lm", "openai/tiny", ok=False).stderr
    assert "did not answer in the form that was asked for" in said


def test_an_empty_history_says_how_to_import(run, imported):
    said = run("compile", "--user", "carla", "--task", "inbox", ok=False).stderr
    assert "user 'carla' has no interactions of task 'inbox'" in said
    assert "personaagent import FILE" in said


def test_compile_is_tracked_unless_told_otherwise(told, imported):
    tracked = told(*COMPILE[:-1])["tracked"]
    assert tracked
    assert (imported.parent / "mlflow.db").is_file()


def test_the_same_history_in_two_databases_is_two_runs_with_one_loss_a_step(
    run, told, imported, tasks, tmp_path
):
    from mlflow import MlflowClient

    elsewhere = ("--db", tmp_path / "other.db")
    run("import", imported, "--tasks", tasks, *elsewhere)
    tracked = (*COMPILE[:-1], "-k", "2")
    runs = {told(*tracked)["tracked"], told(*tracked, *elsewhere)["tracked"]}
    assert len(runs) == 2
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    for one in runs:
        losses = [metric.step for metric in client.get_metric_history(one, "loss")]
        assert losses == sorted(set(losses))
        found = client.get_run(one).data
        assert found.metrics["tokens"] > 0
        said = {name: found.params[name] for name in ("lm", "gradient_lm", "k", "retriever")}
        assert said == {"lm": "embedded", "gradient_lm": "embedded", "k": "2", "retriever": "dense"}
        assert found.params["embedder"] == HashEmbedder().fingerprint
        assert found.params["lm.fingerprint"] == "stand-in"


def test_another_gradient_lm_is_recorded(told, imported, tmp_path):
    from mlflow import MlflowClient

    said = told(*COMPILE[:-1], "--gradient-lm", "openai/large", "--retriever", "bm25")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    params = client.get_run(said["tracked"]).data.params
    assert (params["lm"], params["gradient_lm"]) == ("embedded", "openai/large")
    assert params["retriever"] == "bm25"


def test_compile_imports_a_user_of_lamp_and_asks_the_held_out_question(told, tmp_path, monkeypatch):
    monkeypatch.setattr("cli_world.Engine.answers", {"Which tag": '{"answer": "comedy"}'})
    questions, outputs = lamp_files(tmp_path)
    given = ("--task", "lamp-2m", "--questions", questions, "--outputs", outputs)
    said = told("compile", "--user", "7", *given, "--no-track")
    assert said["held_out"] == {"questions": 1, "first": 1.0, "last": 1.0}
    assert [row["user"] for row in told("users")["users"]] == ["7"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--questions", "q.json"), "--questions goes with --task"),
        (("--outputs", "o.json"), "--outputs goes with --questions"),
        (("--questions", "q.json", "--task", "inbox"), "is no task of LaMP"),
    ],
)
def test_options_of_lamp_go_together(run, imported, options, message):
    assert message in run(*COMPILE, *options, ok=False).stderr


def papers(user: str, count: int) -> list[Interaction]:
    """Papers of LaMP-1, which are evidence without an answer."""
    return [Interaction(f"{user}{n}", user, "lamp-1", f"{user} {n}", "") for n in range(count)]


def test_lamp_1_is_aligned_to_questions_made_of_papers(run, told, tmp_path, monkeypatch):
    monkeypatch.setattr("cli_world.Engine.answers", {"Which reference": '{"answer": "[1]"}'})
    with Store(tmp_path / "memory.db") as store:
        store.add(papers("ann", 6))
    given = ("compile", "--user", "ann", "--no-track", "--iterations", "1")
    assert "need papers of others" in run(*given, ok=False).stderr
    with Store(tmp_path / "memory.db") as store:
        store.add(papers("bob", 1))
    log = told(*given)["log"]
    assert len(log["judged"]) == 2
    assert {one["truth"] for step in log["steps"] for one in step["gradients"]} <= {"[1]", "[2]"}
    assert "two are needed" in run(*given[:2], "bob", *given[3:], ok=False).stderr


def test_show_tells_the_evidence_of_each_directive(run, told, compiled):
    (directive,) = told("show", "--user", "amira", "--evidence")["directives"]
    assert CAR in directive["text"]
    assert {one["response"] for one in directive["support"]} == {"money"}
    first = directive["support"][0]
    shown = run("show", "--user", "amira", "--evidence").stdout
    assert f"+ {first['id']} {first['time'][:10]}  money  {first['query']}" in shown


def test_without_a_persona_show_says_how_to_learn_one(run, imported):
    for command in ("show", "history", "export"):
        said = run(command, "--user", "bela", ok=False).stderr
        assert "'personaagent compile --user bela --task inbox' learns one" in said


def publish(path: Path, *texts: str) -> list[Persona]:
    """A chain of personas for bela, one a profile."""
    with Store(path) as store:
        memory, chain = store.of("bela"), [Persona("bela", "inbox", texts[0])]
        memory.publish(chain[0], expected=None, reason="first")
        for text in texts[1:]:
            chain.append(chain[-1].succeed(profile=text))
            memory.publish(chain[-1], expected=chain[-2].hash, reason=f"because {text}")
    return chain


def test_history_lists_the_versions(run, told, imported):
    chain = publish(imported.with_name("memory.db"), "Hikes.", "Sails.")
    versions = told("history", "--user", "bela")["versions"]
    assert [one["hash"] for one in versions] == [one.hash for one in chain]
    assert [one["reason"] for one in versions] == ["first", "because Sails."]
    shown = run("history", "--user", "bela").stdout
    assert chain[1].hash[:8] in shown
    assert "because Sails." in shown


def test_show_gives_an_old_version_and_diff_what_changed(run, told, imported):
    publish(imported.with_name("memory.db"), "Hikes.", "Sails.")
    assert told("show", "--user", "bela", "--version", 0)["profile"] == "Hikes."
    lines = told("diff", "--user", "bela")["lines"]
    changed = [(line["sign"], line["text"]) for line in lines if line["sign"] != " "]
    assert changed == [("-", "About this user: Hikes."), ("+", "About this user: Sails.")]
    assert (
        "+ About this user: Sails." in run("diff", "--user", "bela", "--from", 0, "--to", 1).stdout
    )
    said = run("show", "--user", "bela", "--version", 2, ok=False).stderr
    assert "there is no version 2: there are 0 to 1" in said


def test_a_rollback_is_a_new_version_with_the_old_content(run, told, imported):
    publish(imported.with_name("memory.db"), "Hikes.", "Sails.")
    said = told("rollback", "--user", "bela", "--to", 0)
    assert (said["version"], said["changed"]) == (2, True)
    assert told("show", "--user", "bela")["profile"] == "Hikes."
    assert told("history", "--user", "bela")["versions"][2]["reason"] == "rolled back to version 0"
    assert not told("rollback", "--user", "bela", "--to", 0)["changed"]


def test_export_and_restore_carry_a_persona_over(run, told, compiled, tasks, tmp_path):
    said = told("export", "--user", "amira", "--out", "personas")
    assert Path(said["json"]).name == "amira-inbox-v0.json"
    assert CAR in Path(said["markdown"]).read_text()
    elsewhere = ("--db", tmp_path / "other.db")
    restored = told("restore", said["json"], "--user", "amira-at-work", *elsewhere)
    assert (restored["user"], restored["changed"]) == ("amira-at-work", True)
    again = run("restore", said["json"], "--user", "amira-at-work", *elsewhere).stdout
    assert "nothing changed" in again
    shown = told("show", "--user", "amira-at-work", *elsewhere)
    assert shown["directives"] == told("show", "--user", "amira")["directives"]


def test_a_restored_persona_lives_in_a_fresh_database(run, told, compiled, tmp_path):
    run("export", "--user", "amira")
    fresh = ("--db", tmp_path / "new" / "other.db")
    run("restore", "amira-inbox-v0.json", *fresh)
    (user,) = told("users", *fresh)["users"]
    assert (user["user"], user["task"], user["interactions"]) == ("amira", "inbox", 0)
    assert user["persona"]["version"] == 0
    assert told("users", "--task", "inbox", *fresh)["users"] == [user]
    assert CAR in run("show", "--user", "amira", *fresh).stdout
    assert told("ask", "the car is old", "--user", "amira", *fresh)["answer"] == "money"
    run("export", "--user", "amira", "--out", "again", *fresh)
    first, again = (
        json.loads((tmp_path / part / "amira-inbox-v0.json").read_text()) for part in ("", "again")
    )
    for name in ("lm", "lm_fingerprint", "embedder", "task"):
        assert first[name] == again[name]
        assert first[name] is not None


def test_an_export_says_what_the_persona_was_made_with(run, told, compiled, tmp_path):
    run("export", "--user", "amira")
    data = json.loads((tmp_path / "amira-inbox-v0.json").read_text())
    assert (data["lm"], data["lm_fingerprint"]) == ("embedded", "stand-in")
    assert data["embedder"] == HashEmbedder().fingerprint
    assert data["scores"]["last_loss"] == compiled["loss"]["last"]
    assert (data["task"]["name"], data["task"]["kind"]) == ("inbox", "classification")
    run("rollback", "--user", "amira", "--to", 0)
    publish_more = told("show", "--user", "amira")
    assert publish_more["version"] == 0  # nothing to roll back


def test_a_task_that_is_known_here_with_other_answers_is_not_replaced(run, compiled, tmp_path):
    run("export", "--user", "amira")
    other = [{"name": "inbox", "kind": "rating", "instruction": "Stars?", "low": 1, "high": 5}]
    (tmp_path / "other.json").write_text(json.dumps(other))
    elsewhere = ("--db", tmp_path / "other.db")
    run("import", "--tasks", "other.json", *elsewhere)
    said = run("restore", "amira-inbox-v0.json", *elsewhere, ok=False).stderr
    assert "task 'inbox' is known as a rating" in said
    assert "no users yet" in run("users", *elsewhere).stdout


def test_a_file_without_its_task_is_restored_and_says_what_is_missing(run, compiled, tmp_path):
    with Store(tmp_path / "memory.db") as store:
        persona = store.of("amira").persona("inbox")
    export(tmp_path / "bare.json", Artifact.of(persona))
    shown = run("restore", "bare.json", "--db", tmp_path / "other.db").stdout
    assert "task 'inbox' is not known here yet" in shown


def test_a_changed_export_is_refused(run, compiled, tmp_path):
    run("export", "--user", "amira")
    path = tmp_path / "amira-inbox-v0.json"
    data = json.loads(path.read_text())
    data["persona"]["profile"] = "Somebody else."
    path.write_text(json.dumps(data))
    assert "the checksum is wrong" in run("restore", path, ok=False).stderr


def test_texts_of_users_are_never_markup_nor_control_characters(run, tasks, tmp_path):
    line = rows(count=1)[0] | {"user": "[red]eve\x1b[31m"}
    shown = run("import", write(tmp_path / "history.jsonl", [line]), "--tasks", tasks).stdout
    assert "[red]eve" in shown
    assert "\x1b" not in shown


def test_every_task_of_lamp_can_be_named(run, imported):
    for name in LAMP_TASKS:
        run("users", "--task", name)


def later(count):
    """Messages of gro after those of March."""
    return [
        {**row, "id": f"gro-{n}", "time": f"2026-04-{1 + n % 28:02}T{12 + n // 28:02}:00:00Z"}
        for n, row in ((n, rows("gro", 28)[n % 28]) for n in range(28, count))
    ]


def test_compile_tells_a_change_of_habits(run, told, imported, tmp_path):
    lines = [
        row | {"response": "family" if n > 40 else row["response"]}
        for n, row in enumerate(rows("gro", 28) + later(60))
    ]
    run("import", write(tmp_path / "gro.jsonl", lines))
    compiled = told("compile", "--user", "gro", "--replay", "6", "--no-track", "--iterations", "1")
    assert compiled["drift"] == "change"


def test_a_persona_is_exported_as_the_state_of_a_program(told, compiled, tmp_path):
    said = told("export", "--user", "amira", "--format", "dspy", "--out", "programs")
    assert said["dspy"] == "programs/amira-inbox-v0.dspy.json"
    with Store(tmp_path / "memory.db") as store:
        task = load_tasks(store)["inbox"]
        agent = PersonaAgent(task, EpisodicMemory(store, HashEmbedder()))
        agent.load(tmp_path / said["dspy"])
    assert agent.persona_of("amira").hash == compiled["hash"]


def test_several_users_are_exported_as_one_model(run, told, compiled, tmp_path):
    told("compile", "--user", "bela", "--replay", "2", "--no-track")
    both = ("export", "--user", "amira", "--user", "bela")
    said = told(*both, "--format", "mlflow", "--out", "model", "--lm", "ollama_chat/llama3")
    assert [one["user"] for one in said["personas"]] == ["amira", "bela"]
    (settings,) = (tmp_path / "model").rglob("agent.json")
    assert json.loads(settings.read_text())["lm"] == "ollama_chat/llama3"
    assert len(list((settings.parent / "personas").iterdir())) == 2
    result = run(*both, "--format", "mlflow", "--out", "model", ok=False)
    assert "there is something already" in result.stderr


def test_only_a_model_has_several_users(imported, compiled):
    result = CliRunner().invoke(app, ["export", "--user", "amira", "--user", "bela"])
    assert result.exit_code == 2
    assert "go with --format mlflow" in result.stderr


def test_an_exported_persona_is_registered_and_an_answer_traced(run, told, compiled, tmp_path):
    from mlflow import MlflowClient

    said = told("export", "--user", "amira", "--registry")
    assert said["prompts"] == ["prompts:/persona.inbox.amira/1"]
    assert run("ask", "the car", "--user", "amira", "--mlflow-trace").stdout == "money\n"
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    champion = client.get_prompt_version_by_alias("persona.inbox.amira", "champion")
    assert champion.format() + "\n" == Path(said["markdown"]).read_text()
    group = client.get_experiment_by_name("personaagent").experiment_id
    (trace,) = client.search_traces(locations=[group])
    assert trace.data.spans[0].outputs["answer"] == "money"


def test_without_mlflow_a_command_does_its_work_and_says_so(
    run, compiled, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said = run("ask", "the car", "--user", "amira", "--mlflow-trace")
    assert said.stdout == "money\n"
    assert "note: MLflow at http://127.0.0.1:9 cannot be used, so answers are not" in said.stderr
    said = run("export", "--user", "amira", "--registry")
    assert "the persona is not registered" in said.stderr
    assert "amira-inbox-v0.json" in said.stdout
