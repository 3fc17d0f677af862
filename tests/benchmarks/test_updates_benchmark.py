"""Which updates are truly better later: the benchmark on a stand-in LM."""

import json

import dspy
import pytest
from rulebook import RuleBook, stand_in
from standins import HashEmbedder
from worlds_of_mail import INBOX, READINGS, book, habitual, mail, remembering

from benchmarks.updates import live, main
from personaagent.data import Rating
from personaagent.optimizers import Setting


def test_what_is_kept_is_told_from_what_is_truly_better(tmp_path):
    history = habitual()
    later = [mail(900 + n, f"the dog and number{n}", "travel") for n in range(4)]
    with remembering(tmp_path, *history) as memory, dspy.context(lm=stand_in(book())):
        kept, always = (
            live(INBOX, memory, "ann", history, later, Setting(accept=policy))
            for policy in ("replay", "always")
        )
    assert any(one.kept and one.saves > 1 for one in kept.updates)  # the rule about the dog
    assert kept.scores[0] < kept.scores[-1] == 1.0
    assert all(one.kept for one in always.updates if one.saves > 1)
    assert kept.calls > 0
    assert 0 < kept.cached < kept.tokens


def test_the_command_goes_on_where_it_was_and_prints_its_tables(tmp_path, capsys):
    rules = RuleBook(Rating("stars", "How many stars?"), READINGS)
    options = [
        "--task",
        "stars",
        "--users",
        "2",
        "--iterations",
        "1",
        "--policies",
        "replay,always",
    ]
    options += ["--db", str(tmp_path / "u.db")]
    lm = stand_in(rules)
    main(options, lm, HashEmbedder())
    said, asked = capsys.readouterr().out, len(rules.asked)
    main(options, lm, HashEmbedder())
    assert capsys.readouterr().out == said
    assert len(rules.asked) == asked > 0
    assert "| replay | 2 |" in said
    assert "| always | 2 |" in said
    assert "evidence" not in said
    found = json.loads((tmp_path / "u.json").read_text())
    assert [one["policy"] for one in found] == ["replay", "always"] * 2


def test_the_simulated_lm_is_for_simulated_users(tmp_path):
    with pytest.raises(SystemExit, match="--simulated"):
        main(["--task", "stars", "--lm", "simulated", "--db", str(tmp_path / "u.db")])


def test_simulated_users_need_no_lm(tmp_path, capsys):
    options = ["--simulated", "3", "--lm", "simulated", "--policies", "replay"]
    main([*options, "--db", str(tmp_path / "u.db")])
    said = capsys.readouterr().out
    assert "| replay | 3 |" in said
    served = [one["scores"] for one in json.loads((tmp_path / "u.json").read_text())]
    assert sum(scores[-1] - scores[0] for scores in served) > 0
