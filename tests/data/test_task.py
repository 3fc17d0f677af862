"""How a task words its prompts."""

from __future__ import annotations

import hashlib

import pytest

from personaagent.data import LAMP_TASKS, Classification, Rating

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
