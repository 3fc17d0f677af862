"""Likelihoods: what the LM believes, not what it would write.

A label's is read from one answer, a text's by letting the LM write nothing else.

The probability of a label is read off the tokens that begin the answer: the summed probability of
the listed tokens that begin it, as bytes, without case and without the quotes or the markdown
around an answer. Where labels begin alike ("science fact", "science fiction"), the mass of the
token that they share is divided by what follows: in the answer itself where the LM wrote it out, by
a second pass in which the answer is already begun where the LM goes on with one, else equally.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from personaagent.errors import LMError
from personaagent.lm.tokens import bare, begun, folded, spellings
from personaagent.lm.written import written_label

if TYPE_CHECKING:
    from personaagent.lm.model import PersonaLM

AMBIGUOUS_MASS = 0.05
"""Probability shared by labels that is worth a second pass."""
IMPOSSIBLE = 1e-6
"""The least probability of a label where the tokens that are listed leave nothing to it."""
TIE = 1e-9
SLACK = 16
"""Tokens beyond those of the longest label that an answer may have."""


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """Labels that a first token does not tell apart.

    Attributes:
        prefix: how they all begin; a second pass continues from it.
        labels: two or more.
        mass: the probability, not normalised, of the tokens that they share.
    """

    prefix: str
    labels: tuple[str, ...]
    mass: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What an LM's answer says of the labels.

    Attributes:
        distribution: label to probability, summing to 1; None where no log-probabilities came, or
            none that belong to a label.
        label: the label that the LM wrote, where that is unmistakable; None where the LM was asked
            for one token only, or wrote something else.
        text: what it wrote.
    """

    distribution: dict[str, float] | None
    label: str | None
    text: str


def label_distribution(logprobs: Any, labels: Sequence[str]) -> dict[str, float] | None:
    """How probable each label is as the answer that begins with the scored tokens.

    A token belongs to a label when, without case and what may stand around an answer, it is not
    empty and begins the label, or, where it begins no label, when the label begins it (of several,
    the longest). A token that is a label belongs to it alone; one that begins several labels is
    divided by the tokens after it where it was written, else equally. A label that no token
    belongs to has the smallest listed probability, which bounds what is not listed, or an equal
    part of what is left to such labels, where that is less.

    Args:
        logprobs: the scored tokens of an answer: the `logprobs` of a DSPy output or of a Response,
            or one position's list of alternatives; entries with `token` and `logprob`, and `bytes`
            where they are known, as attributes or keys.
        labels: the possible answers, at least one.

    Returns:
        A probability for every label, in the labels' order, summing to 1; None when no listed token
        belongs to any label, for then nothing has been learned.
    """
    return _distribution(_positions(logprobs), _keys(_distinct(labels)), {})


def ambiguities(logprobs: Any, labels: Sequence[str], *, plain: bool = False) -> list[Ambiguity]:
    """The groups of labels that share first tokens, by falling mass; `plain` tokens only, which
    have nothing but space around them."""
    keys = _keys(_distinct(labels))
    shared: dict[tuple[str, ...], list[tuple[bytes, float]]] = {}
    for one in _answering(_positions(logprobs)).alternatives:
        token, owners = _owned(one.spellings, keys, plain)
        if len(owners) > 1:
            shared.setdefault(owners, []).append((token, one.probability))
    groups = [
        Ambiguity(
            _common_prefix(owners, max(tokens, key=lambda item: item[1])[0]),
            owners,
            sum(probability for _, probability in tokens),
        )
        for owners, tokens in shared.items()
    ]
    return sorted(groups, key=lambda group: -group.mass)


