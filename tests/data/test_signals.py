"""Behaviour as weights."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Classification, read_interactions, read_tasks
from personaagent.data.interaction import Signal
from personaagent.errors import DataError

INBOX = Classification("inbox", "Which?", labels=("work", "home"))
maybe = st.none() | st.booleans()
signals = st.builds(
    Signal,
    click=maybe,
    dwell=st.none() | st.floats(0, 1e6),
    skip=maybe,
    edit=st.none() | st.floats(0, 1),
)


def row(**fields):
    plain = {"id": "1", "user": "ann", "task": "inbox", "query": "Tea?", "response": "home"}
    return json.dumps(plain | fields) + "\n"


@given(signals)
def test_behaviour_never_counts_more_than_an_answer_in_words(signal):
    assert 0.1 <= signal.weight <= 1


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_staying_longer_and_changing_more_never_count_less(one, other):
    low, high = sorted([one, other])
    assert Signal(dwell=low).weight <= Signal(dwell=high).weight
    assert Signal(edit=low / 1e4).weight <= Signal(edit=high / 1e4).weight


@pytest.mark.parametrize(
    ("signal", "weight"),
    [
        (Signal(), 1.0),
        (Signal(click=True), 1.0),
        (Signal(click=False), 0.5),
        (Signal(dwell=0), 0.25),
        (Signal(dwell=60), 1.0),
        (Signal(skip=True), 0.1),
        (Signal(edit=0), 0.5),
        (Signal(edit=0.5, click=False), 0.375),
        (Signal(skip=True, dwell=0), 0.1),
    ],
)
def test_the_mapping_is_as_documented(signal, weight):
    assert signal.weight == pytest.approx(weight)


def test_a_signal_in_a_file_lowers_the_weight(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(row(weight=2, signal={"click": False, "dwell": 60}))
    assert [one.weight for one in read_interactions(path, {"inbox": INBOX})] == [1.0]


@pytest.mark.parametrize(
    ("signal", "field", "problem"),
    [
        ({"dwell": -1}, "signal.dwell", "greater than or equal to 0"),
        ({"edit": 1.5}, "signal.edit", "less than or equal to 1"),
        ({"click": "yes"}, "signal.click", "valid boolean"),
        ({"hover": 3}, "signal.hover", "it is not known"),
        ("click", "signal", "Input should be"),
    ],
)
def test_a_wrong_signal_is_named_with_file_line_and_field(tmp_path, signal, field, problem):
    path = tmp_path / "history.jsonl"
    path.write_text(row() + row(id="2", signal=signal))
    with pytest.raises(DataError) as caught:
        list(read_interactions(path, {"inbox": INBOX}))
    assert f"{path}: line 2: field '{field}'" in str(caught.value)
    assert problem in str(caught.value)


def test_a_task_says_for_how_long_its_interactions_count(tmp_path):
    path = tmp_path / "tasks.json"
    task = {"name": "inbox", "kind": "classification", "instruction": "Which?", "lifetime": 30}
    path.write_text(json.dumps([task | {"labels": ["work", "home"]}]))
    tasks = read_tasks(path)
    own = {"time": "2026-01-01T00:00:00Z", "expires": "2026-01-02T00:00:00Z"}
    history = tmp_path / "history.jsonl"
    history.write_text(row(id="1", time=own["time"]) + row(id="2", **own) + row(id="3"))
    expiries = [
        one.expires and one.expires.date().isoformat() for one in read_interactions(history, tasks)
    ]
    assert expiries == ["2026-01-31", "2026-01-02", None]


def test_a_lifetime_that_is_none_is_refused(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text('[{"name": "t", "kind": "text", "instruction": "Say.", "lifetime": 0}]')
    with pytest.raises(DataError, match="task 1: field 'lifetime'"):
        read_tasks(path)
