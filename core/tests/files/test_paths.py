"""A name that comes out of a repository never leads out of its folder."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transept.errors import CheckpointError, UnsafePathError
from transept.files import safe_join


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "..", ".", "", " ", "a\0b", "a\\..\\b", "C:x", "C:/x", "//server/share/x", "~/../x"],
)
def test_a_name_that_points_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(UnsafePathError) as caught:
        safe_join(tmp_path, name)
    assert isinstance(caught.value, CheckpointError)


@pytest.mark.parametrize("name", ["a.json", "sub/a.json", "a..b", "...", "with space.txt", "名.json", "absent"])
def test_a_name_inside_is_joined(tmp_path, name):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text("{}")
    assert safe_join(tmp_path, name) == tmp_path / name


@given(
    name=st.text(max_size=12)
    | st.lists(st.sampled_from(["..", ".", "a", "/", "\\", "\0", "C:", "~"]), max_size=5).map("/".join)
)
def test_whatever_is_joined_lies_inside(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    try:
        path = safe_join(folder, name)
    except UnsafePathError:
        return
    assert os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)


def test_links_are_followed_within_the_folder_only(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "real").write_text("x")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "in").symlink_to("real")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    assert safe_join(folder, "in").read_text() == "x"
    for name in ("out", "up/secret", "up", "loop"):
        with pytest.raises(UnsafePathError):
            safe_join(folder, name)


def test_a_hub_snapshot_may_link_to_the_blobs_of_its_own_repository(tmp_path):
    def repository(name):
        snapshot = tmp_path / f"models--{name}" / "snapshots" / "abc"
        (snapshot / "sub").mkdir(parents=True)
        blobs = tmp_path / f"models--{name}" / "blobs"
        blobs.mkdir()
        (blobs / "1f").write_text(name)
        return snapshot

    mine, other = repository("mine"), repository("other")
    (mine / "config.json").symlink_to("../../blobs/1f")
    (mine / "sub" / "deep.json").symlink_to("../../../blobs/1f")
    (mine / "stolen.json").symlink_to(other.parent.parent / "blobs" / "1f")
    (mine / "refs.json").symlink_to("../../refs")
    assert safe_join(mine, "config.json").read_text() == "mine"
    assert safe_join(mine / "sub", "deep.json").read_text() == "mine"
    assert safe_join(mine, "sub/deep.json").read_text() == "mine"
    for name in ("stolen.json", "refs.json"):
        with pytest.raises(UnsafePathError):
            safe_join(mine, name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_or_a_folder_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    (tmp_path / "folder").mkdir()
    start = time.perf_counter()
    for name in ("model.safetensors", "folder"):
        with pytest.raises(UnsafePathError, match="not a regular file"):
            safe_join(tmp_path, name)
    assert time.perf_counter() - start < 1
