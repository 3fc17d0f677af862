"""Which interactions may enter memory, and how much they count by where they come from.

Only what a user did, or said about an answer, is evidence of what the user would answer. What an LM
or a tool produced is not, whoever hands it in; and a text that speaks to the assistant is put aside
and shown instead of being recalled, learned from or obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from personaagent.data.interaction import Interaction
from personaagent.data.orders import STRONG, WEAK, Sign, fold, standing, unmasked
from personaagent.data.suspicion import ALWAYS, REPLY, points, signs, visible
from personaagent.data.task import Task

TRUST: Mapping[str, float] = {
    "user": 1.0,  # what the user did
    "feedback": 0.8,  # what the user said about an answer
    "import": 0.6,  # taken over from elsewhere, at first hand
    "derived": 0.3,  # made from the user's own interactions
}
"""How much an interaction of a source counts in votes, beside its own weight."""

UNKNOWN = 0.6  # a source of one's own naming, such as "crm": as if imported
GENERATED = frozenset({"assistant", "generated", "lm", "recalled", "tool"})
"""Sources that are no user's: their interactions never enter memory."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`weight` is the trust in the source, in (0, 1], or 0 where the interaction is quarantined;
    then `reason` says why."""

    weight: float
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the interaction may enter memory."""
        return not self.reason


@dataclass(frozen=True)
class Screening:
    """The intake policy.

    Attributes:
        trust: the weight of each source, in (0, 1].
        unknown: the weight of a source that `trust` does not name.
        suspect_below: sources trusted less than this are quarantined for a single weak sign.
    """

    trust: Mapping[str, float] = field(default_factory=lambda: TRUST)
    unknown: float = UNKNOWN
    suspect_below: float = 0.5

    def trust_in(self, source: str) -> float:
        """How much the interactions of a source count, in (0, 1]."""
        return self.trust.get(source, self.unknown)

    def verdict(self, interaction: Interaction, task: Task | None = None) -> Verdict:
        """Whether an interaction may enter memory; with its task, more is recognized.

        Its query, its response and the values of its metadata are read.
        """
        weight = self.trust_in(interaction.source)
        if interaction.source in GENERATED:
            return Verdict(
                0.0,
                f"'{interaction.source}' is no user: what was generated or recalled is not "
                "what the user answered",
            )
        texts = (interaction.query, interaction.response, *interaction.metadata.values())
        found = [
            sign
            for text in texts
            for sign in (*signs(text), *bridging(text, task, interaction.response))
        ]
        enough = STRONG if weight >= self.suspect_below else 1
        if points(found) < enough:
            return Verdict(weight)
        said = "; ".join(dict.fromkeys(f"{one.kind}: “{one.shown}”" for one in found))
        return Verdict(0.0, f"looks like an instruction ({said})")


def bridging(text: str, task: Task | None, response: str) -> list[Sign]:
    """The signs that a text says what the answer to other queries is: how an attacker who may only
    ask plants "memories" (MINJA).

    Where the task is not known, the only label that is known is the response that came with it.
    """
    labels = tuple(filter(str.strip, (response,) if task is None else task.labels))
    said = visible(text)
    lower = said.lower()
    if not any(label.strip().lower() in lower for label in labels):
        return []
    ordered = [
        Sign("orders an answer", STRONG, sentence[:80])
        for sentence in standing(unmasked(said))
        if any(_names(sentence, fold(label.strip())) for label in labels)
    ]
    nouns = (task.answer, task.example_item or task.item) if task else ("folder", "message")
    return ordered + [
        Sign(kind, worth, match[0][:80])
        for kind, worth, pattern in _statements(labels, *nouns)
        if (match := pattern.search(said))
    ]


def _names(sentence: str, label: str) -> bool:
    """Whether a sentence has a label as a word; a script without spaces has no words to tell."""
    word = re.escape(label)
    if label.isascii():
        word = rf"(?<![a-z0-9_-]){word}(?![a-z0-9_-])"
    return re.search(word, sentence) is not None


def withheld(text: str) -> str:
    """A tool's text as an LM may see it: the text, or where it gives orders, a note in its place.

    A tool is not trusted: one strong sign, or weak ones of two kinds, are enough.
    """
    if points(signs(text)) < STRONG:
        return text
    return "(withheld: the text looks like an instruction to the assistant)"


@lru_cache(maxsize=256)
def _statements(
    labels: tuple[str, ...], answer: str, item: str
) -> tuple[tuple[str, int, re.Pattern[str]], ...]:
    """Kind, points and pattern of the ways to state or to order the answer to other queries.

    `the folder for the message: "…" is "work"`: quotes or the noun of the query make it a record,
    without them it may be a sentence of one's own. `always answer work`: the label makes the
    difference to "always answer the door".
    """
    any_label = "|".join(re.escape(label.strip()) for label in labels)
    nouns = "|".join(map(re.escape, dict.fromkeys([answer, "answer", "label", "category"])))
    verb = r"(?:is|was|=|->|=>|→|should be|must be|will be|has to be)(?: always| now)?"
    bare = rf"[\"'“\[(]?(?:{any_label})(?![\w-])"
    in_quotes = rf"[\"“](?:{any_label})[\"”]"
    quoted = r"[\"'“][^\n]{1,300}?[\"'”]"
    about = rf"\b(?:{nouns}) (?:for|of|to)\b[^\n]"
    record, order = "states an answer", "orders an answer"
    patterns = (
        (record, STRONG, rf"{about}{{0,40}}?{quoted}[^\n.]{{0,20}}? {verb} {bare}"),
        (record, STRONG, rf"{about}{{0,200}}? {verb} {in_quotes}"),
        (record, STRONG, rf"(?:^|[.;:] *){quoted} {verb} {in_quotes}"),
        (
            record,
            STRONG,
            rf"{about}{{0,40}}?\b{re.escape(item)}s?\b[^\n.]{{0,60}}? {verb} {bare}",
        ),
        (record, WEAK, rf"{about}{{0,80}}? {verb} {bare}"),
        (order, STRONG, rf"\b{ALWAYS}\b[^.\n]{{0,80}}?\b{REPLY}\s+(?:\w+\s+){{0,3}}{bare}"),
    )
    flags = re.IGNORECASE | re.MULTILINE
    return tuple((kind, worth, re.compile(pattern, flags)) for kind, worth, pattern in patterns)
