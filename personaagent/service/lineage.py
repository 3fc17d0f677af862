"""Where the parts of a persona come from, and what changed from one version to another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


def edits(before: Persona | None, after: Persona) -> list[dict[str, Any]]:
    """The directives that were added, revised (another reach or evidence) or dropped."""
    old, new = (
        {(one.cue, one.text): one for one in persona.directives} if persona else {}
        for persona in (before, after)
    )
    edits = []
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) == new.get(name):
            continue
        edit = "add" if name not in old else "drop" if name not in new else "revise"
        edits.append(
            {"edit": edit, "text": name[1], "cue": name[0]}
            | {"from": _figures(old.get(name)), "to": _figures(new.get(name))}
        )
    return edits


def item_edits(before: Persona | None, after: Persona) -> list[dict[str, Any]]:
    """The items that were added, revised (other evidence, topic or category) or dropped."""
    old, new = ({one.key: one for one in one.items} if one else {} for one in (before, after))
    edits = []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            continue
        edit = "add" if key not in old else "drop" if key not in new else "revise"
        one = new.get(key) or old[key]
        edits.append(
            {"edit": edit, "kind": one.kind, "text": one.text, "reach": one.reach}
            | {"from": _item_figures(old.get(key)), "to": _item_figures(new.get(key))}
        )
    return edits


def _figures(directive: Directive | None) -> dict[str, Any] | None:
    return None if directive is None else {"reach": directive.reach} | _evidence(directive)


def _item_figures(item: Item | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {"topic": item.topic, "sensitive": item.sensitive} | _evidence(item)


def _evidence(said: Item | Directive) -> dict[str, int]:
    return {"support": len(said.support), "oppose": len(said.oppose)}