def read_answer(
    lm: PersonaLM, messages: Sequence[Mapping[str, str]], labels: Sequence[str]
) -> Reading:
    """Ask for one of the labels as the next message of the conversation, in the LM's own words.

    An LM that goes on with a begun answer (the embedded one) is asked for one token, and once more
    for every group of labels that begin alike and share more than `AMBIGUOUS_MASS`. Any other
    writes its answer out, in one call: its log-probabilities count where they lead to the label
    that it wrote.

    Args:
        lm: asked for log-probabilities where it is not known that it gives none.
        messages: OpenAI-style, `role` and `content`; the last one from the user.
        labels: the possible answers, at least one.

    Raises:
        LMError: the LM failed.
    """
    labels = _distinct(labels)
    keys = _keys(labels)
    if lm.capabilities.prefills:
        said = _ask(lm, messages, 1)
        divisions = {}
        for group in ambiguities(said.logprobs, labels, plain=True):
            if group.mass > AMBIGUOUS_MASS:
                begun_ = [*messages, {"role": "assistant", "content": group.prefix}]
                divisions[group.labels] = _division(_ask(lm, begun_, 1).logprobs, group)
        # What personas trust in such an LM was fitted on its plain tokens.
        read = _distribution(_positions(said.logprobs), keys, divisions, plain=True)
        return Reading(read, None, said.text or "")
    said = _ask(lm, messages, max(len(label.encode()) for label in labels) + SLACK)
    text = said.text or ""
    label = written_label(text, labels, cut=said.finish_reason == "length")
    positions = _positions(said.logprobs)
    if label is None or not _leads_to(label, positions, keys):
        return Reading(None, label, text)
    read = _distribution(positions, keys, {})
    listed = _masses(_from_answer(positions), keys, {})
    return Reading(read and _with_first(read, label, listed), label, text)


def read_text(lm: PersonaLM, messages: Sequence[Mapping[str, str]], text: str) -> float:
    """The log-probability, in nats, that the LM gives a text as the next message.

    One call, in which the LM is held to the text's own tokens; the probabilities are as if it were
    not. Held to the letters, it would begin an unlikely word by a likelier scrap of it, and pay for
    that in what has to follow. That the text ends there is not counted.

    Args:
        lm: an LM with `reads_texts`.
        messages: OpenAI-style, `role` and `content`; the last one from the user.
        text: not empty.

    Raises:
        LMError: the LM cannot be held to a text, or failed.
    """
    from dspy import lm15

    if not lm.reads_texts:
        raise LMError(f"{lm.spec} cannot be held to a text; ask it for an answer instead")
    asked = lm15.request_from_openai_chat(
        {"model": lm.model, "messages": [dict(message) for message in messages]}
    )
    config = lm15.Config(
        max_tokens=len(text.encode()) + 1,  # a token spells a byte at least
        temperature=0,
        logprobs=1,
        extensions={"held_to": text},
    )
    with truncation_expected():
        scored = lm(replace(asked, config=config)).logprobs or ()
    if b"".join(bytes(one.bytes) for one in scored) != text.encode():
        raise LMError(f"{lm.spec} did not write the text that it was held to")
    return math.fsum(one.logprob for one in scored)


