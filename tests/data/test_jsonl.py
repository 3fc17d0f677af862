import gzip
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personaagent.data import (
    LAMP_TASKS,
    Choice,
    Classification,
    ImportSummary,
    Interaction,
    Rating,
    Text,
    read_interactions,
    read_queries,
    read_tasks,
    to_dataset,
)
from personaagent.data.normal import normal
from personaagent.errors import DataError

SAMPLE = Path(__file__).resolve().parents[2] / "personaagent" / "data" / "sample"
TASKS = {
    "inbox": Classification("inbox", "Which folder?", labels=("work", "home")),
    "stars": Rating("stars", "How many?"),
    "note": Text("note", "Write a note."),
    "pick": Choice("pick", "Which?"),
}


def line(**changes: Any) -> dict[str, Any]:
    fields = {"id": "a1", "user": "a", "task": "inbox", "query": "Hello", "response": "work"}
    return {key: value for key, value in (fields | changes).items() if value is not ...}


def save(tmp_path: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    path = tmp_path / "history.jsonl"
    raw = (json.dumps(one) if isinstance(one, dict) else one for one in lines)
    path.write_bytes(b"\n".join(one.encode() if isinstance(one, str) else one for one in raw))
    return path


# what is read


def test_a_line_becomes_an_interaction(tmp_path):
    path = save(
        tmp_path,
        line(
            response="Work ",
            time="2026-03-12T15:55:45+02:00",
            weight=2,
            source="mail",
            expires="2100-01-01T00:00:00Z",
            metadata={"from": "Lena"},
        ),
    )
    assert list(read_interactions(path, TASKS)) == [
        Interaction(
            id="a1",
            user="a",
            task="inbox",
            query="Hello",
            response="work",
            time=datetime(2026, 3, 12, 13, 55, 45, tzinfo=UTC),
            weight=2.0,
            source="mail",
            expires=datetime(2100, 1, 1, tzinfo=UTC),
            metadata={"from": "Lena"},
        )
    ]


def test_blank_lines_and_a_byte_order_mark_are_allowed(tmp_path):
    path = save(tmp_path, "\ufeff" + json.dumps(line()), "", "  ", line(id="a2"), "")
    assert [one.id for one in read_interactions(path, TASKS)] == ["a1", "a2"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_other_unicode_encodings_are_read(tmp_path, encoding):
    path = tmp_path / "history.jsonl"
    lines = [json.dumps(line(query=word), ensure_ascii=False) for word in ("Grüße", "😀")]
    path.write_bytes((lines[0] + "\r\n" + lines[1].replace("a1", "a2")).encode(encoding))
    assert [one.query for one in read_interactions(path, TASKS)] == ["Grüße", "😀"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"half \ud83d of", "half \ufffd of"),
        (r"\uDE00 alone", "\ufffd alone"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ud83d\ude00 whole", "😀 whole"),
        (r"a path C:\\udata", "a path C:\\udata"),
        (r"nothing \u0000 there", "nothing \ufffd there"),
        (b"raw \xed\xa0\xbd half", "raw \ufffd half"),
    ],
)
def test_half_a_character_is_replaced(tmp_path, written, read):
    raw = written if isinstance(written, bytes) else written.encode()
    whole = json.dumps(line(query="%")).encode().replace(b"%", raw)
    (one,) = read_interactions(save(tmp_path, whole), TASKS)
    assert one.query == read


def test_the_file_may_be_packed(tmp_path):
    path = save(tmp_path, line())
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert len(list(read_interactions(path, TASKS))) == 1


def test_a_repeated_line_counts_once(tmp_path):
    path = save(tmp_path, line(), line(), line(id="a2"))
    assert [one.id for one in read_interactions(path, TASKS)] == ["a1", "a2"]


def test_a_query_has_gold_only_where_a_response_is_given(tmp_path):
    path = save(tmp_path, line(response="WORK", habit=True), line(id="a2", response=...))
    assert [query.gold for query in read_queries(path, TASKS)] == ["work", None]


def test_evidence_without_an_answer_is_allowed_for_a_choice(tmp_path):
    (one,) = read_interactions(save(tmp_path, line(task="pick", response="")), TASKS)
    assert one.response == ""


def test_the_sample_is_read():
    tasks = read_tasks(SAMPLE / "tasks.json")
    assert tasks["inbox"].answer == "folder"
    assert tasks["stars"].labels == ("1", "2", "3", "4", "5")
    assert len(list(read_interactions(SAMPLE / "history.jsonl", tasks))) == 320
    queries = list(read_queries(SAMPLE / "queries.jsonl", tasks))
    assert len(queries) == 80
    assert all(query.gold and query.time for query in queries)


# what is refused: each error names the file, the line and the field

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"user": ...}, "user", "missing: add it"),
        ({"user": " "}, "user", "empty"),
        ({"query": 3}, "query", "must be a text in quotes, not 3"),
        ({"task": "inbx"}, "task", r"'inbx' is not .* did you mean 'inbox'\?.*stars"),
        ({"response": "works"}, "response", "'works' is not one of its answers: work, home"),
        ({"response": 5, "task": "stars"}, "response", "must be a text in quotes, not 5"),
        ({"response": "6", "task": "stars"}, "response", "'6' is not one of"),
        ({"response": " ", "task": "note"}, "response", "it is empty"),
        ({"response": ...}, "response", "missing"),
        ({"respons": "work", "response": ...}, "respons", "not known: did you mean 'response'"),
        ({"habit": True}, "habit", "not known"),
        ({"time": "2026-03-12T13:55:45"}, "time", "no time zone: add 'Z'"),
        ({"time": "yesterday"}, "time", "'yesterday' is not an ISO 8601 time"),
        ({"time": 1519862400}, "time", "must be a time in quotes"),
        ({"time": "0001-01-01T00:00:00+23:00"}, "time", "outside the years"),
        ({"time": TOMORROW}, "time", "lies in the future"),
        (
            {"time": "2026-01-01T00:00:00Z", "expires": "2025-01-01T00:00:00Z"},
            "expires",
            "not after 'time'",
        ),
        ({"weight": 0}, "weight", "greater than 0, not 0"),
        ({"weight": "1"}, "weight", "valid number, not '1'"),
        ({"weight": float("nan")}, "weight", "(finite|greater)"),
        ({"metadata": {"n": 1}}, r"metadata\.n", "must be a text in quotes, not 1"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, changes, field, problem):
    path = save(tmp_path, line(id="a0"), line(**changes))
    reading = read_interactions(path, TASKS)
    assert next(reading).id == "a0"
    message = rf"history\.jsonl: line 2: field '{field}': .*{problem}"
    with pytest.raises(DataError, match=message):
        next(reading)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"id": "a1" "user"}', "column 13: not valid JSON: Expecting ',' delimiter"),
        (b'{"id": "\xff"}', "column 9: byte 0xff is not UTF-8"),
        (b"[1]", "field '\\*': an object .* is due, not \\[1\\]"),
        (b'{"id": "a", "id": "b"}', "field 'id' stands twice"),
        (b"[" * 100_000, "not usable JSON"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, raw, problem):
    path = save(tmp_path, line(), "", raw)
    with pytest.raises(DataError, match=rf"history\.jsonl: line 3: .*{problem}"):
        list(read_interactions(path, TASKS))


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_cut_off_line_is_named_by_its_own_number(tmp_path, end):
    lines = [json.dumps(line(id=f"a{n}")) for n in range(6)]
    path = save(tmp_path, *lines[:5], lines[5][:20] + end)
    with pytest.raises(DataError, match=r"history\.jsonl: line 6: column \d+: not valid JSON"):
        list(read_interactions(path, TASKS))


