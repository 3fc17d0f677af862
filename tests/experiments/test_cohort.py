"""Cohorts and data: seeded, halves apart, every question with its own history."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from lamp_world import lamp_record, lamp_write
from standins import HashEmbedder

from personaagent.data import LAMP_TASKS, Classification, ImportSummary, Query
from personaagent.errors import DataError
from personaagent.experiments.ablations import Personas
from personaagent.experiments.cohort import (
    Cohort,
    EvaluationData,
    Sample,
    half_of,
    lamp_data,
    own_data,
    with_earlier,
)
from personaagent.experiments.systems import SYSTEMS
from personaagent.memory import EpisodicMemory, Store

NEWS = LAMP_TASKS["lamp-2n"]
SAMPLES = [
    Sample(Query(f"q{n}", f"u{n // 2}", "t", "text", "gold"), f"u{n // 2}") for n in range(80)
]


TASK = Classification("inbox", "Which?", labels=("a", "b"))


def ids(cohort: Cohort) -> list[str]:
    return [one.query.id for one in cohort.choose(SAMPLES)]


def test_a_seed_chooses_the_same_and_another_one_others():
    assert ids(Cohort(samples=10)) == ids(Cohort(samples=10))
    assert ids(Cohort(samples=10)) != ids(Cohort(samples=10, seed=1))


def test_the_smaller_cohort_is_part_of_the_larger():
    assert set(ids(Cohort(samples=5))) < set(ids(Cohort(samples=20))) < set(ids(Cohort()))
    assert set(ids(Cohort(users=3))) < set(ids(Cohort(users=9)))
    assert len(ids(Cohort(users=3))) == 6


def test_the_halves_share_no_user_whatever_the_seed():
    dev = {one.owner for s in range(5) for one in Cohort(seed=s, half="dev").choose(SAMPLES)}
    rest = {one.owner for s in range(5) for one in Cohort(seed=s, half="report").choose(SAMPLES)}
    assert not dev & rest
    assert dev | rest == {one.owner for one in SAMPLES}
    assert all(half_of(user) == "dev" for user in dev)
    assert 10 <= len(dev) <= 30


def test_more_than_there_is_is_all_there_is():
    assert len(ids(Cohort(samples=500, users=500))) == 80


def test_nothing_to_choose_from_is_an_error():
    with pytest.raises(DataError):
        Cohort().choose([])


def test_without_times_every_question_is_a_user_of_its_own(tmp_path):
    data = lamp_data(
        NEWS, *lamp_write(tmp_path, [lamp_record("1", "ann"), lamp_record("2", "ann")])
    )
    assert [(one.query.user, one.owner) for one in data.samples] == [("1", "ann"), ("2", "ann")]
    of = {}
    for one in data.histories(["ann"]):
        of.setdefault(one.user, []).append(one.query)
    assert of == {"1": ["news 1"], "2": ["news 2"]}
    assert data.cutoffs == {}


def test_with_times_a_user_is_one_and_the_first_question_is_the_cutoff(tmp_path):
    records = [
        lamp_record("2", "ann", date="2020-02-02", past="2020-01-20"),
        lamp_record("1", "ann", date="2020-01-01", past="2019-12-01"),
    ]
    data = lamp_data(NEWS, *lamp_write(tmp_path, records))
    assert {one.query.user for one in data.samples} == {"ann"}
    assert data.cutoffs["ann"].isoformat() == "2020-01-01T00:00:00+00:00"


def own_files(folder: Path, days: int, dated: bool = True) -> EvaluationData:
    """Ann answered a message a day and is asked on the last of the days and on the one after."""
    history, queries = folder / "history.jsonl", folder / "queries.jsonl"
    past = [
        {
            "id": f"h{n}",
            "user": "ann",
            "task": "inbox",
            "query": f"mail {n}",
            "response": "ab"[n % 2],
        }
        | ({"time": f"2026-01-{n + 1:02}T09:00:00Z"} if dated else {})
        for n in range(days)
    ]
    asked = [
        {"id": f"q{n}", "user": "ann", "task": "inbox", "query": "new", "response": "a"}
        | ({"time": f"2026-01-{days + n:02}T08:00:00Z"} if dated else {})
        for n in range(2)
    ]
    history.write_text("\n".join(map(json.dumps, past)))
    queries.write_text("\n".join(map(json.dumps, asked)))
    return own_data(TASK, history, queries, {"inbox": TASK})


def test_the_latest_before_the_first_question_are_asked_as_well(tmp_path):
    data = own_files(tmp_path, 6)
    more = with_earlier(data, 3)
    assert more.samples[:2] == data.samples
    assert [(one.query.id, one.gold, one.owner) for one in more.samples[2:]] == [
        ("h2", "a", "ann"),
        ("h3", "b", "ann"),
        ("h4", "a", "ann"),
    ]  # h5 was after the first question
    assert more.cutoffs["ann"] == more.samples[2].query.time
    assert list(more.histories(None)) == list(data.histories(None))
    assert len({data.digest, more.digest, with_earlier(data, 2).digest}) == 3
    assert len(with_earlier(data, 50).samples) == 2 + 5


def test_without_times_each_is_asked_of_one_who_knows_all_but_it(tmp_path):
    data = own_files(tmp_path, 6, dated=False)
    more = with_earlier(data, 3)
    known = defaultdict(set)
    for one in more.histories(None):
        known[one.user].add(one.id)
    everything = {f"h{n}" for n in range(6)}
    assert known["ann"] == everything
    assert more.samples[:2] == data.samples
    assert len({one.query.id for one in more.samples}) == 2 + 3
    for one in more.samples[2:]:
        assert known[one.query.user] == everything - {one.query.id}
        assert one.owner == "ann"
    assert [one.query.id for one in with_earlier(data, 2).samples] == [
        one.query.id for one in more.samples[:4]
    ]
    assert list(more.histories(["bob"])) == []
    assert len({data.digest, more.digest, with_earlier(data, 2).digest}) == 3


@pytest.mark.parametrize("dated", [True, False])
def test_every_sample_has_an_id_of_its_own_and_somebody_who_is_asked(tmp_path, dated):
    """Interactions may have the ids of questions, and users without a question are not asked."""
    data = own_files(tmp_path, 4, dated=dated)
    file = tmp_path / "history.jsonl"
    file.write_text(file.read_text().replace('"h', '"q'))
    stranger = json.loads(file.read_text().splitlines()[0]) | {"id": "s", "user": "bob"}
    file.write_text(f"{file.read_text()}\n{json.dumps(stranger)}")
    more = with_earlier(data, 3)
    ids = [one.query.id for one in more.samples]
    assert len(set(ids)) == len(ids) == 5
    assert {one.owner for one in more.samples} == {"ann"}


def test_questions_that_share_a_history_share_what_is_drawn_from_it(tmp_path):
    profile = [article for n in range(3) for article in lamp_record(f"{n}", "ann")["profile"]]
    records = [lamp_record(f"{n}", "ann") | {"profile": profile} for n in range(2)]
    more = with_earlier(lamp_data(NEWS, *lamp_write(tmp_path, records)), 2)
    ids = [one.query.id for one in more.samples]
    assert len(set(ids)) == len(ids) == 2 + 3


def test_what_several_questions_have_in_their_past_is_asked_once(tmp_path):
    past = [
        lamp_record(f"{n}", "ann", past=f"2026-01-0{n}")["profile"][0] | {"category": "crime"}
        for n in range(1, 5)
    ]
    records = [lamp_record(id, "ann", date="2026-01-09") | {"profile": past} for id in ("a", "b")]
    more = with_earlier(lamp_data(NEWS, *lamp_write(tmp_path, records)), 3)
    assert [one.query.query for one in more.samples[2:]] == ["news 2", "news 3", "news 4"]


def test_what_holds_no_questions_cannot_be_asked_earlier(tmp_path):
    pairs = replace(own_files(tmp_path, 3), task=LAMP_TASKS["lamp-1"])
    with pytest.raises(DataError, match="no pairs"):
        with_earlier(pairs, 1)


def test_an_earlier_question_sees_what_was_before_it_and_nothing_else(tmp_path):
    data = with_earlier(own_files(tmp_path, 6), 3)
    with Store(str(tmp_path / "m.db")) as store:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add(data.histories(None))
        knn = SYSTEMS["knn"](TASK, memory, Personas())
        for one in data.samples:
            said = knn(query=one.query.query, user="ann", before=one.query.time, exclude=())
            assert all(seen.interaction.time < one.query.time for seen in said.memories)
            assert one.query.id not in {seen.interaction.id for seen in said.memories}


def test_a_change_of_a_file_changes_the_digest(tmp_path):
    one = lamp_data(NEWS, *lamp_write(tmp_path, [lamp_record("1", "ann")]))
    same = lamp_data(NEWS, *lamp_write(tmp_path, [lamp_record("1", "ann")]))
    other = lamp_data(NEWS, *lamp_write(tmp_path, [lamp_record("1", "ann"), lamp_record("2", "b")]))
    assert one.digest == same.digest != other.digest


def test_malformed_records_are_refused_or_passed_over_and_counted_once(tmp_path):
    broken = {**lamp_record("2", "bob"), "input": "not the official wording"}
    files = lamp_write(tmp_path, [lamp_record("1", "ann"), broken])
    with pytest.raises(DataError, match="record 2: field 'input'"):
        lamp_data(NEWS, *files)
    account = ImportSummary(skip_malformed=True)
    data = lamp_data(NEWS, *files, account)
    assert [one.query.id for one in data.samples] == ["1"]
    assert [one.user for one in data.histories(None)] == ["ann"]
    assert len(account.malformed) == 1


def test_malformed_lines_of_ones_own_are_refused_or_passed_over_and_counted_once(tmp_path):
    query = {"id": "9", "user": "ann", "task": "inbox", "query": "y", "response": "a"}
    history, queries = own(tmp_path, query)
    history.write_text(history.read_text() + "\n{")
    queries.write_text(queries.read_text() + "\n[]")
    with pytest.raises(DataError, match=r"queries\.jsonl: line 2"):
        own_data(TASK, history, queries, {"inbox": TASK})
    account = ImportSummary(skip_malformed=True)
    data = own_data(TASK, history, queries, {"inbox": TASK}, account)
    assert [one.id for one in data.histories(None)] == ["1"]
    assert [one.query.id for one in data.samples] == ["9"]
    assert len(account.malformed) == 2


def own(folder: Path, query: dict[str, str]) -> tuple[Path, Path]:
    past = {"id": "1", "user": "ann", "task": "inbox", "query": "x", "response": "a"}
    (folder / "history.jsonl").write_text(json.dumps(past))
    (folder / "queries.jsonl").write_text(json.dumps(query))
    return folder / "history.jsonl", folder / "queries.jsonl"


def test_ones_own_data_is_lines_of_json(tmp_path):
    query = {"id": "2", "user": "ann", "task": "inbox", "query": "y", "response": "b"}
    data = own_data(TASK, *own(tmp_path, query), {"inbox": TASK})
    assert [(one.query.id, one.gold, one.owner) for one in data.samples] == [("2", "b", "ann")]
    assert [one.id for one in data.histories(None)] == ["1"]
    assert list(data.histories(["bob"])) == []


def test_a_query_without_gold_cannot_be_scored(tmp_path):
    query = {"id": "2", "user": "ann", "task": "inbox", "query": "y"}
    with pytest.raises(DataError, match="query '2' has no 'response'"):
        own_data(TASK, *own(tmp_path, query), {"inbox": TASK})


def test_a_task_without_queries_is_an_error(tmp_path):
    query = {"id": "2", "user": "ann", "task": "other", "query": "y", "response": "b"}
    other = Classification("other", "Which?", labels=("a", "b"))
    with pytest.raises(DataError, match="no queries of this task"):
        own_data(TASK, *own(tmp_path, query), {"inbox": TASK, "other": other})
