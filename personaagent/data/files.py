"""Data files: which ones are behind a path (itself, a folder's, a zip archive's), opening them as
clean UTF-8, and reading a moment in time.

Whatever Unicode encoding a file is in, and whatever its writer did to characters, what is read is
clean UTF-8: tools on Windows save as UTF-16 or put a byte order mark first, and programs that cut
texts leave halves of surrogate pairs, which no parser reads alike and no database stores.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import ijson

from personaagent.errors import DataError

_CHUNK = 1 << 16
_REPLACED = "\ufffd".encode()
# An escape of JSON: a pair of surrogates, a surrogate alone, or any other. No byte of valid UTF-8
# follows 0xED that is above 0x9F: that is half a pair which was written as it is.
_HALVES = re.compile(
    rb"(?P<fine>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|(?P<raw>\xed[\xa0-\xbf][\x80-\xbf])"
    rb"|\\[^u]"
)
# What makes it worth a look at every escape: half a pair, or what only a look can tell from one.
_SUSPECT = (
    re.compile(
        rb"\\u[dD](?:(?<=\\\\u[dD])|[89abAB]..(?!\\u[dD][c-fC-F])"
        rb"|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F])",
        re.DOTALL,
    ),
    re.compile(rb"\xed[\xa0-\xbf]"),
)
_BETWEEN = b' ,:\n"'  # what ends with one of these ends no escape or character in the middle
_FAR = 1e11  # seconds: the year 5138; milliseconds since 1973 are more


class Stream(io.BufferedReader):
    """What a data file is read from."""


@contextmanager
def opened(path: str | Path, member: str | None = None) -> Iterator[Stream]:
    """The bytes of a file as clean UTF-8; gzip is told by its first bytes and not by its name.

    Args:
        path: the file.
        member: if it is a zip archive: the file in it.

    Raises:
        DataError: the file is missing, cannot be read, is cut off, or is a web page or archive.
    """
    where = f"{path}: {member}" if member else str(path)
    try:
        with _source(path, member) as source, Stream(_Clean(source), _CHUNK) as stream:
            start = head(stream)
            if start.startswith(b"<"):
                raise DataError(
                    f"{where}: this is a web page (HTML), not data: a wrong download address can "
                    "answer with a page; check the address and fetch the file again"
                )
            if start.startswith(b"PK\x03\x04"):
                raise DataError(
                    f"{where}: this is a zip archive: unpack it, or say with --from which "
                    "program's export it is"
                )
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        form = "zip" if member else "gzip"
        raise DataError(f"{where}: damaged or cut off {form} ({error}): fetch it again") from error
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror}") from error


@contextmanager
def _source(path: str | Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is not None:
        with zipfile.ZipFile(path) as archive:
            try:
                packed = archive.open(member)
            except (RuntimeError, NotImplementedError) as error:  # a password, a rare compression
                raise DataError(
                    f"{path}: {member}: cannot be unpacked here ({error}): unpack it first"
                ) from error
            with packed:
                yield packed
        return
    with Path(path).open("rb") as raw:
        if raw.peek(2).startswith(b"\x1f\x8b"):
            yield cast(IO[bytes], gzip.GzipFile(fileobj=raw))
        else:
            yield raw


def head(stream: Stream) -> bytes:
    """The first visible bytes of a stream, which stays where it is."""
    return stream.peek(64).lstrip()


class _Clean(io.RawIOBase):
    """A stream in any Unicode encoding, as UTF-8 without a byte order mark and halves of pairs."""

    def __init__(self, source: IO[bytes]) -> None:
        self._chunks = _clean(source)
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._ready = chunk
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def _clean(source: IO[bytes]) -> Iterator[bytes]:
    """The parts of `_Clean`; none ends inside an escape."""
    chunk = source.read(_CHUNK)
    encoding = json.detect_encoding(chunk)
    decoder = None
    if encoding not in ("utf-8", "utf-8-sig"):
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    chunk = chunk.removeprefix(codecs.BOM_UTF8)
    held = b""
    while chunk:
        more = source.read(_CHUNK)
        held += decoder.decode(chunk, final=not more).encode() if decoder else chunk
        chunk = more
        end = max(held.rfind(bytes([byte])) for byte in _BETWEEN) + 1 if more else len(held)
        if end:
            yield mended(held[:end])
            held = held[end:]
    if held:
        yield mended(held)


def mended(raw: bytes) -> bytes:
    """JSON with U+FFFD for every half of a surrogate pair."""
    if any(one.search(raw) for one in _SUSPECT):
        return _HALVES.sub(_mend, raw)
    return raw


def _mend(match: re.Match[bytes]) -> bytes:
    if match["half"]:
        return rb"\ufffd"
    return _REPLACED if match["raw"] else match[0]


def instant(value: object) -> datetime:
    """The moment that an ISO 8601 text with its zone names, in UTC.

    Raises:
        ValueError: not such a text; the message says what to write instead.
    """
    if not isinstance(value, str):
        raise ValueError(f"must be a time in quotes such as '2026-03-12T13:55:45Z', not {value!r}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"'{value}' is not an ISO 8601 time: write it like '2026-03-12T13:55:45Z'"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"'{value}' has no time zone: add 'Z' for UTC or an offset like '+02:00'")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"'{value}' lies outside the years 1 to 9999") from None


def exported_instant(value: object) -> datetime:
    """The moment that another program wrote down, in UTC: ISO 8601 (without a zone it is UTC), or
    a number, also as text, of seconds, milli-, micro- or nanoseconds since 1970, told by its size.

    Raises:
        ValueError: it is none of these, or lies in the future.
    """
    try:
        number = float(value) if isinstance(value, str | int | float | Decimal) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool):
        text = f"{value}".strip()
        try:
            if datetime.fromisoformat(text).tzinfo is None:
                text += "Z" if "T" in text or " " in text else "T00:00Z"
        except ValueError:
            pass  # `instant` says so
        return past(instant(text if isinstance(value, str) else value))
    for _ in range(3):
        number = number / 1_000 if abs(number) >= _FAR else number
    try:
        return past(datetime.fromtimestamp(number, UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{value!r} is no time: {error}") from error


def past(moment: datetime) -> datetime:
    """The same moment.

    Raises:
        ValueError: it lies in the future: nobody can have done anything then.
    """
    now = datetime.now(UTC)
    if moment > now:
        raise ValueError(
            f"{moment.isoformat()} lies in the future (now is {now:%Y-%m-%dT%H:%MZ}): "
            "correct the date or this machine's clock"
        )
    return moment


@dataclass(frozen=True, slots=True)
class Document:
    """A file, or a member of a zip archive."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    def opened(self) -> AbstractContextManager[Stream]:
        """Its bytes, see `reading.opened`."""
        return opened(self.path, self.member)

    def records(self, due: str) -> Iterator[tuple[int, Any]]:
        """The records of the JSON list in it, as a stream, with their numbers from 1.

        Raises:
            DataError: it is no list (then `due` says what it should be), no JSON, or cut off.
        """
        number = 0
        with self.opened() as stream:
            if not head(stream).startswith(b"["):  # ijson would just find nothing
                raise DataError(f"{self}: {due}")
            try:
                for number, record in enumerate(ijson.items(stream, "item"), 1):
                    yield number, record
            except (ijson.JSONError, UnicodeDecodeError) as error:
                # The parser's next lines quote the place; its message may be bytes.
                reason = error.args[0]
                text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)
                raise DataError(
                    f"{self}: not valid JSON, or cut off, after record #{number}: "
                    f"{text.splitlines()[0]}: download or unpack it again"
                ) from error


def documents(path: str | Path, names: str, due: str) -> list[Document]:
    """The file itself; of a folder or zip archive those files whose names match, by name.

    Args:
        path: a file, a folder or a zip archive.
        names: a regular expression for a whole name without its folder, in any case.
        due: what is looked for, for a person.

    Raises:
        DataError: there is none, or the archive cannot be read.
    """
    path, wanted = Path(path), re.compile(names, re.IGNORECASE)

    def matches(name: str) -> bool:
        return not name.startswith("._") and wanted.fullmatch(name) is not None  # macOS's leavings

    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file() and matches(one.name))
        found = [Document(one) for one in files]
    elif path.is_file() and zipfile.is_zipfile(path):  # a pipe can be opened once only
        try:
            with zipfile.ZipFile(path) as archive:
                members = sorted(archive.namelist())
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: damaged or cut off zip ({error}): fetch it again") from error
        found = [Document(path, one) for one in members if matches(PurePosixPath(one).name)]
    else:
        return [Document(path)]
    if not found:
        raise DataError(f"{path}: it holds no {due}")
    return found
