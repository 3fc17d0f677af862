"""Files and folders that only their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from personaagent.files import private_file, private_folder


@pytest.fixture(autouse=True)
def open_by_default():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_and_those_above_it_are_the_owners(tmp_path: Path):
    (tmp_path / "there").mkdir(mode=0o755)
    private_folder(tmp_path / "there" / "a" / "b")
    assert mode(tmp_path / "there") == 0o755
    assert mode(tmp_path / "there" / "a") == mode(tmp_path / "there" / "a" / "b") == 0o700
    private_folder(tmp_path / "there")
    assert mode(tmp_path / "there") == 0o755


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="exists"):
        private_folder(tmp_path / "a")


def test_a_new_file_is_the_owners_and_one_that_is_there_stays(tmp_path: Path):
    private_file(tmp_path / "new")
    assert mode(tmp_path / "new") == 0o600
    (tmp_path / "old").write_text("text")
    (tmp_path / "old").chmod(0o640)
    private_file(tmp_path / "old")
    assert mode(tmp_path / "old") == 0o640
    assert (tmp_path / "old").read_text() == "text"
