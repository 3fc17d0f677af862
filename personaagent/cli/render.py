"""What the commands print: rich on a terminal, plain text in a pipe, or one JSON document.

Texts of users are data: no markup is read from them, and no control character reaches the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from difflib import ndiff
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from personaagent.data.items import by_topic
from personaagent.table import plain as plain
from personaagent.table import short as short

if TYPE_CHECKING:
    from personaagent.data import (
        Action,
        Directive,
        FusionWeights,
        Interaction,
        Item,
        Persona,
    )
    from personaagent.lm import Usage

SIGNS = {"+": "green", "-": "red", " ": "dim"}
_BAR = 24  # characters of a probability of 1
_RARE = 0.01  # a probability that is not worth a line

Change = tuple[str, str]
"""A line of a difference: its sign (`+`, `-` or a space) and its text."""


def screen(*, as_json: bool) -> Console:
    """Where people read: stdout, or stderr where stdout is for the JSON document."""
    return Console(stderr=as_json, markup=False, highlight=False, emoji=False)


def print_json(data: Mapping[str, Any]) -> None:
    """The one JSON document on stdout."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2))


def counted(number: int, noun: str) -> str:
    """`1 user`, `2,000 users`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.2 h`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


def day(moment: datetime | None) -> str:
    """The date alone."""
    return f"{moment:%Y-%m-%d}" if moment else "-"


def instant(moment: datetime | None) -> str | None:
    """The moment as JSON has it."""
    return moment.isoformat() if moment else None


def name_of(persona: Persona) -> str:
    """Version and the first digits of the hash."""
    return f"version {persona.version} ({persona.hash[:8]})"


def persona_panel(persona: Persona, *, when: datetime | None = None, reason: str = "") -> Panel:
    """The whole persona."""
    parts: list[RenderableType] = []
    if persona.profile:
        said = Text.assemble(
            plain(persona.profile), (_word(persona.profile_author, persona.profile_pinned), "dim")
        )
        parts += [Text("Profile", style="bold"), said, Text()]
    if persona.items:
        parts += [Text("Items", style="bold"), *_items(persona), Text()]
    parts.append(Text("Directives", style="bold"))
    for number, directive in enumerate(persona.directives, 1):
        parts.append(directive_line(number, directive))
    if not persona.directives:
        parts.append(Text("none", style="dim"))
    parts += [Text(), Text(_standing(persona), style="dim")]
    if when:
        parts.append(Text(f"published {when:%Y-%m-%d %H:%M}: {plain(reason)}", style="dim"))
    title = Text(f" {plain(persona.user)} · {plain(persona.task)} · {name_of(persona)} ")
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        border_style="cyan",
        padding=(1, 2),
    )


def directive_line(number: int, directive: Directive) -> Text:
    """One directive with how much speaks for and against it."""
    return Text.assemble(
        (f"{number}. ", "cyan"),
        plain(directive.text),
        (_evidence(directive), "dim"),
        overflow="fold",
    )


def item_line(number: int, item: Item) -> Text:
    """One item with what it is, how far it goes, and how much speaks for and against it."""
    what = [
        item.kind,
        *filter(None, [item.reach, item.sensitive and f"sensitive: {item.sensitive}"]),
    ]
    style = "strike" if item.contradicted else ""
    held = f", last held {day(item.last)}" if item.last else ""
    return Text.assemble(
        (f"{number}. ", "cyan"),
        (plain(item.text), style),
        (f" ({'; '.join(what)}){_evidence(item)}{held}", "dim"),
        overflow="fold",
    )


def _items(persona: Persona) -> Iterator[Text]:
    """What matters most first, by topic, as the LM reads it; with the numbers that `edit` takes."""
    numbers = {one: number for number, one in enumerate(persona.items, 1)}
    for topic, some in by_topic(persona.items).items():
        yield Text(plain(topic), style="italic")
        for one in some:
            yield item_line(numbers[one], one)


def _evidence(said: Item | Directive) -> str:
    """How much speaks for and against it, and what a person has to do with it."""
    author, pinned = getattr(said, "author", ""), getattr(said, "pinned", False)
    against = f", {len(said.oppose)} against" if said.oppose else ""
    counted = "" if author and not (said.support or said.oppose) else f"  {len(said.support)} for"
    return f"{counted}{against}{_word(author, pinned)}"


def _word(author: str, pinned: bool) -> str:
    """What a person has to do with a text."""
    said = [f"by {plain(author)}"] if author else []
    return "".join(f"  {one}" for one in (*said, *(["pinned"] if pinned else [])))


def _standing(persona: Persona) -> str:
    """What the persona says beyond its text: trust and actions."""
    if persona.actions is None:
        actions = "chosen for every query"
    else:
        actions = ", ".join(call(action) for action in persona.actions) or "none"
    said = f"actions: {actions} · trust: {weights(persona.trust)}"
    if persona.role != "user":
        said += f" · the LM is the {persona.role}"
    return said if persona.words is None else f"{said} · {counted(persona.words, 'word')} for items"


def weights(trust: FusionWeights) -> str:
    """Trust as words; of the lean the strongest three, of the meanings that there are some."""
    strongest = sorted(trust.lean.items(), key=lambda pair: -abs(pair[1]))[:3]
    lean = ", ".join(f"{label} {nats:+.2f}" for label, nats in strongest if nats)
    said = f"LM {trust.lm:g}, habit {trust.habit:g}" + (f", lean {lean}" if lean else "")
    said += ", labels as a cohort means them" if trust.meanings else ""
    return said + (f", fitted with {trust.fitted_with}" if trust.fitted_with else "")


def call(action: Action) -> str:
    """An action as a call: `recall(query="tyres", k=4)`."""
    arguments = (
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in action.arguments.items()
    )
    return plain(f"{action.tool}({', '.join(arguments)})")


def changes(old: Persona | None, new: Persona) -> list[Change]:
    """What differs between two personas, line by line."""
    before, after = (  # all items, also those that exceed the budget
        [*replace(one, words=None).render().splitlines(), _standing(one)] if one else []
        for one in (old, new)
    )
    return [(line[0], line[2:]) for line in ndiff(before, after) if line[0] in SIGNS]


def difference(lines: Sequence[Change]) -> Text:
    """The coloured difference."""
    text = Text(overflow="fold")
    for number, (sign, line) in enumerate(lines):
        text.append(f"{chr(10) if number else ''}{sign} {plain(line)}", style=SIGNS[sign])
    return text


def bars(
    distribution: Mapping[str, float],
    lm: Mapping[str, float] | None,
    habit: Mapping[str, float] | None,
) -> RichTable:
    """A distribution as bars, the most probable label first, and what it was fused from."""
    made = RichTable.grid(padding=(0, 1))
    rare = 0
    for label, p in sorted(distribution.items(), key=lambda item: -item[1]):
        if p < _RARE:
            rare += 1
            continue
        parts = [f"{name} {of[label]:.0%}" for name, of in (("LM", lm), ("habit", habit)) if of]
        made.add_row(
            plain(label),
            Text(f"{p:.0%}".rjust(4), style="bold"),
            Text("█" * round(p * _BAR) or "▏", style="cyan"),
            Text(", ".join(parts), style="dim"),
        )
    if rare:
        made.add_row(Text(f"{rare} more", style="dim"), Text(f"<{_RARE:.0%}".rjust(4), style="dim"))
    return made


def past(interaction: Interaction, head: str = "", style: str = "") -> Text:
    """A past interaction on one line: date, response, as much of the text as there is room for."""
    return Text.assemble(
        (head, style),
        (day(interaction.time), "dim"),
        "  ",
        (short(interaction.response, 20) or "(no answer)", "bold"),
        "  ",
        short(interaction.query, 300),
        no_wrap=True,
        overflow="ellipsis",
    )


def spent(usage: Usage) -> str:
    """What the LM cost."""
    calls = counted(usage.calls, "LM call")
    tokens = counted(usage.tokens, "token")
    parts = [
        f"{calls} ({usage.hits:,} from the cache)" if usage.hits else calls,
        f"{tokens} ({usage.cached_tokens:,} cached)" if usage.cached_tokens else tokens,
        f"{usage.busy_seconds:.1f} s",
    ]
    if usage.money:
        parts.append(f"${usage.money:.4f}")
    if usage.thought_tokens:
        thought = f"{usage.thought_tokens:,} tokens of thought"
        parts.append(f"{thought} (about {usage.thought_seconds:.1f} s)")
    if usage.unmetered:
        parts.append(f"{usage.unmetered:,} of unknown size")
    if usage.fallbacks:
        parts.append(f"{usage.fallbacks:,} answered by the fallback LM")
    if usage.failed:
        parts.append(f"{usage.failed:,} failed")
    return ", ".join(parts)
