"""Who writes a persona and who judges it."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from worlds_of_mail import DAWN, mail

from personaagent.optimizers.judging import split

days = st.lists(st.integers(0, 30), min_size=1, max_size=60).map(sorted)


def drawn(days, judges=12, evidence=(), seed=0):
    history = [
        mail(n, f"note {n}", "work", time=DAWN + timedelta(days=day, minutes=n + 1))
        for n, day in enumerate(days)
    ]
    sides = split(history, None, evidence=evidence, judges=judges, writers=40, seed=seed)
    return history, *sides


def dates(interactions):
    return [one.time.date() for one in interactions]


@given(days, st.integers(0, 12), st.sets(st.integers(0, 59)), st.integers(0, 3))
def test_the_latest_write_or_judge_and_evidence_never_judges(days, judges, wrote, seed):
    evidence = {f"ann-{n}" for n in wrote}
    history, writing, judging = drawn(days, judges, evidence, seed)
    latest = history[-(40 + judges) :]
    assert sorted(dates(writing)) == dates(writing)
    assert sorted(dates(judging)) == dates(judging)
    assert {one.id for one in writing} | {one.id for one in judging} == {one.id for one in latest}
    assert len(writing) + len(judging) == len(latest)
    assert not evidence & {one.id for one in judging}
    free = [one for one in latest if one.id not in evidence]
    assert len(judging) == min(judges, len(latest) // 3, len(free))


@given(st.integers(0, 20), st.integers(2, 12))
def test_a_day_does_not_judge_what_it_wrote(seed, flood):
    """A flood at the end of forty quiet days, every fourth of which has two interactions."""
    quiet = [day for day in range(40) for _ in range(2 if day % 4 == 0 else 1)]
    _, writing, judging = drawn([*quiet, *[41] * flood], seed=seed)
    assert not set(dates(writing)) & set(dates(judging))
    assert max(dates(judging).count(day) for day in dates(judging)) <= 4


@given(st.integers(0, 200), st.integers(24, 60))
def test_each_answer_judges_about_as_often_as_it_is_given(seed, count):
    """A quarter of the answers are one, a sixteenth another, the rest a third."""
    rare = ["money" if n % 16 == 3 else "family" if n % 4 == 1 else "work" for n in range(count)]
    history = [mail(n, f"note {n}", answer) for n, answer in enumerate(rare)]
    _, judging = split(history, None, evidence=(), judges=12, writers=60, seed=seed)
    for answer in ("money", "family", "work"):
        share = rare.count(answer) / count * len(judging)
        assert abs(sum(one.response == answer for one in judging) - share) <= 1


def test_a_history_of_one_day_writes_and_judges_all_the_same():
    _, writing, judging = drawn([0] * 36)
    assert (len(writing), len(judging)) == (24, 12)
