"""`ablate`, `scale`, `efficiency`, `coldstart` and `personas`, from files to a report."""

from __future__ import annotations

import json

import pytest

from personaagent.experiments.lineup import entrants

LM = ("--lm", "sim/inbox")


@pytest.fixture
def report(tmp_path):
    """The Markdown report that a command has written."""
    return lambda: (tmp_path / "out" / "report.md").read_text()


def test_ablate_compares_every_ablation_with_the_whole(command, own, report):
    said = json.loads(command("ablate", *own, *LM, "--report", "out", "--json").stdout)
    (experiment,) = said["experiments"]
    ablations = [one for one in experiment["systems"] if one["role"] == "ablation"]
    parts = [one.name for one in entrants() if one.role == "ablation"]
    assert [one["system"] for one in ablations] == parts
    assert all(one["against_personaagent"]["other"] == "personaagent" for one in ablations)
    assert all(one["against_best"] is None for one in ablations)
    assert "Accuracy of ablations minus that of PersonaAgent as it is" in report()


def test_what_evaluate_has_answered_is_not_asked_again_by_ablate(command, own):
    command("evaluate", *own, *LM, "--systems", "personaagent")
    said = command("ablate", *own, *LM).stdout
    assert "personaagent: 12 of 12" not in said
    assert "personaagent-without-habit: 12 of 12" in said


def test_scale_varies_one_axis_at_a_time_and_draws_curves(command, own, report):
    axes = ("--vary", "k=1,4,8", "--vary", "iterations=0,1")
    said = command("scale", *own, *LM, "--iterations", 1, *axes, "--report", "out").stdout
    # The base is k = 4 with one iteration: three variants and itself.
    assert [one for one in said.splitlines() if " of 4" in one] == [
        "1 of 4: iterations = 1",
        "2 of 4: k = 1, iterations = 1",
        "3 of 4: k = 8, iterations = 1",
        "4 of 4: iterations = 0",
    ]
    # Personas are aligned for the base and for iterations = 0, and serve every k.
    assert said.count("rag: 12 of 12") == 3
    assert "Accuracy by memories read (k)" in said
    text = report()
    assert "| System | 1 | 4 | 8 |" in text
    assert "| System | 0 | 1 |" in text
    assert text.count("with 95 % intervals](") == 2


def test_scaling_aligns_once_for_every_k(command, own):
    axes = ("--vary", "k=1,2", "--iterations", 1, "--systems", "personaagent", "--json")
    said = json.loads(command("scale", *own, *LM, *axes).stdout)
    one, *others = said["experiments"]
    assert one["protocol"]["variant"] == {"iterations": 1}
    again = command("scale", *own, *LM, *axes[:-1]).stdout
    assert "12 of 12" not in again
    assert len(others) == 2


def test_efficiency_measures_one_sample_at_a_time(command, own, report):
    command("evaluate", *own, *LM, "--systems", "rag")
    options = ("--systems", "rag,personaagent", "--report", "out")
    said = command("efficiency", *own, *LM, *options).stdout
    assert "rag: 12 of 12" in said  # what was answered side by side is no measurement
    assert "parallel = 1" in said
    assert "1 samples side by side" in report()
    assert "seconds \\[95 %\\]" in report()


def test_coldstart_draws_a_curve_over_what_is_known(command, own, report):
    options = ("--systems", "knn,rag", "--interactions", "0,3", "--report", "out")
    said = command("coldstart", *own, *LM, *options).stdout
    assert "Accuracy by known interactions a user" in said
    assert "| System | 0 | 3 |" in report()


def test_two_runs_that_differ_in_another_setting_are_no_curve(command, own, report):
    for replay in (2, 4):
        options = ("--systems", "personaagent", "--iterations", 1, "--replay", replay)
        command("evaluate", *own, *LM, *options, "--report", "out")
    assert "replay = 2" in report()
    assert "95 % intervals](" not in report()


def test_personas_maps_the_users_and_swaps_their_personas(command, own, report):
    said = json.loads(command("personas", *own, *LM, "--report", "out", "--json").stdout)
    (experiment,) = said["experiments"]
    assert experiment["personas"]["users"] == 3
    swapped = next(o for o in experiment["systems"] if o["system"] == "personaagent-swapped")
    assert (swapped["answered"], swapped["failed"]) == (12, 0)
    text = report()
    assert "Swap test: under another user's persona" in text
    assert "personas that differ from one another: 1, of 3 users" in text


def test_the_swap_test_is_a_system_like_any_other(command, own):
    said = command("evaluate", *own, *LM, "--systems", "personaagent,personaagent-swapped").stdout
    assert "personaagent-swapped: 12 of 12" in said
    assert "Swap test:" in said


@pytest.mark.parametrize("axis", ["k", "depth=1", "k=", "k=0", "batch=1,x", "k=-1"])
def test_an_axis_that_is_none_is_said(command, own, axis):
    assert "--vary" in command("scale", *own, *LM, "--vary", axis, code=1).stderr


def test_pool_learns_where_personas_start_and_evaluate_takes_it(command, own, tmp_path):
    said = command("pool", *own, *LM, "--out", "prior.json").stdout
    assert "the query alone" in said
    assert "recall()" in said
    assert "habit alone:" in said
    prior = json.loads((tmp_path / "prior.json").read_text())
    assert prior["task"] == "inbox"
    assert prior["users"] == 3
    options = ("--systems", "personaagent", "--prior", "prior.json", "--json")
    (one,) = json.loads(command("evaluate", *own, *LM, *options).stdout)["experiments"]
    assert one["protocol"]["prior"] == prior
    plain = json.loads(command("evaluate", *own, *LM, *options[:2], "--json").stdout)
    assert plain["experiments"][0]["id"] != one["id"]  # other personas, other answers


def test_pool_tries_only_the_starts_that_are_named(command, own, tmp_path):
    said = command("pool", *own, *LM, "--starts", "query", "--out", "prior.json").stdout
    assert "the query alone" in said
    assert "recall()" not in said
    assert len(json.loads((tmp_path / "prior.json").read_text())["tried"]) == 1


@pytest.mark.parametrize(
    ("starts", "problem"), [("query,memory", "did you mean 'memories'?"), (",", "names none")]
)
def test_a_start_that_does_not_exist_is_refused_before_the_lm_is_asked(
    command, own, starts, problem
):
    assert problem in command("pool", *own, *LM, "--starts", starts, code=1).stderr


def test_a_file_that_is_no_prior_is_named(command, own, tmp_path):
    (tmp_path / "prior.json").write_text("[]")
    said = command("evaluate", *own, *LM, "--prior", "prior.json", code=1)
    assert "prior.json: no prior as" in said.output