def test_malformed_lines_are_left_and_counted_where_that_is_wanted(tmp_path):
    account = ImportSummary(skip_malformed=True)
    path = save(
        tmp_path, line(), line(id="a2", response="play"), "{", line(id="a2"), line(user=" ")
    )
    assert [one.id for one in read_interactions(path, TASKS, account=account)] == ["a1", "a2"]
    assert [text.split(": ", 1)[1].split(":")[0] for text in account.malformed] == [
        "line 2",
        "line 3",
        "line 5",
    ]
    assert "field 'response': task inbox: 'play' is not one of" in account.malformed[0]


def test_users_whose_ids_differ_in_form_only_are_one(tmp_path):
    account = ImportSummary()
    path = save(tmp_path, line(user="Zoe\u0301"), line(id="a2", user="Zo\u00e9\u200f "))
    assert {one.user for one in read_interactions(path, TASKS, account=account)} == {"Zoé"}
    assert account.joined == {"Zoé": ["Zoe\u0301", "Zo\u00e9\u200f "]}


def test_labels_are_known_in_whatever_form_they_are_written(tmp_path):
    places = {"p": Classification("p", "Where?", labels=("café", "العائلة", "straße"))}
    written = ["cafe\u0301", "\u200f" + places["p"].labels[1], "CAFÉ", "STRASSE", "\ufeffcafé "]
    path = save(
        tmp_path, *(line(id=f"a{n}", task="p", response=one) for n, one in enumerate(written))
    )
    assert [one.response for one in read_interactions(path, places)] == [
        "café",
        "العائلة",
        "café",
        "straße",
        "café",
    ]


