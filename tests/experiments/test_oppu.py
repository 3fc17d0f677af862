"""OPPU's processed users."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from personaagent.data import LAMP_TASKS, ImportSummary
from personaagent.data.lamp_tasks import CITATION
from personaagent.errors import DataError
from personaagent.experiments.cohort import oppu_data
from personaagent.experiments.oppu import iter_oppu

NEWS, CITED = LAMP_TASKS["lamp-2n"], LAMP_TASKS["lamp-1"]


def article(n, category="sports", **more):
    return {"id": str(n), "title": "T", "text": f"news {n}", "category": category, **more}


def question(n, gold="politics", **more):
    return {"id": f"{n}", "input": NEWS.prompt(f"article {n}"), "gold": gold, **more}


def user(name, profile, *queries):
    return {"user_id": name, "profile": profile, "query": list(queries)}


@pytest.fixture
def file(tmp_path):
    def write(*users):
        path = tmp_path / "user_top_100_history.json"
        path.write_text(json.dumps(users))
        return path

    return write


def test_all_queries_of_a_user_share_one_history(file):
    path = file(
        user(7, [article(1), article(2, "travel")], question("a"), question("b", "sports")),
        user(8, [article(3)], question("c")),
    )
    seven, eight = iter_oppu(NEWS, path)
    assert [(one.id, one.user, one.query, one.gold) for one in seven.queries] == [
        ("a", "7", "article a", "politics"),
        ("b", "7", "article b", "sports"),
    ]
    assert [(one.user, one.query, one.response) for one in seven.history] == [
        ("7", "news 1", "sports"),
        ("7", "news 2", "travel"),
    ]
    assert (eight.user, len(eight.queries), len(eight.history)) == ("8", 1, 1)


def test_dates_are_read_where_there_are_any(file):
    path = file(user("7", [article(1, date="2015")], question("a", date="2016-03-01")))
    (one,) = iter_oppu(NEWS, path)
    assert one.queries[0].time == datetime(2016, 3, 1, tzinfo=UTC)
    assert one.history[0].time == datetime(2015, 1, 1, tzinfo=UTC)


def test_citations_pair_a_paper_with_what_it_cites(file):
    asked = CITATION.format(title="T", one="A", two="B")
    paper = {"id": "1", "title": "Own", "citation": "Cited"}
    path = file(user("7", [paper], {"id": "q", "input": asked, "gold": "[2]"}))
    (one,) = iter_oppu(CITED, path)
    assert one.queries[0].gold == "[2]"
    assert (one.history[0].query, one.history[0].metadata) == ("Own", {"citation": "Cited"})


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ([], "must be an object"),
        ({"profile": [], "query": []}, "field 'user_id'"),
        ({"user_id": "7", "profile": []}, "field 'query'"),
        (user("7", [{"id": "1"}]), "record 7: field 'profile"),
        (user("7", [], "x"), "must be an object"),
        (user("7", [], {"id": "a", "input": NEWS.prompt("x")}), "7, query a: field 'gold'"),
        (user("7", [], question("a", "nonsense")), "7, query a: field 'gold'"),
        (user("7", [], {**question("a"), "input": "What?"}), "7, query a: field 'input'"),
        (user("7", [], question("a"), question("a")), "two queries 'a'"),
    ],
)
def test_what_is_malformed_is_named_or_passed_over(file, record, problem):
    path = file(record, user("8", [article(3)], question("c")))
    with pytest.raises(DataError, match=problem) as caught:
        list(iter_oppu(NEWS, path))
    assert str(path) in str(caught.value)
    account = ImportSummary(skip_malformed=True)
    left = [query.id for one in iter_oppu(NEWS, path, account=account) for query in one.queries]
    assert left[-1] == "c"
    assert len(account.malformed) == 1


def test_the_users_can_be_evaluated(file):
    data = oppu_data(
        NEWS,
        file(
            user("7", [article(1)], question("a"), question("b")),
            user("8", [article(2)], question("c")),
        ),
    )
    assert [(one.query.id, one.owner) for one in data.samples] == [
        ("a", "7"),
        ("b", "7"),
        ("c", "8"),
    ]
    assert [one.query for one in data.histories(["8"])] == ["news 2"]
    assert len(list(data.histories(None))) == 2
