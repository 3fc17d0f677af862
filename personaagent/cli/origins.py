"""What `blame` says of where an item or a directive comes from, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from personaagent.cli import render

if TYPE_CHECKING:
    from personaagent.memory import Published
    from personaagent.service.lineage import Critique


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
