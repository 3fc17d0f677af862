"""Bringing weights into the cache: from packages or the hub, once, verified, whatever happens."""

import hashlib
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest

from personaagent.errors import WeightsError
from personaagent.lm import weights as module
from personaagent.lm.weights import (
    QWEN_CODER_1_5B,
    Weights,
    ensure_weights,
    file_sha256,
    verify_gguf,
)

PARTS = [bytes([number]) * 1000 for number in range(1, 12)]
WHOLE = b"".join(PARTS)
PINS = Weights(
    name="tiny",
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    size=len(WHOLE),
    carrier="tiny-carrier-part",
    count=len(PARTS),
    repository="nobody/tiny",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("PERSONAAGENT_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    """No test reaches the hub; `hub.content` is what it gives, None is no answer."""

    class Hub:
        content = None
        calls = 0

    def download(weights, folder):
        Hub.calls += 1
        if Hub.content is None:
            raise ConnectionError("no network")
        path = folder / "download" / weights.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Hub.content)
        return path

    monkeypatch.setattr(module, "_download", download)
    return Hub


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Installed carriers: distributions with one slice each, whose code must never run."""
    folder = tmp_path / "site"
    for number, content in enumerate(PARTS, 1):
        package = f"tiny_carrier_part{number}"
        (folder / package / "data").mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise SystemExit('imported')")
        (folder / package / "data" / f"part{number:02d}.bin").write_bytes(content)
        info = folder / f"{package}-0.2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: tiny-carrier-part{number}\nVersion: 0.2.0\n")
        (info / "RECORD").write_text(f"{package}/data/part{number:02d}.bin,,\n")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def ensure():
    return ensure_weights(progress=False, weights=PINS)


def test_the_pins_are_those_of_the_official_file():
    assert QWEN_CODER_1_5B.file == "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
    assert (QWEN_CODER_1_5B.size, QWEN_CODER_1_5B.count) == (1117320768, 22)


def test_installed_parts_are_assembled_in_numeric_order_without_the_hub(site, cache, hub):
    path = ensure()
    assert path.read_bytes() == WHOLE
    assert path.parent == cache
    assert hub.calls == 0
    assert not list(cache.glob("*.partial"))


def test_a_second_start_neither_copies_nor_hashes(site, monkeypatch):
    ensure()
    monkeypatch.setattr(module, "_blocks", lambda paths: pytest.fail("read again"))
    assert ensure().is_file()


def test_a_touched_file_is_hashed_again_and_a_damaged_one_replaced(site):
    path = ensure()
    os.utime(path, (1, 1))
    assert ensure().read_bytes() == WHOLE
    path.write_bytes(WHOLE[:-1] + b"x")
    assert ensure().read_bytes() == WHOLE


def test_a_damaged_cache_without_a_source_is_refused(site, monkeypatch):
    path = ensure()
    path.write_bytes(WHOLE[:-1] + b"x")
    monkeypatch.setattr(module, "_installed_slices", lambda weights: ([], ["tiny-carrier-part1"]))
    with pytest.raises(WeightsError, match="not in the cache"):
        ensure()


def test_a_corrupt_part_is_refused_by_hash_and_leaves_nothing(site, cache):
    (site / "tiny_carrier_part3" / "data" / "part03.bin").write_bytes(b"?" * 1000)
    with pytest.raises(WeightsError) as info:
        ensure()
    message = str(info.value)
    assert str(cache / "tiny.gguf") in message
    assert PINS.sha256 in message
    assert hashlib.sha256(WHOLE.replace(PARTS[2], b"?" * 1000)).hexdigest() in message
    assert "force-reinstall" in message
    assert [path.name for path in cache.iterdir()] == ["tiny.gguf.lock"]


def test_a_missing_part_falls_back_to_the_hub(site, cache, hub):
    (site / "tiny_carrier_part3" / "data" / "part03.bin").unlink()
    hub.content = WHOLE
    assert ensure().read_bytes() == WHOLE
    assert not list((cache / "download").iterdir())


def test_a_wrong_file_from_the_hub_is_refused_and_not_kept(cache, hub):
    hub.content = b"another model"
    with pytest.raises(WeightsError, match=PINS.sha256):
        ensure()
    assert not list((cache / "download").iterdir())
    hub.content = WHOLE
    assert ensure().read_bytes() == WHOLE


def test_weights_that_are_nowhere_come_with_three_remedies():
    with pytest.raises(WeightsError, match=r"0 of 11 .*personaagent\[embedded\].*network.*gguf"):
        ensure()


def test_missing_parts_are_named(site):
    (site / "tiny_carrier_part3" / "data" / "part03.bin").unlink()
    with pytest.raises(WeightsError, match=r"10 of 11 packages found \(missing: .*part3\)"):
        ensure()


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PERSONAAGENT_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="PERSONAAGENT_CACHE"):
        ensure()


