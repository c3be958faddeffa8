"""A file is replaced whole or stays."""

from __future__ import annotations

import errno
import os

import pytest

from transept.errors import SaveError
from transept.files import atomic_file, atomic_write_bytes, atomic_write_text


def test_content_is_replaced_with_line_ends_as_they_are(tmp_path):
    path = tmp_path / "x.txt"
    atomic_write_text(path, "a\r\nü")
    atomic_write_text(path, "b\r\nü")
    assert path.read_bytes() == "b\r\nü".encode()
    assert os.listdir(tmp_path) == ["x.txt"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    atomic_write_bytes(tmp_path / "x", b"")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_readers_see_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, call):
    path = tmp_path / "x"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(SaveError, match="No space left") as caught:
        atomic_write_text(path, "new")
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_an_error_of_the_writer_passes_and_leaves_nothing(tmp_path):
    def write():
        with atomic_file(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write()
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_a_save_error(tmp_path):
    with pytest.raises(SaveError, match="absent"):
        atomic_write_text(tmp_path / "absent" / "x", "")


def test_a_link_is_replaced_and_what_it_pointed_to_stays(tmp_path):
    (tmp_path / "blob").write_text("shared")
    (tmp_path / "x").symlink_to("blob")
    atomic_write_text(tmp_path / "x", "mine")
    assert (tmp_path / "blob").read_text() == "shared"
    assert (tmp_path / "x").read_text() == "mine"


def test_what_a_killed_process_left_is_swept_away_and_what_is_being_written_is_not(tmp_path):
    abandoned, fresh, other = (tmp_path / name for name in (".x.0a1b2c3d.tmp", ".x.11223344.tmp", ".y.0a1b2c3d.tmp"))
    for file in (abandoned, fresh, other):
        file.write_text("half")
    for file in (abandoned, other):
        os.utime(file, (0, 0))
    atomic_write_text(tmp_path / "x", "whole")
    assert (tmp_path / "x").read_text() == "whole"
    assert not abandoned.exists()
    assert fresh.exists()
    assert other.exists(), "it belongs to another file"
