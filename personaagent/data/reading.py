"""What the loaders share: opening a data file, and reading a moment in time."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path

from personaagent.errors import DataError


@contextmanager
def opened(path: str | Path) -> Iterator[BufferedReader | gzip.GzipFile]:
    """The bytes of a file, plain or gzip, told by its first bytes and not by its name.

    Raises:
        DataError: the file is missing, cannot be read, is cut off, or is a web page.
    """
    try:
        with Path(path).open("rb") as raw:
            packed = raw.peek(2).startswith(b"\x1f\x8b")
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            if head(stream).startswith(b"<"):
                raise DataError(
                    f"{path}: this is a web page (HTML), not data: a wrong download address can "
                    "answer with a page; check the address and fetch the file again"
                )
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged or cut off gzip ({error}): fetch it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def head(stream: BufferedReader | gzip.GzipFile) -> bytes:
    """The first visible bytes of a stream, which stays where it is."""
    return stream.peek(64).removeprefix(codecs.BOM_UTF8).lstrip()


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
