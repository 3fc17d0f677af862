import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lamp_reading import read_lamp

from personaagent.data import LAMP_TASKS, ImportSummary, Interaction, self_supervised_pairs
from personaagent.errors import DataError
from personaagent.experiments.lamp_files import (
    iter_lamp,
    read_golds,
)

NEWS = LAMP_TASKS["lamp-2n"]
PAPERS = LAMP_TASKS["lamp-1"]
CITATION = (
    'For an author who has written the paper with the title "T", which reference is related? '
    'Just answer with [1] or [2] without explanation. [1]: "A" [2]: "B"'
)


def entry(text: str = "a match", label: str = "sports", **more: Any) -> dict[str, Any]:
    return {"id": "p0", "text": text, "category": label, "title": "t", **more}


def record(id: str = "10", item: str = "an election", **more: Any) -> dict[str, Any]:
    return {"id": id, "input": NEWS.prompt(item), "profile": [entry()], **more}


def save(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


def questions(tmp_path: Path, *records: Any) -> Path:
    return save(tmp_path / "questions.json", list(records))


def outputs(tmp_path: Path, task: str = "LaMP_2N", **golds: str) -> Path:
    pairs = [{"id": id.strip("_"), "output": output} for id, output in golds.items()]
    return save(tmp_path / "outputs.json", {"task": task, "golds": pairs})


# what is read


@pytest.mark.parametrize(
    ("name", "official"),
    [
        (
            "lamp-2m",
            "Which tag does this movie relate to among the following tags? Just answer with the "
            "tag name without further explanation. tags: [sci-fi, based on a book, comedy, "
            "action, twist ending, dystopia, dark comedy, classic, psychology, fantasy, romance, "
            "thought-provoking, social commentary, violence, true story] description: X",
        ),
        (
            "lamp-2n",
            "Which category does this article relate to among the following categories? Just "
            "answer with the category name without further explanation. categories: [women, "
            "religion, politics, style & beauty, entertainment, culture & arts, sports, science "
            "& technology, travel, business, crime, education, healthy living, parents, food & "
            "drink] article: X",
        ),
        (
            "lamp-3",
            "What is the score of the following review on a scale of 1 to 5? just answer with 1, "
            "2, 3, 4, or 5 without further explanation. review: X",
        ),
        ("lamp-4", "Generate a headline for the following article: X"),
        ("lamp-5", "Generate a title for the following abstract of a paper: X"),
        (
            "lamp-7",
            "Paraphrase the following tweet without any explanation before or after it: X",
        ),
    ],
)
def test_a_task_asks_in_the_official_wording(name, official):
    assert LAMP_TASKS[name].prompt("X") == official


def test_a_task_quotes_the_past_in_the_official_wording():
    examples = {name: task.example("X", "Y") for name, task in LAMP_TASKS.items()}
    assert examples["lamp-2m"] == 'the tag for the movie: "X" is "Y"'
    assert examples["lamp-2n"] == 'the category for the article: "X" is "Y"'
    assert examples["lamp-3"] == 'Y is the score for "X"'
    assert PAPERS.example("X", "") == '"X"'


def test_a_question_holds_the_item_its_gold_and_its_history(tmp_path):
    path = questions(tmp_path, record(user_id="u", date="2020-05-02"))
    (question,) = iter_lamp(NEWS, path, outputs(tmp_path, _10="politics"))
    assert question.query.query == "an election"
    assert (question.query.id, question.query.user, question.query.gold) == ("10", "u", "politics")
    assert question.query.time == datetime(2020, 5, 2, tzinfo=UTC)
    (one,) = question.history
    assert (one.user, one.task, one.query, one.response) == ("u", "lamp-2n", "a match", "sports")
    assert one.metadata == {"title": "t"}


@pytest.mark.parametrize(
    ("name", "profile", "query", "response"),
    [
        ("lamp-2m", {"description": "d", "tag": "comedy"}, "d", "comedy"),
        ("lamp-3", {"text": "x", "score": 4}, "x", "4"),
        ("lamp-4", {"text": "x", "title": "t"}, "x", "t"),
        ("lamp-5", {"abstract": "a", "title": "t"}, "a", "t"),
        ("lamp-7", {"text": "x"}, "x", "x"),
    ],
)
def test_a_profile_entry_becomes_query_and_response(tmp_path, name, profile, query, response):
    task = LAMP_TASKS[name]
    path = questions(
        tmp_path, {"id": "1", "input": task.prompt("X"), "profile": [profile | {"id": "p"}]}
    )
    (question,) = iter_lamp(task, path)
    assert [(one.query, one.response) for one in question.history] == [(query, response)]


def test_a_paper_is_evidence_without_an_answer(tmp_path):
    profile = [{"id": "p", "title": "t", "abstract": "a"}]
    path = questions(tmp_path, {"id": "1", "input": CITATION, "profile": profile})
    (question,) = iter_lamp(PAPERS, path)
    assert question.query.query == CITATION
    (paper,) = question.history
    assert (paper.query, paper.response, paper.metadata) == ("t", "", {"abstract": "a"})


def test_without_a_user_id_each_question_is_a_user(tmp_path):
    path = questions(tmp_path, record("10"), record("11"))
    assert [query.user for query in read_lamp(NEWS, path).queries] == ["10", "11"]


def test_an_entry_has_the_same_id_in_every_question_of_its_user(tmp_path):
    path = questions(
        tmp_path,
        record("10", user_id="u", profile=[entry(id="100")]),
        record("11", user_id="u", profile=[entry(id="110"), entry("a goal", id="111")]),
        record("12", user_id="v", profile=[entry(id="120")]),
    )
    data = read_lamp(NEWS, path)
    first, second, other = data.questions
    assert first.history[0].id == second.history[0].id != other.history[0].id
    assert [one.query for one in data.interactions] == ["a match", "a goal", "a match"]


def test_entries_alike_in_everything_but_their_id_are_one(tmp_path):
    twins = [entry(id="1", date=86400), entry(id="2", date=86400), entry(id="3", date=2 * 86400)]
    (question,) = iter_lamp(NEWS, questions(tmp_path, record(profile=twins)))
    assert len(question.history) == 2


@pytest.mark.parametrize("date", [1519862400, "1519862400", "2018-03-01"])
def test_a_date_is_unix_seconds_or_a_day(tmp_path, date):
    (question,) = iter_lamp(NEWS, questions(tmp_path, record(profile=[entry(date=date)])))
    assert question.history[0].time == datetime(2018, 3, 1, tzinfo=UTC)


def test_a_date_that_is_only_a_year_is_its_beginning(tmp_path):
    (question,) = iter_lamp(NEWS, questions(tmp_path, record(profile=[entry(date=2012)])))
    assert question.history[0].time == datetime(2012, 1, 1, tzinfo=UTC)


def test_an_empty_history_is_a_new_user(tmp_path):
    (question,) = iter_lamp(NEWS, questions(tmp_path, record(profile=[])))
    assert question.history == ()


def test_only_the_users_and_the_number_asked_for_are_read(tmp_path):
    path = questions(tmp_path, *(record(str(n), user_id="abab"[n]) for n in range(4)))
    ids = [q.query.id for q in iter_lamp(NEWS, path, users="b")]
    assert ids == ["1", "3"]
    assert [q.query.id for q in iter_lamp(NEWS, path, users=["a", "b"], limit=3)] == list("012")
    with pytest.raises(DataError, match=r"questions\.json: it holds no such users: nobody"):
        read_lamp(NEWS, path, users=["a", "nobody"])


def test_the_file_may_be_packed_whatever_its_name(tmp_path):
    path = questions(tmp_path, record())
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert len(read_lamp(NEWS, path).queries) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_other_unicode_encodings_and_halves_of_characters_are_read(tmp_path, encoding):
    path = questions(tmp_path, record("10", "Grüße @"), record("11", "@ 😀"))
    text = json.dumps(json.loads(path.read_text()), ensure_ascii=False)
    path.write_bytes(text.replace("@", r"half \ud83d of").encode(encoding))
    found = [one.query.query for one in iter_lamp(NEWS, path)]
    assert found == ["Grüße half \ufffd of", "half \ufffd of 😀"]


def test_an_id_of_a_user_in_another_form_is_the_same_user(tmp_path):
    account = ImportSummary()
    path = questions(tmp_path, record("1", user_id="Zoe\u0301"), record("2", user_id="Zo\u00e9"))
    found = iter_lamp(NEWS, path, users="Zo\u00e9\u200e", account=account)
    assert [(one.query.id, one.query.user) for one in found] == [("1", "Zoé"), ("2", "Zoé")]
    assert account.joined == {"Zoé": ["Zoe\u0301", "Zo\u00e9"]}


def test_a_question_without_a_usable_gold_answer_is_left_where_that_is_wanted(tmp_path):
    path = questions(tmp_path, record("10"), record("11"), record("12"))
    golds = outputs(tmp_path, _10="politics", _11="sport")
    account = ImportSummary(skip_malformed=True)
    assert [one.query.id for one in iter_lamp(NEWS, path, golds, account=account)] == ["10"]
    assert [text.split(": ")[1] for text in account.malformed] == [
        "record 11",
        "record 11",
        "record 12",
    ]


# what is refused: each error names the file, the record and the field

TOMORROW = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"


@pytest.mark.parametrize(
    ("broken", "field", "problem"),
    [
        ({"input": "Which article?"}, "input", "official wording"),
        ({"input": NEWS.prompt("")}, "input", "has no article"),
        ({"input": None}, "input", "missing"),
        ({"user_id": ""}, "user_id", "not empty"),
        ({"profile": None}, "profile", "must be a list"),
        ({"profile": [entry(), "x"]}, r"profile\[1\]", "must be an object"),
        ({"profile": [entry(label="sport")]}, r"profile\[0\]\.category", "'sport' is not .*sports"),
        ({"profile": [entry(text=" ")]}, r"profile\[0\]\.text", "not empty"),
        ({"profile": [entry(date="soon")]}, r"profile\[0\]\.date", "'soon' is no Unix seconds"),
        ({"profile": [entry(date=10**15)]}, r"profile\[0\]\.date", "out of range"),
        ({"profile": [entry(date=TOMORROW)]}, r"profile\[0\]\.date", "lies in the future"),
        ({"date": TOMORROW}, "date", "lies in the future"),
        (
            {"date": "2018-03-01", "profile": [entry(date="2018-03-04")]},
            r"profile\[0\]\.date",
            "2018-03-04 is after its question",
        ),
    ],
)
def test_a_malformed_record_is_refused_or_skipped_and_reported(tmp_path, broken, field, problem):
    path = questions(tmp_path, record("10"), record("11") | broken)
    message = rf"questions\.json: record 11: field '{field}': .*{problem}"
    with pytest.raises(DataError, match=message):
        list(iter_lamp(NEWS, path))
    data = read_lamp(NEWS, path, skip_malformed=True)
    assert [query.id for query in data.queries] == ["10"]
    (skipped,) = data.skipped
    assert re.search(message, skipped)


def test_a_question_of_lamp_1_needs_its_wording_and_options(tmp_path):
    for text in (CITATION.removesuffix(' [2]: "B"'), CITATION.replace("author", "writer")):
        path = questions(tmp_path, {"id": "1", "input": text, "profile": []})
        with pytest.raises(DataError, match="record 1: field 'input'"):
            read_lamp(PAPERS, path)


@pytest.mark.parametrize("broken", [[], {"input": "x"}])
def test_a_record_without_an_id_is_named_by_its_number(tmp_path, broken):
    with pytest.raises(DataError, match=r"questions\.json: record #2: field 'id'"):
        read_lamp(NEWS, questions(tmp_path, record(), broken))


def test_two_records_with_one_id_are_refused(tmp_path):
    with pytest.raises(DataError, match="record 10: field 'id': another record"):
        read_lamp(NEWS, questions(tmp_path, record("10"), record("10")))


def test_questions_without_gold_are_listed(tmp_path):
    path = questions(tmp_path, *(record(str(n)) for n in range(10, 20)))
    golds = outputs(tmp_path, _10="politics", _12="sports")
    reading = iter_lamp(NEWS, path, golds)
    assert next(reading).query.gold == "politics"
    with pytest.raises(DataError, match=r"outputs\.json: no gold .*: 11, 13, 14, 15, 16:"):
        next(reading)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"task": "LaMP_3", "golds": []}, "field 'task': .*'LaMP_3', not of LaMP_2N"),
        ([], "not an outputs file"),
        ({"task": "LaMP_2N", "golds": [{"id": "1", "output": "sport"}]}, "record 1: .*'sport'"),
        ({"task": "LaMP_2N", "golds": [{"id": "1"}]}, "record 1: field 'output'.*missing"),
        (
            {
                "task": "LaMP_2N",
                "golds": [{"id": "1", "output": "sports"}, {"id": "1", "output": "crime"}],
            },
            "record 1: field 'output': 'crime', but 'sports'",
        ),
    ],
)
def test_broken_outputs_are_refused(tmp_path, data, problem):
    with pytest.raises(DataError, match=rf"outputs\.json: {problem}"):
        read_golds(save(tmp_path / "outputs.json", data), NEWS)