def test_an_id_with_two_contents_names_both_lines(tmp_path):
    path = save(tmp_path, line(), line(id="a2"), line(response="home"))
    with pytest.raises(DataError, match="line 3: field 'id': 'a1' stands on line 1 with other"):
        list(read_interactions(path, TASKS))


def test_a_web_page_and_a_cut_off_file_are_told(tmp_path):
    path = save(tmp_path, "<html></html>")
    with pytest.raises(DataError, match=r"history\.jsonl: this is a web page"):
        list(read_interactions(path, TASKS))
    path.write_bytes(gzip.compress(json.dumps(line()).encode())[:-9])
    with pytest.raises(DataError, match=r"history\.jsonl: damaged or cut off gzip"):
        list(read_interactions(path, TASKS))


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"kind": "ratin"}, r"field 'kind': 'ratin' is not .* did you mean 'rating'\?"),
        ({"labels": ["work"]}, "field 'labels': .*at least two labels"),
        ({"labels": ["work", "Work"]}, "field 'labels': .*no two alike"),
        ({"labels": ["café", "cafe\u0301"]}, "field 'labels': .*no two alike"),
        ({"labels": ["work", "work\u200e"]}, "field 'labels': .*no two alike"),
        ({"labels": ["work", "\u200b"]}, "field 'labels': .*none empty"),
        ({"labels": ["work", 1]}, "field 'labels.1': it must be a text"),
        ({"label": ["work"]}, "field 'label': it is not known: did you mean 'labels'"),
        ({"instruction": ""}, "field 'instruction': it is empty"),
        ({"kind": "rating", "labels": ..., "low": 5, "high": 1}, "field 'high': .*below"),
        ({"kind": "rating", "labels": ..., "low": 1}, "field 'high': it is missing"),
    ],
)
def test_a_wrong_task_is_named(tmp_path, task, problem):
    good = {"name": "inbox", "kind": "classification", "instruction": "?", "labels": ["a", "b"]}
    wrong = {key: value for key, value in (good | {"name": "x"} | task).items() if value != ...}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([good, wrong]))
    with pytest.raises(DataError, match=rf"tasks\.json: task 2: {problem}"):
        read_tasks(path)


