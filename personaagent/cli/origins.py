"""Where an item or a directive comes from: the version that brought it, and the gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from personaagent.cli import render
from personaagent.data import Item

if TYPE_CHECKING:
    from personaagent.data import Directive, Persona
    from personaagent.memory import Published


@dataclass(frozen=True, slots=True)
class Critique:
    """A gradient of a step that proposed a directive, see `AlignmentLog.origins`.

    `named` says whether it named the directive's cue, `accepted` whether the directive joined the
    persona in that step.
    """

    run: str
    iteration: int
    interaction: str
    response: str
    truth: str
    text: str
    likelihood: float | None
    named: bool
    accepted: bool


def since(chain: Sequence[Published], persona: Persona, said: Item | Directive) -> Published:
    """The version since which every one up to the persona has said it; as far as what was not
    erased tells."""
    entries = [one for one in chain if one.version <= persona.version]
    first = entries[-1]
    for entry in reversed(entries):
        if entry.persona is None:
            break
        if name_of(said) not in map(name_of, entry.persona.statements):
            break
        first = entry
    return first


def name_of(said: Item | Directive) -> tuple[str, ...]:
    """What stays when its evidence changes."""
    return said.key if isinstance(said, Item) else (said.cue, said.text)


def critiques(runs: Iterable[Any], directive: Directive) -> list[Critique]:
    """The gradients of all steps that proposed a directive, in the order of versions.

    Args:
        runs: the values of `publish.origins`.
    """
    wanted = {"cue": directive.cue, "text": directive.text}
    return [
        Critique(
            run["run"],
            step["iteration"],
            **gradient,
            named=bool(directive.cue) and directive.cue.casefold() in gradient["text"].casefold(),
            accepted=wanted in step["accepted"],
        )
        for run in sorted(runs, key=lambda run: (run["version"], run["run"]))
        for step in run["steps"]
        if wanted in step["proposed"]
        for gradient in step["gradients"]
    ]


def first(entry: Published) -> Text:
    """Since when something is said."""
    return Text(
        f"since version {entry.version} ({entry.hash[:8]}) of {entry.created:%Y-%m-%d %H:%M}: "
        f"{render.plain(entry.reason)}",
        style="cyan",
    )


def lines(entry: Published, found: Sequence[Critique]) -> Iterator[Text]:
    """What `blame` says of a directive, line by line."""
    yield first(entry)
    for one in found:
        sign, style = ("*", "bold") if one.named else ("·", "dim")
        yield Text.assemble(
            (f"{sign} gradient of {render.plain(one.interaction)}", style),
            f" (said {render.short(one.response, 30)}, the user {render.short(one.truth, 30)}",
            "" if one.likelihood is None else f", thought {one.likelihood:.0%} likely",
            "): ",
            (render.short(one.text), f"{style} italic"),
        )
    if not found:
        yield Text("no gradients are kept: it was written or restored elsewhere", style="dim")
