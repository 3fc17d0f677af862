"""What an LM wrote: its thought apart from its answer, and the label in an answer.

LMs think aloud, quote, fence, explain and shout. An answer is read where it is unmistakable and
left unread where it is not: nothing here ever yields what the LM did not write.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaagent.data.normal import normal
from personaagent.lm.tokens import bare

_PATIENCE = 30.0  # seconds that another process may be writing


def hide_responses() -> None:
    """Let only its owner into the folder of the cache: DSPy makes it readable by all."""
    import dspy

    folder = Path(dspy.cache.disk_cache_dir or "")
    if dspy.cache.enable_disk_cache and folder.is_dir() and folder.stat().st_mode & 0o077:
        with suppress(OSError):  # somebody else's, or a read-only disk
            folder.chmod(0o700)


def clear_responses() -> int:
    """Empty the cache on disk and in this process; the number of responses that were on disk.

    Its keys are hashes, so nobody can tell whose response is whose; all must go. What it costs is
    that the same calls are made again.

    Raises:
        OSError, sqlite3.Error: another process would not let go of it.
    """
    import dspy

    dspy.cache.reset_memory_cache()
    shards = sorted(Path(dspy.cache.disk_cache_dir or "").glob("[0-9]*/cache.db"))
    count = 0
    for shard in shards:
        connection = sqlite3.connect(shard, timeout=_PATIENCE, isolation_level=None)
        with closing(connection):
            files = connection.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")
            large = [shard.parent / name for (name,) in files]
            count += connection.execute("DELETE FROM Cache").rowcount
            connection.execute("VACUUM")  # or deleted rows stay readable in the file
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for path in large:
            path.unlink(missing_ok=True)
    return count


_NAMES = r"think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|seed:think"
_OPENED = re.compile(rf"\s*(?:<({_NAMES})>|\[(THINK)\]|◁(think)▷)", re.I)
_CLOSED = re.compile(rf"(?:</({_NAMES})>|\[/THINK\]|◁/think▷)", re.I)
# OpenAI's open-weight models write in channels; what is meant for the reader is the final one.
_CHANNEL = re.compile(r"<\|channel\|>(\w+)(?:[^<]*)<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|start|call)\|>")
_FENCE = re.compile(r"^\s*(```+|~~~+)[^\n`]*\n(.*?)\n?\s*\1\s*$", re.S)
_FENCED = re.compile(r"(```+|~~~+)[^\n`]*\n(.*?)\n?\s*\1", re.S)
_LEAD = re.compile(
    r"^\W*(?:final\s+)?(?:answer|label|category|result)\s*(?:is)?\s*[:\uff1a=]\s*", re.I
)
# Scripts that put no space between words: Thai to Khmer, kana, Chinese characters
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class Written:
    """A thought and the answer after it; `open` where the thought has no end, so no answer came."""

    thought: str
    answer: str
    open: bool = False


def apart(text: str) -> Written:
    """The thought that a text begins with, and the answer after it."""
    if channels := list(_CHANNEL.finditer(text)):
        return _channels(text, channels)
    opened = _OPENED.match(text)
    # the last one: a thought may speak of tags
    closed = max(_CLOSED.finditer(text), key=re.Match.start, default=None)
    if closed is not None and (opened or _bare_thought(text, closed.start())):
        start = opened.end() if opened else 0
        return Written(text[start : closed.start()].strip(), text[closed.end() :].strip())
    if opened:
        return Written(text[opened.end() :].strip(), "", open=True)
    return Written("", text)


def _bare_thought(text: str, end: int) -> bool:
    """Whether a closing tag without an opening one ends a thought: some chat templates open it."""
    return "think" in text[end : end + 12].lower() and not re.search(r"<think", text[:end], re.I)


def _channels(text: str, channels: Sequence[re.Match[str]]) -> Written:
    said: dict[str, str] = {}
    for at, one in enumerate(channels):
        end = channels[at + 1].start() if at + 1 < len(channels) else len(text)
        body = _CHANNEL_END.split(text[one.end() : end], maxsplit=1)[0]
        said[one[1]] = body.strip()
    answer = said.pop("final", None)
    return Written("\n".join(said.values()), answer or "", open=answer is None)


def unfenced(text: str) -> str:
    """A text without the code fence around all of it."""
    match = _FENCE.match(text)
    return match[2].strip() if match else text.strip()


def json_in(text: str) -> Any:
    """The JSON value that a text is, fenced or not, or the only object that stands in it; None
    without one."""
    blocks = [match[2] for match in _FENCED.finditer(text)]
    for candidate in (unfenced(text), *(blocks if len(blocks) == 1 else ())):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    start = text.find("{")
    try:
        value, end = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else (None, 0)
    except ValueError:
        return None
    return value if value and "{" not in text[start + end :] else None


def written_label(text: str, labels: Sequence[str], *, cut: bool = False) -> str | None:
    """The label that an answer says unmistakably, or None.

    In this order: the answer as a whole, in JSON or not; its first or its last line, where not both
    are labels; the only label that stands in it.

    Args:
        text: without a thought.
        labels: the possible answers.
        cut: the answer broke off, so what it would have gone on to say is unknown: then only what
            stands on a line of its own, or is the whole answer and begins no longer label, counts.
    """
    names = _names(labels)
    value = json_in(text)
    if isinstance(value, (Mapping, list)):
        if isinstance(value, Mapping) and "answer" in value:
            value = [value["answer"]]
        found = {names.get(_plain(one)) for one in _leaves(value)} - {None}
        return found.pop() if len(found) == 1 else None
    text = unfenced(text)
    whole = _LEAD.sub("", text)
    lines = [line for line in whole.splitlines() if line.strip()]
    if not lines:
        return None
    if (label := names.get(_plain(whole))) is not None:
        longer = any(name.startswith(_plain(whole)) for name in names if names[name] != label)
        return None if cut and longer else label
    first, last = names.get(_plain(lines[0])), names.get(_plain(_LEAD.sub("", lines[-1])))
    if len(lines) > 1 and (first or last):
        if cut:
            return first
        return (first or last) if None in (first, last) or first == last else None
    return None if cut else _only(whole, names)


def _names(labels: Iterable[str]) -> dict[str, str]:
    """Normal form to label; also without brackets and punctuation where that is no other's."""
    names: dict[str, str] = {}
    short: dict[str, list[str]] = {}
    for label in labels:
        names.setdefault(normal(label).casefold(), label)
        short.setdefault(_plain(label), []).append(label)
        short.setdefault(_plain(label).strip("[](){}<>"), []).append(label)
    for name, owners in short.items():
        if name and len(set(owners)) == 1:
            names.setdefault(name, owners[0])
    return names


