"""The official LaMP files over HTTP: resumed where they broke off, and checked before they count.

A file grows under the name `….part` and takes its own name when it is whole. Beside it stands what
the server calls this version of the file, so that two versions are never put together.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from personaagent.data.lamp_tasks import layout
from personaagent.data.task import Task
from personaagent.errors import DataError

OFFICIAL = "https://ciir.cs.umass.edu/downloads/LaMP"
PAUSES = (1.0, 4.0, 15.0)
"""Seconds before a transfer that broke off goes on; after the last one it is an error."""

_FOLDERS = {
    "lamp-1": "LaMP_1",
    "lamp-2m": "LaMP_2/new",  # movies; the plain folder still has the news
    "lamp-2n": "LaMP_2",
    "lamp-3": "LaMP_3",
    "lamp-4": "LaMP_4",
    "lamp-5": "LaMP_5",
    "lamp-7": "LaMP_7",
}
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)
_PATIENCE = 30.0  # seconds without a byte
_AT_ONCE = 1 << 18  # bytes

Split = Literal["train", "dev", "test"]
Report = Callable[[int, int | None], None]
"""Called with the bytes that are there, and how many there will be if the server says so."""


def lamp_urls(
    task: Task, split: Split, *, by_time: bool = False, base: str = OFFICIAL
) -> list[str]:
    """The addresses of a split: its questions, and its gold answers where they are public.

    Args:
        by_time: the split by time (a user's later questions are asked), not by user.
        base: a place with the same layout.

    Raises:
        DataError: it is no LaMP task.
    """
    layout(task)
    kinds = ["questions"] if split == "test" else ["questions", "outputs"]
    folder = f"{base.rstrip('/')}{'/time' if by_time else ''}/{_FOLDERS[task.name]}/{split}"
    return [f"{folder}/{split}_{kind}.json" for kind in kinds]


def fetch(url: str, path: Path, report: Report = lambda *_: None) -> bool:
    """Download a JSON file, from where an earlier attempt broke off; False if it is there already.

    Args:
        url: its address, http or https.
        path: where it goes; its folder is made.

    Raises:
        DataError: the server has no such file or sent something else, it keeps breaking off, or the
            file cannot be written. What came is kept, and the next call goes on.
    """
    if path.is_file():
        return False
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _persist(url, part, report)
        _check(url, part)
        part.replace(path)
        _version(part).unlink(missing_ok=True)
    except urllib.error.HTTPError as error:
        raise DataError(
            f"{url}: the server answers {error.code} {error.reason}: check the task and the split"
        ) from error
    except _BROKEN as error:
        kept = f" what came is kept in {part}, and the same command goes on from there:"
        raise DataError(
            f"{url}: the transfer broke off ({getattr(error, 'reason', None) or error}):"
            f"{kept if part.is_file() else ''} check the network"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    return True


def _persist(url: str, part: Path, report: Report) -> None:
    """Transfer the file; one that breaks off on the way goes on after a pause."""
    for pause in (*PAUSES, None):
        try:
            return _transfer(url, part, report)
        except _BROKEN as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if pause is None or final or not part.is_file():
                raise
            time.sleep(pause)
    return None


def _transfer(url: str, part: Path, report: Report) -> None:
    """Append what is missing; raises what the network raises."""
    have = part.stat().st_size if part.is_file() and _version(part).is_file() else 0
    headers = {"User-Agent": "personaagent", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": _version(part).read_text()}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            _receive(answer, url, part, have, report)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] != str(have):
            part.unlink()  # longer than the file itself: it is no beginning of it
            _transfer(url, part, report)


def _receive(answer: Any, url: str, part: Path, have: int, report: Report) -> None:
    resumed = answer.status == 206
    if not resumed:  # the beginning, whatever was asked for
        have = 0
        if answer.headers.get_content_type() == "text/html":
            raise _no_json(url, "a web page (HTML)")
        _version(part).unlink(missing_ok=True)
        if version := answer.headers.get("ETag") or answer.headers.get("Last-Modified"):
            _version(part).write_text(version)
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length else None
    report(have, total)
    with part.open("ab" if resumed else "wb") as file:
        while block := answer.read(_AT_ONCE):
            file.write(block)
            have += len(block)
            report(have, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _check(url: str, part: Path) -> None:
    """See that the file begins and ends like JSON; what is none is thrown away.

    Raises:
        DataError: it does not.
    """
    with part.open("rb") as file:
        head = file.read(1_024).lstrip()
        file.seek(max(0, part.stat().st_size - 1_024))
        tail = file.read().rstrip()
    if head[:1] + tail[-1:] not in (b"[]", b"{}"):
        part.unlink()
        _version(part).unlink(missing_ok=True)
        raise _no_json(url, "a web page (HTML)" if head.startswith(b"<") else "no JSON")


def _no_json(url: str, what: str) -> DataError:
    """A wrong address can answer 200 with a page."""
    return DataError(f"{url}: what came is {what}: check the address, the task and the split")


def _version(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")
