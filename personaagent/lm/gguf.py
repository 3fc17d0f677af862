"""Reading the table of contents of a GGUF file: is it one, and is it all there?

Only the header is read (key-value pairs and the list of tensors with their offsets), a fraction of
a second for gigabytes. That finds what goes wrong in practice: a wrong path, another format, an
interrupted download. It does not prove that the tensors' bytes are right.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from personaagent.errors import WeightsError

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
ALIGNMENT_KEY = b"general.alignment"


def verify_gguf(path: str | Path) -> Path:
    """The absolute path of a GGUF file that looks complete.

    Raises:
        WeightsError: it does not exist, is not a GGUF file, or ends before its last tensor begins.
    """
    path = Path(path).expanduser().absolute()
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; name an existing .gguf file")
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise WeightsError(f"{path}: not a GGUF file: it does not start with {MAGIC!r}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                needed = _Header(view).last_tensor
    except (struct.error, IndexError, KeyError) as error:
        raise WeightsError(f"{path}: truncated or damaged in its header: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error
    size = path.stat().st_size
    if size <= needed:
        raise WeightsError(
            f"{path}: truncated: {size:,} bytes, and its last tensor begins at {needed:,}; "
            "download it again"
        )
    return path


class _Header:
    """The header, read once from start to end; `last_tensor` is a position in bytes."""

    def __init__(self, view: mmap.mmap) -> None:
        self._view, self._at, alignment = view, len(MAGIC), 32
        _version, tensors, pairs = self._take("<IQQ")
        for _ in range(pairs):
            key, (kind,) = self._text(), self._take("<I")
            start = self._at
            self._skip(kind)
            if key == ALIGNMENT_KEY:
                (alignment,) = struct.unpack_from("<I", view, start)
        farthest = 0
        for _ in range(tensors):
            self._text()
            (dimensions,) = self._take("<I")
            *_, offset = self._take(f"<{dimensions}QIQ")
            farthest = max(farthest, offset)
        self.last_tensor = -(-self._at // alignment) * alignment + farthest

    def _take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from(layout, self._view, self._at)
        self._at += struct.calcsize(layout)
        return values

    def _text(self) -> bytes:
        (length,) = self._take("<Q")
        self._at += length
        return self._view[self._at - length : self._at]

    def _skip(self, kind: int) -> None:
        if kind == STRING:
            self._text()
        elif kind == ARRAY:
            inner, count = self._take("<IQ")
            if inner in WIDTHS:
                self._at += WIDTHS[inner] * count
            else:
                for _ in range(count):
                    self._skip(inner)
        else:
            self._at += WIDTHS[kind]
