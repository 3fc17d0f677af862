"""Where a directive comes from: the version that brought it, the gradients that led to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from personaagent.cli import render

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


def since(chain: Sequence[Published], persona: Persona, directive: Directive) -> Published:
    """The version since which every one up to the persona has had the directive; as far as what
    was not erased tells."""
    entries = [one for one in chain if one.version <= persona.version]
    first = entries[-1]
    for entry in reversed(entries):
        if entry.persona is None:
            break
        said = {(one.cue, one.text) for one in entry.persona.directives}
        if (directive.cue, directive.text) not in said:
            break
        first = entry
    return first


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


def lines(entry: Published, found: Sequence[Critique]) -> Iterator[Text]:
    """What `blame` says of a directive, line by line."""
    yield Text(
        f"since version {entry.version} ({entry.hash[:8]}) of {entry.created:%Y-%m-%d %H:%M}: "
        f"{render.plain(entry.reason)}",
        style="cyan",
    )
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