def test_a_tasks_file_names_line_and_column_of_bad_json(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text('[\n {"name": "inbox"\n  "kind": 1}]')
    with pytest.raises(DataError, match=r"tasks\.json: line 3: column 3: not valid JSON"):
        read_tasks(path)
    path.write_bytes(b'[\n {"name": "\xff"}]')
    with pytest.raises(DataError, match=r"tasks\.json: line 2: column 12: byte 0xff"):
        read_tasks(path)
    path.write_text('[\n {"name": "inbox",\n  "kind":\n\n')
    with pytest.raises(DataError, match=r"tasks\.json: line 3: column 10: not valid JSON"):
        read_tasks(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="a list of tasks"):
        read_tasks(path)


def test_two_tasks_with_one_name_are_refused(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"name": "n", "kind": "text", "instruction": "?"}] * 2))
    with pytest.raises(DataError, match="task 2: field 'name': 'n' is taken"):
        read_tasks(path)


# round trips

filled = st.text(min_size=1).filter(str.strip)
moments = st.datetimes(
    min_value=datetime(1900, 1, 1),
    max_value=datetime(2025, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
labels = {"inbox": "work", "stars": "3", "pick": "[2]"}
interactions = st.builds(
    lambda task, note, expires, **rest: Interaction(
        task=task,
        response=labels.get(task, note.strip()),
        expires=expires + timedelta(days=50_000) if expires else None,
        **rest,
    ),
    task=st.sampled_from(sorted(TASKS)),
    note=filled,
    id=filled,
    user=filled.filter(normal),
    query=filled,
    time=st.none() | moments,
    expires=st.none() | moments,
    weight=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    source=filled,
    metadata=st.dictionaries(st.text(), st.text(), max_size=3),
)
histories = st.lists(interactions, max_size=4, unique_by=lambda one: one.id)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(histories.filter(bool))
def test_a_table_gives_the_interactions_back(tmp_path, history):
    table = to_dataset(history)
    table.to_parquet(tmp_path / "history.parquet")
    again = list(read_interactions(tmp_path / "history.parquet", TASKS))
    assert again == history
    assert [one.digest for one in again] == [one.digest for one in history]


def test_a_folder_of_a_saved_dataset_is_read(tmp_path):
    history = list(read_interactions(save(tmp_path, line(), line(id="a2")), TASKS))
    to_dataset(history).save_to_disk(tmp_path / "saved")
    assert list(read_interactions(tmp_path / "saved", TASKS)) == history


def test_a_csv_file_is_read_as_text_and_its_errors_name_the_row(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(
        "id,user,task,query,response,time,weight\n"
        "1,007,inbox,the car,work,2026-01-01T00:00:00Z,0.5\n"
        "2,007,inbox,the car,nothing,,\n"
    )
    reader = read_interactions(path, TASKS)
    first = next(reader)
    assert (first.id, first.user, first.weight, first.time.year) == ("1", "007", 0.5, 2026)
    with pytest.raises(DataError, match=r"history\.csv: line 2: field 'response'"):
        next(reader)


def test_what_is_no_table_is_told(tmp_path):
    path = tmp_path / "history.parquet"
    path.write_text("no parquet")
    with pytest.raises(DataError, match=r"history\.parquet: it cannot be read as a table"):
        list(read_interactions(path, TASKS))
    with pytest.raises(DataError, match=r"none\.parquet: there is no such file"):
        list(read_interactions(tmp_path / "none.parquet", TASKS))


def test_papers_of_lamp_1_survive_the_round_trip(tmp_path):
    paper = Interaction("p", "u", "lamp-1", "A title", "", metadata={"abstract": "a"})
    to_dataset([paper]).to_parquet(tmp_path / "papers.parquet")
    assert list(read_interactions(tmp_path / "papers.parquet", LAMP_TASKS)) == [paper]


def test_an_interaction_needs_a_time_zone_and_its_digest_does_not_depend_on_it():
    with pytest.raises(DataError, match=r"a1: field 'time': .*no time zone"):
        Interaction("a1", "a", "inbox", "q", "work", datetime(2026, 1, 1))
    here = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    one, other = (
        Interaction("a1", "a", "inbox", "q", "work", time) for time in (here, here.astimezone(UTC))
    )
    assert one.digest == other.digest
