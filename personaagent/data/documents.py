"""The data files behind a path: itself, or those of a folder or zip archive; and their records."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import ijson

from personaagent.data.reading import Stream, head, opened
from personaagent.errors import DataError


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
