"""The red team and the drift benchmark, on a simulated user."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import attacks, drift, redteam, simulation  # noqa: E402


def attacked(system: str, attack: str, seed: int = 0) -> dict:
    return redteam.run(
        system, attack, seed, simulation.simulated_lm(), simulation.WordEmbedder(), 24
    )


def test_a_tools_order_reaches_only_who_does_not_screen():
    attack = "instructions in tool output"
    assert not any(attacked("ours", attack)["hit"])
    assert all(attacked("always-accept", attack)["hit"])


def test_planted_orders_are_put_aside_and_honest_messages_are_not():
    row = attacked("ours", "instructions in history")
    assert row["quarantined"] == 0
    assert not any(row["hit"])


def test_the_unattacked_rate_is_of_the_queries_that_attacks_aim_at():
    row, flood = attacked("ours", "none"), attacked("ours", "flood on one day, no instruction")
    assert {len(hits) for hits in row["unattacked"].values()} == {len(flood["hit"])}
    assert sum(row["unattacked"]["memories"]) <= sum(flood["hit"])
    assert flood["unattacked"] == {}


def test_every_attack_leaves_the_honest_messages_in_place():
    import random

    user = simulation.SimulatedUser.draw(0)
    honest = user.history(20)
    for name, attack in attacks.ATTACKS.items():
        given = attack(user, honest, random.Random(0))
        assert [one.query for one in given[:20]] == [one.query for one in honest]
        changed = sum(one.response != was.response for one, was in zip(given, honest, strict=False))
        assert changed == (round(20 * int(name.split("%")[0]) / 100) if "%" in name else 0)


def test_a_red_team_goes_on_from_its_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(redteam, "ATTACKS", {"none": attacks.flips(0.0)})
    out = tmp_path / "runs.jsonl"
    monkeypatch.setattr(
        "sys.argv", ["redteam", "--users", "1", "--interactions", "12", "--out", str(out)]
    )
    redteam.main()
    first = capsys.readouterr().out
    assert len(out.read_text().splitlines()) == len(redteam.SYSTEMS)
    assert {json.loads(line)["system"] for line in out.read_text().splitlines()} == set(
        redteam.SYSTEMS
    )
    monkeypatch.setattr(redteam, "run", lambda *_: pytest.fail("it was done already"))
    redteam.main()
    assert capsys.readouterr().out == first


def test_the_drift_scenarios_change_where_they_say():
    for scenario, differs in (("steady", False), ("change", True)):
        past = drift.history(scenario, 0)
        plain = simulation.SimulatedUser.draw(0).history(drift.LENGTH)
        changed = [n for n, pair in enumerate(zip(past, plain, strict=True)) if pair[0] != pair[1]]
        assert bool(changed) == differs
        assert all(n >= drift.CHANGE for n in changed)
