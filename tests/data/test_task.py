"""How a task words its prompts."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest

from personaagent.data import LAMP_TASKS, Choice, Classification, Rating, read_tasks
from personaagent.data.task import numbered
from personaagent.errors import DataError

# Published figures rest on these prompts to the byte.
LAMP = {
    "lamp-1": "210e2d765a424f1b",
    "lamp-2m": "8e9aff0a5462e435",
    "lamp-2n": "8ee6a475a7671111",
    "lamp-3": "f5382659a7ef7db2",
    "lamp-4": "19fb361b7afacb5d",
    "lamp-5": "6a00f1ff9d2c454a",
    "lamp-7": "d25181d03b6ebcd5",
}


@pytest.mark.parametrize("name", LAMP_TASKS)
def test_lamps_prompts_are_what_they_were_to_the_byte(name):
    task = LAMP_TASKS[name]
    asked = 'For an author, which? [1]: "a" [2]: "b"'
    response = task.labels[0] if task.labels else "a text"
    said = [task.system, task.prompt(asked), task.question(asked)]
    said += [task.example(asked, response), task.example(asked, "")]
    assert hashlib.sha256("\n".join(said).encode()).hexdigest()[:16] == LAMP[name]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("folder", "Which? folders: [a, b]"),
        ("stars", "Which? stars: [a, b]"),
        ("tags", "Which? tags: [a, b]"),
        ("class", "Which? class: [a, b]"),
    ],
)
def test_labels_are_named_by_the_plural_of_their_noun(answer, said):
    assert Classification("t", "Which?", labels=("a", "b"), answer=answer).system == said


def test_a_rating_in_several_of_a_thing_reads_right():
    stars = Rating("stars", "How many?", answer="stars", item="review")
    assert stars.system == "How many? stars: [1, 2, 3, 4, 5]"
    assert stars.example("Good.", "2") == 'the stars for "Good.": 2'
    assert Rating("s", "How many?", answer="score").example("Good.", "2") == (
        '2 is the score for "Good."'
    )


FOUR = Choice("pick", "Which one?", labels=numbered(4))
ASKED = 'Which? [1]: "a [2]: x" [2]: "b" [3]: "c" [4]: "d"'


def test_a_choice_has_any_number_of_options():
    assert FOUR.labels == ("[1]", "[2]", "[3]", "[4]")
    assert FOUR.options(ASKED) == ("a [2]: x", "b", "c", "d")
    assert FOUR.stem(ASKED) == "Which?"
    assert FOUR.rotated(ASKED, 1) == 'Which? [1]: "b" [2]: "c" [3]: "d" [4]: "a [2]: x"'
    assert FOUR.answered(ASKED, "[3]") == "[3]"
    with pytest.raises(DataError, match=r'\[3\]: "…"'):
        FOUR.answered('Which? [1]: "a" [2]: "b"', "[1]")
    for labels in (("[1]",), ("[2]", "[1]"), ("a", "b", "c")):
        with pytest.raises(DataError, match="and so on"):
            Choice("pick", "Which one?", labels=labels)


def test_a_preferred_place_decides_no_choice_of_four():
    def leaning(query: str) -> dict[str, float]:
        """Likes the first place, and the option c a little."""
        raw = dict.fromkeys(FOUR.labels, 1.0)
        raw["[1]"] *= 5
        raw[FOUR.labels[FOUR.options(query).index("c")]] *= 2
        return {label: value / sum(raw.values()) for label, value in raw.items()}

    read = FOUR.read(ASKED, leaning)
    assert FOUR.decide(read) == "[3]"
    assert read["[1]"] == pytest.approx(read["[2]"])
    assert sum(read.values()) == pytest.approx(1)


def test_a_tasks_file_says_how_many_options_there_are(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(
        '[{"name": "pick", "kind": "choice", "instruction": "Which one?", "options": 4},'
        ' {"name": "pair", "kind": "choice", "instruction": "Which one?"}]'
    )
    tasks = read_tasks(path)
    assert tasks["pick"] == FOUR
    assert tasks["pair"].labels == ("[1]", "[2]")


def test_a_stated_rating_speaks_for_its_neighbours_too():
    films = Rating("films", "How good?", low=1, high=10)
    counts = films.stated("7")
    assert sum(counts.values()) == pytest.approx(1)
    assert films.decide(counts) == max(counts, key=counts.get) == "7"
    losses = [films.loss(counts, gold) for gold in ("7", "6", "4", "1")]
    steps = [after - before for before, after in pairwise(losses)]
    assert steps == pytest.approx([8 / 9, 16 / 9, 24 / 9])  # by how much further it is off
    folders = Classification("inbox", "Which?", labels=("a", "b", "c")).stated("b")
    assert folders["a"] == folders["c"] < folders["b"]
