"""Likelihoods: what the LM believes, not what it would write.

A label's is read from one forward pass, a text's by letting the LM write nothing else.

The probability of a label is read off the first token of the answer: the summed probability of the
listed tokens that begin it. Where labels begin alike ("science fact", "science fiction"), the mass
of the token that they share is split equally, and `read_labels` tells them apart by a second pass
in which the answer is already begun.
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

if TYPE_CHECKING:
    from personaagent.lm.model import PersonaLM

AMBIGUOUS_MASS = 0.05
"""Probability shared by labels that is worth a second pass."""


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


def label_distribution(
    logprobs: Any, labels: Sequence[str], *, floor: float | None = None
) -> dict[str, float] | None:
    """How probable each label is as the answer that begins with the scored token.

    A token belongs to a label when, without case and surrounding space, it is not empty and begins
    the label, or, where it begins no label, when the label begins it (of several, the longest).
    A token that begins several labels is split equally among them.

    Args:
        logprobs: the scored tokens of an answer, the first of which counts: the `logprobs` of a
            DSPy output or of a Response, or one position's list of alternatives; entries with
            `token` and `logprob`, as attributes or keys.
        labels: the possible answers, at least one.
        floor: the least probability of a label before normalising; by default the smallest listed
            one, which bounds what is not listed.

    Returns:
        A probability for every label, in the labels' order, summing to 1; None when no listed token
        belongs to any label, for then nothing has been learned.
    """
    return _distribution(_tokens(logprobs), _distinct(labels), floor, {})


def ambiguities(logprobs: Any, labels: Sequence[str]) -> list[Ambiguity]:
    """The groups of labels that share first tokens, by falling mass."""
    shared: dict[tuple[str, ...], list[tuple[str, float]]] = {}
    for token, probability in _tokens(logprobs):
        owners = _owners(token, _distinct(labels))
        if len(owners) > 1:
            shared.setdefault(owners, []).append((token.strip(), probability))
    groups = [
        Ambiguity(
            _common_prefix(owners, max(tokens, key=lambda item: item[1])[0]),
            owners,
            sum(probability for _, probability in tokens),
        )
        for owners, tokens in shared.items()
    ]
    return sorted(groups, key=lambda group: -group.mass)


def read_labels(
    lm: PersonaLM, messages: Sequence[Mapping[str, str]], labels: Sequence[str]
) -> dict[str, float] | None:
    """The LM's distribution over the labels as the next message of the conversation.

    One call of one token, and one more for every group of labels that begin alike and share more
    than `AMBIGUOUS_MASS`; the latter only with an LM that continues a begun answer (the embedded
    one), elsewhere such labels share equally.

    Args:
        lm: an LM with `reads_likelihoods`.
        messages: OpenAI-style, `role` and `content`; the last one from the user.
        labels: the possible answers, at least one.

    Returns:
        Label to probability, summing to 1; None when the LM's answer begins like none of them.

    Raises:
        LMError: the LM gives no log-probabilities, or failed.
    """
    if not lm.reads_likelihoods:
        raise LMError(f"{lm.spec} gives no log-probabilities; ask it for an answer instead")
    labels = _distinct(labels)
    tokens = _first_token(lm, messages)
    divisions = {}
    for group in ambiguities(tokens, labels) if lm.identity.prefills else ():
        if group.mass > AMBIGUOUS_MASS:
            begun = [*messages, {"role": "assistant", "content": group.prefix}]
            divisions[group.labels] = _division(_tokens(_first_token(lm, begun)), group)
    return _distribution(_tokens(tokens), labels, None, divisions)


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


_Tokens = list[tuple[str, float]]
_Divisions = Mapping[tuple[str, ...], Mapping[str, float]]


def _distribution(
    tokens: _Tokens, labels: Sequence[str], floor: float | None, divisions: _Divisions
) -> dict[str, float] | None:
    """Normalised masses; `divisions` says how labels that share a token share it, else equally."""
    mass = _masses(tokens, labels, divisions)
    if not any(mass.values()):
        return None
    least = min(probability for _, probability in tokens) if floor is None else floor
    mass = {label: max(value, least) for label, value in mass.items()}
    total = sum(mass.values())
    return {label: value / total for label, value in mass.items()}


def _masses(tokens: _Tokens, labels: Sequence[str], divisions: _Divisions) -> dict[str, float]:
    mass = dict.fromkeys(labels, 0.0)
    for token, probability in tokens:
        owners = _owners(token, labels)
        division = divisions.get(owners)
        for label in owners:
            mass[label] += probability * (division[label] if division else 1 / len(owners))
    return mass


def _owners(token: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that a token stands for, sorted, so that the labels' order does not matter."""
    start = token.strip().lower()
    if not start:
        return ()
    begun = [label for label in labels if label.lower().startswith(start)]
    if not begun:
        whole = [label for label in labels if label and start.startswith(label.lower())]
        longest = max(map(len, whole), default=0)
        begun = [label for label in whole if len(label) == longest]
    return tuple(sorted(begun))


def _common_prefix(labels: Sequence[str], token: str) -> str:
    """How all labels begin, cut at the end of a word, or else where the token ends.

    Words, because an LM goes on naturally only from where a token of its own would end.
    """
    lowered = [label.lower() for label in labels]
    columns = takewhile(lambda letters: len(set(letters)) == 1, zip(*lowered, strict=False))
    common = "".join(letters[0] for letters in columns)
    if common not in lowered:
        common = common[: max(common.rfind(" "), len(token))]
    return labels[0][: len(common)].rstrip()


def _division(tokens: _Tokens, group: Ambiguity) -> dict[str, float]:
    """How the labels of a group share their mass, from the tokens after their common prefix.

    A label that is itself the prefix has every token that does not go on to another label.
    """
    rest = {label: label[len(group.prefix) :].strip() for label in group.labels}
    mass = _masses(tokens, [text for text in rest.values() if text], {})
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


def _tokens(logprobs: Any) -> _Tokens:
    """The first position's tokens with their probabilities, whatever the shape they come in."""
    positions = list(_field(logprobs, "content") or ()) if _has_content(logprobs) else logprobs
    if not positions:
        return []
    first = positions[0]
    top = _field(first, "top_logprobs")
    top = _field(first, "top") if top is None else top
    if top is None:
        entries = list(positions)  # one position's alternatives
    else:
        listed = {_field(entry, "token") for entry in top}
        entries = [*top, *([] if _field(first, "token") in listed else [first])]
    return [(_field(entry, "token"), math.exp(_field(entry, "logprob"))) for entry in entries]


def _has_content(logprobs: Any) -> bool:
    return isinstance(logprobs, Mapping) or hasattr(logprobs, "content")


def _field(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)


def _first_token(lm: PersonaLM, messages: Sequence[Mapping[str, str]]) -> Any:
    """The scored first token of the LM's answer, as `label_distribution` takes it."""
    from dspy import lm15

    request = lm15.request_from_openai_chat(
        {
            "model": lm.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": lm.top_logprobs,
        }
    )
    with truncation_expected():
        return lm(request).logprobs


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
