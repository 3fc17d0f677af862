"""The persona: a user's system prompt, immutable, versioned and hashed.

Profile, items and directives (paper, section 3.3); each item and each directive carries the ids of
the interactions that speak for it. `render` gives the system prompt itself.

Directives are put together by `merge`, which only ever joins, so writers and devices may merge in
any order and as often as they like; `resolve` throws away, so it comes once, after everything was
merged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self

from personaagent.data import items as noted
from personaagent.data.items import Item
from personaagent.data.meanings import Meanings
from personaagent.data.normal import normal
from personaagent.errors import DataError

PREAMBLE = "You answer on behalf of one user, exactly as this user would."
ROLES = MappingProxyType(
    {
        "user": PREAMBLE,
        "assistant": "You are the assistant of one user. Answer so that it suits this user, whose "
        "preferences, needs and habits count also where the question does not mention them.",
    }
)
"""By role of the LM, how its system prompt begins: it answers as the user, or assists the user."""

_LATER: dict[str, Any] = {
    "items": [],
    "role": "user",
    "words": None,
    "whole": False,
    "profile_author": "",
    "profile_pinned": False,
}
"""Fields that personas did not always have; hashes from before them stay valid."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One rule of behaviour with its evidence: ids of interactions for and against it.

    A directive with a `cue` is put before the LM only for queries that the cue fits: those whose
    embedding has a cosine of at least `reach` with the cue's. Without a cue it always holds.

    `author` is the person who wrote the text, empty where it was learned; a `pinned` one is never
    changed or dropped by an alignment (see `data.pins`).
    """

    text: str
    cue: str = ""
    reach: float = 0.0
    support: tuple[str, ...] = ()
    oppose: tuple[str, ...] = ()
    author: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """What the fused answer p(y) ~ p_LM(y)^lm * p_user(y)^habit * exp(lean(y)) weighs, earned on
    replay.

    `lean` corrects the LM's own preference for some labels over others (in nats, 0 where a label is
    not named); `lm=1, habit=0` and no lean is the LM alone. `meanings` are what a cohort means by
    the labels, on which habit rests where the user has shown little; None: what they are called.
    `fitted_with` is the model that was replayed: of another one the weights say nothing. Empty:
    they were not fitted.
    """

    lm: float = 1.0
    habit: float = 0.0
    lean: dict[str, float] = field(default_factory=dict, hash=False)
    meanings: Meanings | None = None
    fitted_with: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """One call of a tool with its arguments: an element of the action space A ∪ D."""

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)


class _Hashed:
    """Room for the hash beside the fields: every answer names it, and it takes as long to compute
    as a persona takes to read."""

    __slots__ = ("_hash",)


@dataclass(frozen=True, slots=True)
class Persona(_Hashed):
    """What one user's agent is told, for one task.

    `actions` are standing actions: taken for every query without asking the LM. None means that
    the LM chooses for every query. `parent` is the hash of the persona that this one replaces.
    `profile_author` and `profile_pinned` say of the profile what a directive's `author` and
    `pinned` say of it; an empty profile may be pinned too. `whole` says that the profile is a whole
    system prompt in words of its own, as in the paper. `role` is one of `ROLES`. `words` is the
    budget of the items in the prompt; None: no limit.

    Raises:
        DataError: the role is none of these, or the budget is below 0.

    >>> rule = Directive("If the message mentions car, answer money.", support=("1", "7"))
    >>> persona = Persona("amira", "inbox", profile="Keeps a tidy inbox.", directives=(rule,))
    >>> print(persona.render())
    You answer on behalf of one user, exactly as this user would.
    About this user: Keeps a tidy inbox.
    How this user answers, whatever the usual reading would be:
    - If the message mentions car, answer money.
    >>> Persona.from_dict(persona.to_dict()) == persona
    True
    """

    user: str
    task: str
    profile: str = ""
    directives: tuple[Directive, ...] = ()
    trust: FusionWeights = FusionWeights()
    actions: tuple[Action, ...] | None = None
    version: int = 0
    parent: str | None = None
    items: tuple[Item, ...] = ()
    role: str = "user"
    words: int | None = None
    whole: bool = False
    profile_author: str = ""
    profile_pinned: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "user", normal(self.user))
        if self.role not in ROLES:
            raise DataError(f"role is {self.role!r}: it is one of {', '.join(ROLES)}")
        if self.words is not None and self.words < 0:
            raise DataError(f"words is {self.words}: a budget is 0 or more, or None")

    @property
    def hash(self) -> str:
        """SHA-256 of everything that the persona says, its place in the chain included."""
        known: str | None = getattr(self, "_hash", None)
        if known is None:
            text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=False)
            known = hashlib.sha256(text.encode()).hexdigest()
            object.__setattr__(self, "_hash", known)
        return known

    @property
    def statements(self) -> tuple[Item | Directive, ...]:
        """What rests on evidence: items and directives."""
        return (*self.items, *self.directives)

    @property
    def cited(self) -> frozenset[str]:
        """The ids of the interactions that speak for or against an item or a directive."""
        return frozenset(id for one in self.statements for id in (*one.support, *one.oppose))

    @property
    def blank(self) -> bool:
        """Whether it says nothing of its user."""
        return not (self.profile or self.items or self.directives)

    def render(self, scores: Mapping[Item, float] | None = None) -> str:
        """The whole persona: it works as a plain `system` message of any chat API.

        Args:
            scores: how well each item fits the query, for items that exceed the budget.
        """
        return self._render(self.directives, scores)

    def standing_prompt(self, scores: Mapping[Item, float] | None = None) -> str:
        """What holds for every query: the system prompt without the directives that have a cue."""
        return self._render(tuple(one for one in self.directives if not one.cue), scores)

    def _render(
        self, directives: tuple[Directive, ...], scores: Mapping[Item, float] | None
    ) -> str:
        parts = [self.profile if self.whole and self.profile else ROLES[self.role]]
        if self.profile and not self.whole:
            parts.append(f"About this user: {self.profile}")
        if notes := noted.render(self.items, self.words, scores=scores):
            parts.append(notes)
        if directives:
            rules = "\n".join(f"- {directive.text}" for directive in directives)
            parts.append(f"How this user answers, whatever the usual reading would be:\n{rules}")
        return "\n".join(parts)

    def succeed(self, **changes: Any) -> Self:
        """The next version of this persona with some fields changed.

        Another profile is nobody's, and not pinned, unless the changes say so.
        """
        if changes.get("profile", self.profile) != self.profile:
            changes = {"profile_author": "", "profile_pinned": False, **changes}
        return replace(self, **changes, version=self.version + 1, parent=self.hash)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` reads it back to an equal persona."""
        items = [one.to_dict() for one in self.items]
        data: dict[str, Any] = json.loads(json.dumps(asdict(self) | {"items": items}))
        for name, default in _LATER.items():
            if data[name] == default:
                del data[name]
        for later in (
            "lean",
            "meanings",
            "fitted_with",
        ):  # hashes from before there were these stay valid
            if not data["trust"][later]:
                del data["trust"][later]
        for one in data["directives"]:
            for name in ("author", "pinned"):
                if not one[name]:
                    del one[name]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            DataError: a field is missing or of the wrong form.
        """
        try:
            return cls(
                user=_typed(data, "user", str),
                task=_typed(data, "task", str),
                profile=_typed(data, "profile", str),
                directives=tuple(map(_directive, _typed(data, "directives", list))),
                trust=_trust(data["trust"]),
                actions=None
                if data["actions"] is None
                else tuple(map(_action, _typed(data, "actions", list))),
                version=_typed(data, "version", int),
                parent=_typed(data, "parent", str, type(None)),
                items=tuple(map(Item.from_dict, _typed(_LATER | data, "items", list))),
                role=_typed(_LATER | data, "role", str),
                words=_typed(_LATER | data, "words", int, type(None)),
                whole=_flag(data, "whole"),
                profile_author=_typed(_LATER | data, "profile_author", str),
                profile_pinned=_flag(data, "profile_pinned"),
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"persona: malformed field: {error!r}") from error


def _directive(data: dict[str, Any]) -> Directive:
    return Directive(
        _typed(data, "text", str),
        _typed(data, "cue", str),
        _typed(data, "reach", int, float),
        _ids(data, "support"),
        _ids(data, "oppose"),
        _typed({"author": "", **data}, "author", str),
        _flag(data, "pinned"),
    )


def _trust(data: dict[str, Any]) -> FusionWeights:
    if unknown := set(data) - {"lm", "habit", "lean", "meanings", "fitted_with"}:
        raise TypeError(f"trust has no {unknown}")
    lean = _typed(data, "lean", dict) if "lean" in data else {}
    return FusionWeights(
        _typed(data, "lm", int, float),
        _typed(data, "habit", int, float),
        {label: _typed(lean, label, int, float) for label in lean},
        None if data.get("meanings") is None else _meanings(data["meanings"]),
        _typed({"fitted_with": "", **data}, "fitted_with", str),
    )


def _meanings(data: dict[str, Any]) -> Meanings:
    if unknown := set(data) - {"space", "scale", "labels"}:
        raise TypeError(f"meanings have no {unknown}")
    labels = _typed(data, "labels", dict)
    return Meanings(
        _typed(data, "space", str),
        _typed(data, "scale", int, float),
        {label: _typed(labels, label, str) for label in labels},
    )


def _action(data: dict[str, Any]) -> Action:
    if unknown := set(data) - {"tool", "arguments"}:
        raise TypeError(f"an action has no {unknown}")
    return Action(_typed(data, "tool", str), _typed(data, "arguments", dict))


def _ids(data: dict[str, Any], name: str) -> tuple[str, ...]:
    ids = _typed(data, name, list)
    return tuple(_typed({name: one}, name, str) for one in ids)


def _flag(data: dict[str, Any], name: str) -> bool:
    value = data.get(name, False)
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}")
    return value


def _typed(data: dict[str, Any], name: str, *types: type) -> Any:
    value = data[name]
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}")
    return value


def merge(*sides: Iterable[Directive]) -> tuple[Directive, ...]:
    """The directives of all sides, ordered by cue and text.

    Those with the same cue and text are one: the evidence of all of them, and the narrowest reach;
    where a person pinned some of them, the narrowest of theirs. Commutative, associative and
    idempotent.
    """
    merged: dict[tuple[str, str], Directive] = {}
    for one in (directive for side in sides for directive in side):
        known = merged.setdefault((one.cue, one.text), one)
        merged[one.cue, one.text] = replace(
            one,
            reach=max(
                each.reach
                for each in (one, known)
                if each.pinned or not (one.pinned or known.pinned)
            ),
            support=_union(one.support, known.support),
            oppose=_union(one.oppose, known.oppose),
            author=max(one.author, known.author),
            pinned=one.pinned or known.pinned,
        )
    return tuple(merged[name] for name in sorted(merged))


def resolve(
    directives: Iterable[Directive], *, cap: int, order: Sequence[str] = ()
) -> tuple[Directive, ...]:
    """The best supported directives, no two of which contradict each other, ordered as by `merge`.

    What has more for than against it stands before what has less; of equals the one with the
    latest support, then the one with the lower SHA-256 of its content. What a person pinned is
    always kept, whatever else contradicts it or how many there are.

    Args:
        directives: in any order.
        cap: how many are kept at most.
        order: ids of interactions, oldest first; others count as older than these.
    """
    place = {id: number for number, id in enumerate(order)}

    def rank(one: Directive) -> tuple[int, int, str]:
        latest = max((place.get(id, -1) for id in one.support), default=-1)
        name = hashlib.sha256(f"{one.cue}\n{one.text}".encode(errors="surrogatepass")).hexdigest()
        return -net(one), -latest, name

    known = merge(directives)
    kept = [one for one in known if one.pinned]
    for one in sorted((one for one in known if not one.pinned), key=rank):
        if len(kept) < cap and not any(contradict(one, better) for better in kept):
            kept.append(one)
    return merge(kept)


def net(directive: Directive) -> int:
    """How many interactions more speak for a directive than against it."""
    return len(directive.support) - len(directive.oppose)


def contradict(one: Directive, other: Directive) -> bool:
    """Whether two directives answer the same queries differently.

    The same queries: they have the same cue, or of the interactions that they speak to most are the
    same ones. A narrow directive inside the reach of a wide one is its exception, which the better
    fit of its cue decides. Without cues nobody but an LM could tell.
    """
    if not (one.cue and other.cue) or _answer(one) == _answer(other):
        return False
    if one.cue.casefold() == other.cue.casefold():
        return True
    mine, theirs = ({*each.support, *each.oppose} for each in (one, other))
    return 2 * len(mine & theirs) > len(mine | theirs)


def _answer(directive: Directive) -> str:
    """What is left of a directive without its cue: equal where the answers are equal."""
    return directive.text.replace(directive.cue, "")


def _union(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))