def _plain(text: Any) -> str:
    """In normal form, without case and without what may stand around an answer."""
    stripped = bare(normal(str(text)).encode("utf-8", "replace")).decode("utf-8", "replace")
    return normal(stripped).casefold()


def _leaves(value: Any) -> list[Any]:
    """The texts and numbers of a JSON value."""
    if isinstance(value, Mapping):
        return [leaf for one in value.values() for leaf in _leaves(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one)]
    if isinstance(value, bool) or value is None:
        return []
    return [value]


def _only(text: str, names: Mapping[str, str]) -> str | None:
    """The only label that stands in a text as words; the longer one where two overlap."""
    said = normal(text).casefold()
    taken = [False] * len(said)
    found: set[str] = set()
    for name in sorted(names, key=len, reverse=True):
        for match in re.finditer(_as_words(name), said):
            if not any(taken[match.start() : match.end()]):
                taken[match.start() : match.end()] = [True] * (match.end() - match.start())
                found.add(names[name])
    return found.pop() if len(found) == 1 else None


def _as_words(name: str) -> str:
    """A pattern of the name between the ends of words; a number is no part of a longer one."""
    if not name:
        return r"(?!)"
    if _UNSPACED.search(name[0]) and _UNSPACED.search(name[-1]):
        return re.escape(name)
    before = r"(?<!\w)(?<!\d[.,])(?<![-\u2212+.])" if name[0].isdigit() else r"(?<!\w)"
    after = r"(?!\w)(?![.,]?\d)(?!\s*[/%])" if name[-1].isdigit() else r"(?!\w)"
    before = before if name[0].isalnum() else ""
    after = after if name[-1].isalnum() else ""
    return before + re.escape(name) + after
