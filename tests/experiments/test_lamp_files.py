"""The LaMP files beside the checkout: nothing of them is copied into the project."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from lamp_reading import read_lamp

from personaagent.data import LAMP_TASKS, Choice, self_supervised_pairs
from personaagent.experiments.lamp_files import iter_lamp

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "lamp"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the LaMP files are not beside the checkout ({FOLDER})"
)

# name, task, questions, users, history min / median / max: the table of the folder's README
FILES = [
    ("LaMP_1", "lamp-1", 552, 552, (2, 5, 10)),
    ("LaMP_2N", "lamp-2n", 250, 250, (3, 13, 57)),
    ("LaMP_2M_style", "lamp-2m", 64, 64, (4, 6, 41)),
    ("LaMP_2N_style", "lamp-2n", 70, 35, (8, 34, 114)),
    ("LaMP_3_style", "lamp-3", 216, 108, (8, 11, 41)),
]
each_file = pytest.mark.parametrize(("name", "task", "count", "users", "history"), FILES)


def raw(name: str) -> list[dict[str, Any]]:
    with gzip.open(FOLDER / f"{name}_questions.json.gz") as stream:
        return json.load(stream)


def paths(name: str) -> tuple[Path, Path]:
    return FOLDER / f"{name}_questions.json.gz", FOLDER / f"{name}_outputs.json"


@each_file
def test_the_prompt_is_the_official_input_to_the_letter(name, task, count, users, history):
    task = LAMP_TASKS[task]
    for record, question in zip(raw(name), iter_lamp(task, *paths(name)), strict=True):
        assert task.prompt(question.query.query) == record["input"]


@each_file
def test_every_question_and_entry_of_the_file_arrives(name, task, count, users, history):
    task = LAMP_TASKS[task]
    data = read_lamp(task, *paths(name))
    assert len(data.queries) == count
    assert len({query.user for query in data.queries}) == users
    assert all(query.gold in task.labels for query in data.queries)
    sizes = sorted(len(question.history) for question in data.questions)
    assert sizes == sorted(len(record["profile"]) for record in raw(name))
    assert (sizes[0], sizes[len(sizes) // 2], sizes[-1]) == history
    assert data.skipped == ()


@each_file
def test_reading_a_file_twice_gives_the_same_ids(name, task, count, users, history):
    once, again = (read_lamp(LAMP_TASKS[task], *paths(name)).interactions for _ in range(2))
    assert [one.id for one in once] == [one.id for one in again]
    assert len({one.id for one in once}) == len(once)


def test_overlapping_histories_of_a_user_are_stored_once():
    data = read_lamp(LAMP_TASKS["lamp-3"], *paths("LaMP_3_style"))
    entries = sum(len(question.history) for question in data.questions)
    assert (entries, len(data.interactions)) == (2908, 1508)
    ids = {one.id: one.digest for question in data.questions for one in question.history}
    assert all(ids[one.id] == one.digest for one in data.interactions)


def test_the_options_of_lamp_1_exchange_and_exchange_back():
    task = LAMP_TASKS["lamp-1"]
    assert isinstance(task, Choice)
    for question in iter_lamp(task, *paths("LaMP_1")):
        text = question.query.query
        assert task.options(task.swapped(text)) == task.options(text)[::-1]
        assert task.swapped(task.swapped(text)) == text


def test_derived_pairs_ask_in_the_official_wording_and_use_no_question():
    task = LAMP_TASKS["lamp-1"]
    assert isinstance(task, Choice)
    questions = list(iter_lamp(task, *paths("LaMP_1")))
    pairs = self_supervised_pairs({q.query.user: q.history for q in questions}, seed=0)
    titles = {q.query.user: {paper.query for paper in q.history} for q in questions}
    asked = {q.query.query for q in questions}
    assert len(pairs) == 2877
    for pair in pairs:
        options = task.options(pair.query)
        right = int(pair.response == "[2]")
        assert options[right] in titles[pair.user]
        assert options[1 - right] not in titles[pair.user]
        assert pair.query not in asked
    assert abs(sum(pair.response == "[1]" for pair in pairs) / len(pairs) - 0.5) < 0.02