@pytest.mark.parametrize("name", ["LaMP_2N", "LaMP_2", "lamp-2n"])
def test_the_names_that_outputs_call_the_task_are_known(tmp_path, name):
    assert read_golds(outputs(tmp_path, name, _1="crime"), NEWS) == {"1": "crime"}


def test_a_web_page_is_told_from_data(tmp_path):
    path = tmp_path / "questions.json"
    path.write_text("\n<!DOCTYPE html><html></html>")
    for read in (read_lamp, lambda task, path: read_golds(path, task)):
        with pytest.raises(DataError, match=r"questions\.json: this is a web page"):
            read(NEWS, path)


def test_a_cut_off_download_is_told(tmp_path):
    path = questions(tmp_path, *(record(str(n), f"item {n * n}") for n in range(50)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"questions\.json: not valid JSON, or cut off, after record #2\d: "
    ):
        read_lamp(NEWS, path)
    path.write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(DataError, match=r"questions\.json: damaged or cut off gzip"):
        read_lamp(NEWS, path)


def test_what_is_no_questions_file_is_told(tmp_path):
    with pytest.raises(DataError, match="must be a list of records"):
        read_lamp(NEWS, outputs(tmp_path))
    with pytest.raises(DataError, match=r"none\.json: cannot be read: No such file"):
        read_lamp(NEWS, tmp_path / "none.json")


# derived pairs


def papers(user: str, *titles: str) -> list[Interaction]:
    return [Interaction(f"{user}-{title}", user, "lamp-1", title, "") for title in titles]


def test_derived_pairs_are_balanced_deterministic_and_name_their_papers():
    history = {"u": papers("u", *"abcdef"), "v": papers("v", *"uvwx"), "w": papers("w", "z")}
    pairs = self_supervised_pairs(history, seed=1)
    assert pairs == self_supervised_pairs(history, seed=1)
    assert pairs != self_supervised_pairs(history, seed=2)
    assert [pair.user for pair in pairs] == ["u"] * 6 + ["v"] * 4  # one paper makes no pair
    assert [pair.response for pair in pairs[:6]].count("[1]") == 3
    for pair in pairs:
        assert pair.source == "derived"
        assert pair.metadata["stem"] != pair.metadata["own"]


def test_derived_pairs_need_another_author():
    with pytest.raises(DataError, match="at least one other user"):
        self_supervised_pairs({"u": papers("u", "a", "b")}, seed=0)