_Keys = Mapping[str, bytes]
"""Each label with the bytes that tokens are compared with."""
_Divisions = Mapping[tuple[str, ...], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class _Token:
    """A token that may stand at a position: what it may spell, and how probable it is."""

    spellings: tuple[bytes, ...]
    probability: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class _Position:
    """A place in an answer, with the tokens that are listed for it."""

    alternatives: tuple[_Token, ...] = ()

    @property
    def decorates(self) -> bool:
        """Whether what the LM wrote here only stands before its answer ("**", a quote, a line)."""
        return any(one.chosen and not begun(one.spellings[-1]) for one in self.alternatives)


def _keys(labels: Sequence[str]) -> dict[str, bytes]:
    """Labels without what may stand around an answer, unless that is what tells them apart."""
    plain = {label: folded(bare(label.encode("utf-8", "replace"))) for label in labels}
    if all(plain.values()) and len(set(plain.values())) == len(plain):
        return plain
    return {label: folded(label.encode("utf-8", "replace")) for label in labels}


def _distribution(
    positions: Sequence[_Position],
    keys: _Keys,
    divisions: _Divisions,
    *,
    plain: bool = False,
) -> dict[str, float] | None:
    """Normalised masses; `divisions` says how labels that share a token share it."""
    positions = _from_answer(positions)
    mass = _masses(positions, keys, divisions, plain=plain)
    if not any(mass.values()):
        return None
    listed = [one.probability for one in positions[0].alternatives]
    floor = min(listed)
    if missing := sum(not value for value in mass.values()):
        floor = min(floor, max((1 - sum(listed)) / missing, IMPOSSIBLE))
    mass = {label: max(value, floor) for label, value in mass.items()}
    total = sum(mass.values())
    return {label: value / total for label, value in mass.items()}


def _masses(
    positions: Sequence[_Position], keys: _Keys, divisions: _Divisions, *, plain: bool = False
) -> dict[str, float]:
    """What the first position gives each label, and what follows where it does not tell."""
    mass = dict.fromkeys(keys, 0.0)
    for one in positions[0].alternatives if positions else ():
        token, owners = _owned(one.spellings, keys, plain)
        if not owners:
            continue
        if owners in divisions:
            shares: Mapping[str, float] = divisions[owners]
        elif len(owners) > 1 and one.chosen and len(positions) > 1:
            shares = _followed(positions[1:], {label: keys[label] for label in owners}, token)
        else:
            exact = [label for label in owners if keys[label] == token]
            shares = dict.fromkeys(exact or owners, 1 / len(exact or owners))
        for label, share in shares.items():
            mass[label] += one.probability * share
    return mass


def _followed(positions: Sequence[_Position], keys: _Keys, token: bytes) -> dict[str, float]:
    """How labels that begin with a token share its mass, by the tokens after it."""
    rest = {label: key[len(token) :] for label, key in keys.items()}
    spaced = {label: text.lstrip(b" ") for label, text in rest.items() if text}
    mass = _masses(positions, spaced, {})
    ended = max(0.0, 1.0 - sum(mass.values()))
    return mass | {label: ended for label, text in rest.items() if not text}


def _with_first(
    read: dict[str, float], label: str, listed: Mapping[str, float]
) -> dict[str, float] | None:
    """The distribution in which what was written comes first, as it does where the LM writes the
    likeliest; it breaks a tie. None where another label is likelier, or as likely only because too
    few are listed: then the log-probabilities say nothing of the answer."""
    others = {other: p for other, p in read.items() if other != label}
    if any(p > read[label] or (p == read[label] and not listed[one]) for one, p in others.items()):
        return None
    raised = {**read, label: read[label] * (1 + TIE)}
    total = sum(raised.values())
    return {one: p / total for one, p in raised.items()}


def _leads_to(label: str, positions: Sequence[_Position], keys: _Keys) -> bool:
    """Whether the token that the LM wrote begins this label."""
    first = _answering(positions)
    return any(label in _owned(one.spellings, keys)[1] for one in first.alternatives if one.chosen)


def _owned(
    candidates: Sequence[bytes], keys: _Keys, plain: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """What a token says, and the labels that it stands for, sorted, so that the labels' order does
    not matter."""
    token = b""
    for spelling in candidates:
        token = folded(spelling.lstrip(b" \t\r\n") if plain else begun(spelling))
        token = token.rstrip(b" \t\r\n") or token
        if token and (owners := _owners(token, keys)):
            return token, owners
    return token, ()


def _owners(token: bytes, keys: _Keys) -> tuple[str, ...]:
    owners = [label for label, key in keys.items() if key.startswith(token)]
    if not owners:
        whole = [label for label, key in keys.items() if key and token.startswith(key)]
        longest = max((len(keys[label]) for label in whole), default=0)
        owners = [label for label in whole if len(keys[label]) == longest]
    return tuple(sorted(owners))


def _common_prefix(labels: Sequence[str], token: bytes) -> str:
    """How all labels begin, cut at the end of a word, or else where the token ends.

    Words, because an LM goes on naturally only from where a token of its own would end.
    """
    lowered = [label.lower() for label in labels]
    columns = takewhile(lambda letters: len(set(letters)) == 1, zip(*lowered, strict=False))
    common = "".join(letters[0] for letters in columns)
    if common not in lowered:
        common = common[: max(common.rfind(" "), len(token.decode("utf-8", "ignore")))]
    return labels[0][: len(common)].rstrip()


def _division(logprobs: Any, group: Ambiguity) -> dict[str, float]:
    """How the labels of a group share their mass, from the tokens after their common prefix.

    A label that is itself the prefix has every token that does not go on to another label.
    """
    rest = {label: label[len(group.prefix) :].strip() for label in group.labels}
    keys = {text: folded(text.encode()) for text in rest.values() if text}
    mass = _masses(_positions(logprobs), keys, {}, plain=True)
    ended = max(0.0, 1.0 - sum(mass.values()))
    shares = {label: mass[text] if text else ended for label, text in rest.items()}
    total = sum(shares.values())
    if not total:
        return dict.fromkeys(group.labels, 1 / len(group.labels))
    return {label: share / total for label, share in shares.items()}


def _distinct(labels: Sequence[str]) -> list[str]:
    if not labels:
        raise ValueError("labels must name at least one possible answer")
    return list(dict.fromkeys(labels))


def _positions(logprobs: Any) -> list[_Position]:
    """The scored tokens, whatever the shape they come in; nothing where they are none."""
    places = list(_field(logprobs, "content") or ()) if _has_content(logprobs) else logprobs
    if not places:
        return []
    tops = [_top(place) for place in places]
    if tops[0] is None:  # one position's alternatives
        alternatives = tuple(_token(one, chosen=False) for one in places)
        return [_Position(alternatives)]
    return [_position(place, top or ()) for place, top in zip(places, tops, strict=True)]


def _position(place: Any, top: Sequence[Any]) -> _Position:
    written = _field(place, "token")
    listed = tuple(_token(one, chosen=_field(one, "token") == written) for one in top)
    if any(one.chosen for one in listed):
        return _Position(listed)
    return _Position((*listed, _token(place, chosen=True)))


def _token(entry: Any, *, chosen: bool) -> _Token:
    probability = math.exp(min(0.0, float(_field(entry, "logprob"))))
    return _Token(spellings(_field(entry, "token"), _field(entry, "bytes")), probability, chosen)


def _top(place: Any) -> Any:
    top = _field(place, "top_logprobs")
    return _field(place, "top") if top is None else top


def _answering(positions: Sequence[_Position]) -> _Position:
    """The position where the answer begins."""
    return next(iter(_from_answer(positions)), _Position())


def _from_answer(positions: Sequence[_Position]) -> Sequence[_Position]:
    """From where the answer begins: what only stands before it is passed over."""
    at = next((n for n, one in enumerate(positions) if not one.decorates), 0)
    return positions[at:]


def _has_content(logprobs: Any) -> bool:
    return isinstance(logprobs, Mapping) or hasattr(logprobs, "content")


def _field(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)


def _ask(lm: PersonaLM, messages: Sequence[Mapping[str, str]], tokens: int) -> Any:
    """The LM's answer as a Response of at most so many tokens, scored where the LM does that."""
    from dspy import lm15

    request = lm15.request_from_openai_chat(
        {
            "model": lm.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": tokens,
            "temperature": 0,
            **_scores(lm),
        }
    )
    with truncation_expected():
        return lm(request)


def _scores(lm: PersonaLM) -> dict[str, Any]:
    most = lm.capabilities.alternatives
    return {"logprobs": True, "top_logprobs": most} if most else {}


_READING: ContextVar[bool] = ContextVar("personaagent_reading", default=False)


def _keep(record: logging.LogRecord) -> bool:
    return not (_READING.get() and "truncated" in record.getMessage())


@contextmanager
def truncation_expected() -> Iterator[None]:
    """No warnings of answers cut at max_tokens inside the block: no more was wanted."""
    logging.getLogger("dspy.clients.lm").addFilter(_keep)
    token = _READING.set(True)
    try:
        yield
    finally:
        _READING.reset(token)
