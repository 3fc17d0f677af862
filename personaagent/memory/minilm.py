"""The default embedding model without torch: the forward pass of MiniLM's BERT in numpy.

sentence-transformers takes 5 s to import, which a command that embeds one query would spend on
nothing else. This is there in 0.3 s and gives the same vectors (to seven digits). It does a text at
a time; for thousands of them `SentenceEmbedder` has sentence-transformers.

The architecture is BERT's (Devlin et al. 2019) as sentence-transformers/all-MiniLM-L6-v2 has it:
post-layer-norm encoders, mean over the tokens, unit length.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class MiniLM:
    """Embeds texts with the model in a folder of sentence-transformers' layout."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text())
        self.dimensions: int = config["hidden_size"]
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        self._weights: dict[str, Array] = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        longest = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self._tokenizer.enable_truncation(longest)
        self._tokenizer.no_padding()

    def encode(self, text: str) -> Array:
        """The unit vector [d] of a text."""
        seen = self._embedded(self._tokenizer.encode(text).ids)
        for layer in range(self._layers):
            seen = self._encoded(seen, f"encoder.layer.{layer}")
        mean = seen.mean(axis=0)
        vector: Array = mean / np.linalg.norm(mean)
        return vector

    def _embedded(self, tokens: list[int]) -> Array:
        """[n, d]: words, their places, and that all of them are of one text."""
        table, weights = "embeddings", self._weights
        words = weights[f"{table}.word_embeddings.weight"][tokens]
        places = weights[f"{table}.position_embeddings.weight"][: len(tokens)]
        kind = weights[f"{table}.token_type_embeddings.weight"][0]
        return self._normed(words + places + kind, f"{table}.LayerNorm")

    def _encoded(self, seen: Array, layer: str) -> Array:
        """One encoder: attention, then two dense layers, a residual around each."""
        told = self._dense(self._attended(seen, layer), f"{layer}.attention.output.dense")
        seen = self._normed(seen + told, f"{layer}.attention.output.LayerNorm")
        wide = _gelu(self._dense(seen, f"{layer}.intermediate.dense"))
        told = self._dense(wide, f"{layer}.output.dense")
        return self._normed(seen + told, f"{layer}.output.LayerNorm")

    def _attended(self, seen: Array, layer: str) -> Array:
        """[n, d], the heads beside each other."""
        query, key, value = (
            self._dense(seen, f"{layer}.attention.self.{name}")
            .reshape(len(seen), self._heads, -1)
            .transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        heads: Array = (weights @ value).transpose(1, 0, 2).reshape(seen.shape)
        return heads

    def _dense(self, seen: Array, name: str) -> Array:
        told: Array = seen @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return told

    def _normed(self, seen: Array, name: str) -> Array:
        centred = seen - seen.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        normed: Array = centred / spread * weight + bias
        return normed


def _gelu(x: Array) -> Array:
    """x times the normal distribution function."""
    from scipy.special import ndtr

    normal: Array = ndtr(x)
    return x * normal