SCRIPT = textwrap.dedent(
    """
    import sys, time
    from personaagent.lm import weights as module
    pins = module.Weights("tiny", sys.argv[1], {size}, "tiny-carrier-part", {count}, "nobody/tiny")
    blocks = module._blocks
    def slow(paths):
        for block in blocks(paths):
            print("block", flush=True)
            time.sleep({pause})
            yield block
    module._blocks = slow
    print(module.ensure_weights(progress=False, weights=pins))
    """
)


def start(site, pause):
    code = SCRIPT.format(size=PINS.size, count=PINS.count, pause=pause)
    paths = os.pathsep.join([str(site), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code, PINS.sha256],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_killed_half_way_leaves_nothing_that_passes(site, cache):
    process = start(site, pause=0.2)
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cache / "tiny.gguf").exists()
    assert (cache / "tiny.gguf.partial").exists()
    assert ensure().read_bytes() == WHOLE


def test_two_processes_at_once_do_the_work_once(site, cache):
    processes = [start(site, pause=0.02) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(output.count("block") for output in outputs) == len(PARTS)
    assert (cache / "tiny.gguf").read_bytes() == WHOLE


def test_a_hash_is_remembered_until_the_file_changes(tmp_path):
    path, stamp = tmp_path / "a.bin", tmp_path / "stamps" / "a.json"
    path.write_bytes(b"one")
    assert file_sha256(path, stamp, progress=False) == hashlib.sha256(b"one").hexdigest()
    stamp.write_text("not json")
    assert file_sha256(path, stamp, progress=False) == hashlib.sha256(b"one").hexdigest()
    time.sleep(0.01)
    path.write_bytes(b"two")
    assert file_sha256(path, stamp, progress=False) == hashlib.sha256(b"two").hexdigest()


def gguf(tensors=2):
    def text(value):
        return struct.pack("<Q", len(value)) + value

    pairs = text(b"general.alignment") + struct.pack("<II", 4, 64)
    pairs += text(b"tokens") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc")
    pairs += text(b"scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, 1.5)
    listed = b"".join(
        text(b"t%d" % i) + struct.pack("<IQIQ", 1, 16, 0, 64 * i) for i in range(tensors)
    )
    header = b"GGUF" + struct.pack("<IQQ", 3, tensors, 3) + pairs + listed
    return header + b"\0" * (-len(header) % 64) + b"\1" * (64 * tensors)


def test_a_complete_gguf_passes(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf())
    assert verify_gguf(str(path)) == path


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a GGUF"),
        (b"PK\3\4 something else", "not a GGUF"),
        (b"GGUF", "truncated or damaged"),
        (gguf()[:100], "truncated or damaged"),
        (gguf()[: -64 * 2], "truncated: "),
        (gguf()[:-64], "truncated: "),
    ],
)
def test_a_file_that_is_no_complete_gguf_is_named(tmp_path, content, problem):
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=problem) as info:
        verify_gguf(path)
    assert str(path) in str(info.value)


def test_another_model_is_another_pin():
    assert replace(PINS, name="other").file == "other.gguf"
