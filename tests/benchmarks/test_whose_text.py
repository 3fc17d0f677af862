"""The benchmark that asks whose text it is: a pair is won only where both orders agree."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rulebook import RuleBook, stand_in

from benchmarks.kept import Kept
from benchmarks.whose_text import USERS_OWN, judge, table
from personaagent.data import Interaction, Text

ROOT = Path(__file__).parents[2]
TASK = Text("replies", "Write the reply.", item="message", answer="reply")
PAIR = (USERS_OWN, "none")


def reply(id, text):
    return Interaction(
        id, "ann", "replies", "Are you coming?", text, datetime(2026, 3, 1, tzinfo=UTC)
    )


def by_the_signature(asked):
    """Takes the text that ends as the user's do."""
    first = asked.text.index("first", asked.text.index("message"))
    own = asked.text.index("No. Z")
    other = asked.text.index("No thank you")
    assert first < min(own, other)
    return "first" if own < other else "second"


def test_the_published_table_is_computed_from_the_kept_verdicts():
    made = table(Kept(ROOT / "results" / "texts" / "replies" / "verdicts.jsonl"))
    assert made in (ROOT / "docs" / "results-texts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("says", "row"),
    [
        (by_the_signature, "| the user's own | none | 1 | 1.00 [1.00, 1.00] | 1.00 |"),
        (lambda _: "first", "| the user's own | none | 1 | 0.50 [0.50, 0.50] | 0.00 |"),
    ],
)
def test_a_pair_is_won_where_both_orders_agree(says, row, tmp_path):
    book = RuleBook(TASK, says={"written": says})
    past, asked = {"ann": [reply("a1", "Yes. Z")]}, {"a2": reply("a2", "No. Z")}
    written = {(USERS_OWN, "a2"): "No. Z", ("none", "a2"): "No thank you"}
    verdicts = Kept(tmp_path / "verdicts.jsonl")
    for _ in range(2):  # what has a verdict is not asked again
        judge([PAIR, ("ours", "none")], written, past, asked, [stand_in(book)], verdicts, 2)
    assert len(book.asked) == 2
    assert all("Yes. Z" in one.everything for one in book.asked)
    assert table(verdicts).splitlines()[2:] == [row]
