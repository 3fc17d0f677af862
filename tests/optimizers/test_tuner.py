"""The tuner on settings whose outcomes are known by a formula."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from tuning_world import SPACE, Formula

from personaagent.data import Classification, Text
from personaagent.errors import DataError, LMError
from personaagent.optimizers.setting import Setting, Space
from personaagent.optimizers.tuner import Tuner, storage

TESTS = Path(__file__).parent.parent


def tuner(folder, judge=None, **options):
    return Tuner(judge or Formula(), SPACE, folder, "world", **options)


def numbers(setting):
    return setting.batch, setting.iterations, setting.k


def test_the_papers_defaults_and_ours_come_first(tmp_path):
    tried = tuner(tmp_path)(2)
    assert [numbers(one.setting) for one in tried] == [(3, 1, 4), (4, 4, 4)]


def test_a_setting_has_the_means_of_its_users(tmp_path):
    judge = Formula()
    one = tuner(tmp_path, judge)(1)[0]
    expected = [judge.outcome(one.setting, user) for user in judge.users]
    assert list(one.outcomes.values()) == expected
    assert one.loss == pytest.approx(sum(each.loss for each in expected) / 8)
    assert one.cost == sum(each.tokens for each in expected) / 8
    assert tuner(tmp_path, judge, cost="seconds").tried()[0].cost == one.outcomes["user-0"].seconds


def test_the_search_finds_both_ends_of_the_true_front(tmp_path):
    tried = tuner(tmp_path)(24)
    best = min(tried, key=lambda one: one.loss)
    cheapest = min(tried, key=lambda one: one.cost)
    assert best.setting.batch in (2, 3, 4)
    assert best.setting.iterations >= 4
    assert cheapest.cost <= 200  # one interaction, one iteration, one or two memories


def test_every_trial_sees_the_same_users(tmp_path):
    assert {tuple(one.outcomes) for one in tuner(tmp_path)(6)} == {tuple(Formula().users)}


def test_the_same_command_adds_only_what_is_missing(tmp_path):
    first = tuner(tmp_path)(4)
    judge = Formula()
    again = tuner(tmp_path, judge)(7)
    assert again[:4] == first
    assert len(again) == 7
    assert len(judge.asked) == 3 * 8
    assert tuner(tmp_path, judge)(7) == again
    assert len(judge.asked) == 3 * 8


def test_a_later_worker_does_not_sample_what_the_first_one_did(tmp_path):
    tuner(tmp_path)(4)
    tried = tuner(tmp_path)(7)  # all random: the Gaussian process has not taken over
    assert len({numbers(one.setting) for one in tried}) >= 6


def test_a_setting_that_fails_is_tried_again_first_and_has_no_value(tmp_path):
    class Failing(Formula):
        def outcome(self, setting, user):
            if len(self.asked) == 12:  # in the middle of the second trial
                raise LMError("the LM is gone")
            return super().outcome(setting, user)

    with pytest.raises(LMError):
        tuner(tmp_path, Failing())(5)
    study = tuner(tmp_path)
    assert [numbers(one.setting) for one in study.tried()] == [(3, 1, 4)]
    tried = study(5)
    assert [numbers(one.setting) for one in tried[:2]] == [(3, 1, 4), (4, 4, 4)]
    assert len(tried) == 5


def test_with_one_objective_hopeless_settings_are_dropped_early_and_none_of_them_wins(tmp_path):
    judge = Formula(users=9)  # Wilcoxon tries all signs of equal differences: 2^users
    tried = tuner(tmp_path, judge, single=True)(14)
    dropped = [one for one in tried if one.dropped]
    assert dropped
    assert all(5 <= len(one.outcomes) < 9 for one in dropped)
    assert len(judge.asked) == sum(len(one.outcomes) for one in tried) < 14 * 9
    best = min(tried, key=lambda one: one.loss)
    assert not best.dropped
    for one in dropped:  # the estimate is that of all users: the differences are the same for each
        truth = sum(judge.outcome(one.setting, user).loss for user in judge.users) / 9
        assert one.loss == pytest.approx(truth, abs=1e-6)


def test_the_space_grows_on_request_only():
    inbox = Classification("inbox", "Which?", labels=("a", "b"))
    assert Space.of(inbox, Setting()).names == ("batch", "iterations", "k")
    asked = Space.of(inbox, Setting(replay=20), ["update", "accept", "retriever", "profile"])
    paper, base = asked.first()
    assert (paper["update"], paper["accept"], paper["batch"]) == ("paper", "always", 3)
    suggested = asked.suggest(optuna.trial.FixedTrial(base))
    assert suggested == Setting(replay=20)
    with pytest.raises(DataError, match="did you mean 'retriever'"):
        Space.of(inbox, Setting(), ["retriver"])
    with pytest.raises(DataError, match="only be rewritten"):
        Space.of(Text("mail", "Write."), Setting(), ["update"])


def test_where_the_base_is_the_papers_it_is_tried_once(tmp_path):
    space = replace(SPACE, base=Setting(batch=3, iterations=1))
    assert len(space.first()) == 1


# Several processes, and kill -9


def start(folder: Path, log: Path, seconds: float, trials: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [TESTS / "optimizers" / "tuning_world.py", folder, log, seconds, trials]
    return subprocess.Popen([sys.executable, *map(str, command)], env=environment, text=True)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def states(folder: Path) -> Counter:
    study = optuna.load_study(study_name="world", storage=storage(folder))
    return Counter(one.state for one in study.get_trials())


def test_after_kill_9_no_finished_trial_is_repeated_and_none_is_lost(tmp_path):
    folder, log = tmp_path / "tuning", tmp_path / "log"
    process = start(folder, log, 0.1, 6)
    wait_for(lambda: len(lines(log)) >= 2)
    time.sleep(0.3)  # into the third one
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = lines(log)
    interrupted = [
        one
        for one in optuna.load_study(study_name="world", storage=storage(folder)).get_trials()
        if one.state == TrialState.RUNNING
    ]
    assert len(interrupted) == 1

    assert start(folder, log, 0, 6).wait(120) == 0

    assert lines(log)[: len(finished)] == finished
    assert len(lines(log)) == 6
    lost = interrupted[0].params
    assert lines(log)[len(finished)] == f"{lost['batch']} {lost['iterations']} {lost['k']}"
    assert states(folder)[TrialState.COMPLETE] == 6
    assert states(folder)[TrialState.RUNNING] == 0


def test_two_workers_share_the_trials_and_do_not_take_each_others(tmp_path):
    folder = tmp_path / "tuning"
    logs = tmp_path / "one", tmp_path / "two"
    workers = [start(folder, log, 0.05, 9) for log in logs]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    one, two = map(lines, logs)
    assert len(one) + len(two) == 9
    assert one
    assert two
    assert states(folder) == {TrialState.COMPLETE: 9}


def journal(folder):
    return folder / "study.log"


@pytest.mark.parametrize("left", [1, 10, -1])  # bytes of the last line; -1: all but its end
def test_half_a_line_at_the_end_is_dropped_and_the_search_goes_on(tmp_path, left):
    first = tuner(tmp_path)(4)
    whole = journal(tmp_path).read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    torn = last[:left]
    journal(tmp_path).write_bytes(whole + torn)
    notes = []
    again = tuner(tmp_path, note=notes.append)(6)
    assert again[:4] == first
    assert len(again) == 6
    (said,) = notes
    assert f"dropped {len(torn)} bytes" in said
    assert tuner(tmp_path)(6) == again


def test_a_worker_writes_nothing_behind_the_half_line_of_one_that_was_killed(tmp_path):
    notes = []
    mine = tuner(tmp_path, note=notes.append)
    mine(3)
    with journal(tmp_path).open("ab") as file:
        file.write(b'{"op_code":5,"work')
    assert len(mine(5)) == 5
    assert len(notes) == 1
    assert tuner(tmp_path).tried() == mine.tried()


def test_a_line_that_is_damaged_in_the_middle_is_said(tmp_path):
    tuner(tmp_path)(3)
    lines = journal(tmp_path).read_bytes().splitlines(keepends=True)
    journal(tmp_path).write_bytes(b"".join([*lines[:4], b"}{\n", *lines[4:]]))
    with pytest.raises(DataError, match=r"study\.log: a line in its middle is damaged"):
        tuner(tmp_path)


def test_no_user_is_named_in_the_journal(tmp_path):
    tuner(tmp_path)(3)
    assert b"user-0" not in journal(tmp_path).read_bytes()


def test_another_study_in_the_folder_has_a_place_of_its_own(tmp_path):
    first = tuner(tmp_path)
    second = Tuner(Formula(), SPACE, tmp_path, "other")
    assert first.place == tmp_path
    assert second.place == tmp_path / "other"
    assert tuner(tmp_path).place == tmp_path


def test_what_is_done_alone_waits_for_nobody_and_is_left_where_others_work(tmp_path):
    done = []
    mine, other = tuner(tmp_path), tuner(tmp_path)
    with other.at_work():
        mine.when_alone(lambda: done.append("too soon"))
    mine.when_alone(lambda: done.append("alone"))
    assert done == ["alone"]
