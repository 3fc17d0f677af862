"""What is found in a search: the front, the winner, and how sure that is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.experiments.tuning import Checked, Findings
from personaagent.experiments.tuning_report import (
    NO_SETTING,
    summary,
    verdict,
    write_setting,
    write_tuning_report,
)
from personaagent.optimizers.crossval import Outcome
from personaagent.optimizers.setting import Setting
from personaagent.optimizers.tuner import Tried

DEFAULT = Setting()
LEVELS = [0.2 * n for n in range(10)]  # users differ more than settings do


def outcomes(loss, cost=100.0, noise=()):
    """Ten users around a mean loss; `noise` is added to them in turn."""
    wobble = [*noise, *[0.0] * 10][:10]
    return {
        f"u{n}": Outcome(loss + level - 0.9 + wobble[n], 0.5, 1, int(cost), 1.0, 1)
        for n, level in enumerate(LEVELS)
    }


def tried(number, loss, cost, setting=None, noise=(), dropped=False):
    setting = setting or replace(DEFAULT, batch=number + 5)
    found = outcomes(loss, cost, noise)
    mean = sum(one.loss for one in found.values()) / 10
    return Tried(number, setting, mean, cost, found, dropped)


def findings(*trials, **options):
    return Findings(trials, DEFAULT, "tokens", ("batch", "iterations", "k"), **options)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1, max_size=12
    ).filter(lambda drawn: not all(dropped for _, _, dropped in drawn))
)
def test_nothing_on_the_front_is_beaten_and_all_else_is(drawn):
    found = findings(*(tried(n, *one[:2], dropped=one[2]) for n, one in enumerate(drawn)))
    front = found.front

    def beats(one, other):
        no_worse = one.loss <= other.loss + 1e-9 and one.cost <= other.cost
        return no_worse and (one.loss < other.loss - 1e-9 or one.cost < other.cost)

    assert not any(beats(one, other) for one in found.complete for other in front)
    for other in found.complete:
        same = any(abs(one.loss - other.loss) < 1e-9 and one.cost == other.cost for one in front)
        assert same or any(beats(one, other) for one in front)
    assert not any(one.dropped for one in front)


def test_the_winner_is_the_cheapest_that_is_as_good_as_the_best():
    wobble = (0.5, -0.5) * 5
    found = findings(
        tried(0, 1.0, 100), tried(1, 0.55, 200, noise=wobble), tried(2, 0.5, 900), tried(3, 0.9, 80)
    )
    assert found.best.number == 2
    assert found.winner.number == 1  # 0.05 worse, with a standard error of 0.17
    assert findings(*found.tried, single=True).winner.number == 2


def test_a_small_loss_that_every_user_has_is_worth_paying_for():
    found = findings(tried(0, 0.55, 200), tried(1, 0.5, 900))
    assert found.winner.number == 1


def test_differences_are_paired_so_that_levels_of_users_do_not_blur_them():
    found = findings(tried(0, 1.0, 100, DEFAULT), tried(1, 0.9, 300))
    gap = found.against_default(found.tried[1])
    assert gap.value == pytest.approx(-0.1)
    assert gap.high == pytest.approx(-0.1)
    assert found.against_default(found.tried[0]) is None


def test_a_winner_that_is_not_told_apart_from_the_defaults_is_said_to_be():
    wobble = (0.5, -0.5) * 5
    sure = findings(tried(0, 1.0, 100, DEFAULT), tried(1, 0.5, 90))
    unsure = findings(tried(0, 1.0, 100, DEFAULT), tried(1, 0.95, 90, noise=wobble))
    assert "apart" not in verdict(sure)
    assert "10 users do not tell the two apart" in verdict(unsure)
    assert "the defaults themselves" in verdict(findings(tried(0, 1.0, 100, DEFAULT)))


def test_dropped_settings_are_faint_and_never_win(tmp_path):
    found = findings(
        tried(0, 1.0, 100, DEFAULT), tried(1, 0.1, 50, dropped=True), tried(2, 0.8, 90)
    )
    assert found.winner.number == 2
    assert summary(found, None)["dropped"] == 1
    checked = Checked(10, outcomes(0.7), outcomes(0.9))
    page, twin = write_tuning_report(found, checked, {"task": "inbox"}, tmp_path)
    text = twin.read_text()
    assert "users that the search did not see: loss -0.200" in text
    assert "all users were tried (faint): 1" in text
    assert page.read_text().count('class="faint"') == 1


@pytest.mark.parametrize(
    ("loss", "cost", "better"),
    [(0.9, 900, True), (1.0, 90, True), (1.0, 100, False), (1.1, 90, False)],
)
def test_only_a_winner_that_is_better_than_the_defaults_becomes_a_file(
    tmp_path, loss, cost, better
):
    wobble = (0.9, -0.9) * 5  # so that a cheaper one wins though it is no better
    found = findings(tried(0, 1.0, 100, DEFAULT), tried(1, loss, cost, noise=wobble))
    (tmp_path / "setting.json").write_text("{}")  # when less was known
    written = write_setting(found, None, tmp_path)
    expected = better and found.winner.number == 1
    assert bool(written) is expected
    assert (tmp_path / "setting.json").exists() is expected
    write_tuning_report(found, None, {}, tmp_path)
    assert (NO_SETTING in (tmp_path / "report.md").read_text()) is not expected


def test_a_winner_that_fails_its_check_becomes_no_file(tmp_path):
    found = findings(tried(0, 1.0, 100, DEFAULT), tried(1, 0.5, 90))
    worse = Checked(10, outcomes(1.249), outcomes(1.0))
    assert write_setting(found, Checked(10, outcomes(0.9), outcomes(1.0)), tmp_path)
    assert not write_setting(found, worse, tmp_path)
    assert summary(found, worse)["winner"]["better"] is False
