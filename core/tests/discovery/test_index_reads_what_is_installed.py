import importlib.util
import os
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transept.discovery.index import build_index, normalise, parse_entry_points


def test_listing_names_dist_version_module_and_path_and_imports_nothing(site, registry):
    info = site.add("my-plugin", "2.3", keys=("kite", "plane"))
    found = {entry.key: entry for entry in registry.entries("models")}
    assert (found["kite"].dist, found["kite"].version, found["kite"].module) == ("my-plugin", "2.3", "my_plugin")
    assert Path(found["kite"].path) == info
    assert {"kite", "plane"} <= set(registry.keys("models"))
    assert registry.dist_of("models", "plane") == ("my-plugin", "2.3")
    assert not site.loaded()


def test_one_scan_serves_every_group(site, registry, monkeypatch):
    site.add(
        "many", entry_points="[transept.models]\na = many\n[console_scripts]\nx = y:z\n[transept.api]\nAModel = many.m:AModel\n"
    )
    os.utime(site.root, (1_000_000, 1_000_000))
    monkeypatch.setattr(sys, "path", [str(site.root)])
    assert "a" in registry.keys("models")
    monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("scanned again"))
    assert "AModel" in registry.public_names()


@pytest.mark.parametrize("folder", ["old.egg-info", "old-3.1-py3.11.egg-info"])
def test_egg_info_folders_count(site, registry, folder):
    info = site.root / folder
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: old\nVersion: 3.1\n")
    (info / "entry_points.txt").write_text("[transept.models]\nvintage = old_module\n")
    assert registry.dist_of("models", "vintage") == ("old", "3.1")


def test_an_egg_info_folder_without_its_metadata_hides_nobody(site, registry):
    info = site.root / "torn.egg-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[transept.models]\nvintage = old_module\n")
    site.add("good", keys=("kite",))
    assert registry.dist_of("models", "kite")[0] == "good"
    assert registry.dist_of("models", "vintage") == ("torn", "unknown")


def test_metadata_that_is_a_file_or_has_no_entry_points_is_passed_over(site, registry):
    (site.root / "flat-1.0.egg-info").write_text("Name: flat\n")
    (site.root / "plain-1.0.dist-info").mkdir()
    site.add("good", keys=("kite",))
    assert registry.dist_of("models", "kite")[0] == "good"
    assert not [trouble for trouble in registry.troubles() if "flat" in trouble or "plain" in trouble]


def test_an_editable_install_is_found_by_its_metadata(site, registry, tmp_path, monkeypatch):
    source = tmp_path / "checkout"
    site.add("editable", keys=("kite",), root=site.root)
    source.mkdir()
    (site.root / "editable.py").rename(source / "editable.py")
    monkeypatch.syspath_prepend(source)
    assert registry.get("models", "kite").key == "kite"


def test_a_zip_on_the_path_is_read(site, registry, tmp_path, monkeypatch):
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("zipped-0.5.dist-info/METADATA", "Metadata-Version: 2.1\nName: zipped\nVersion: 0.5\n")
        bundle.writestr("zipped-0.5.dist-info/entry_points.txt", "[transept.models]\nkite = zipped_plugin\n")
        bundle.writestr("zipped_plugin.py", site.models("kite"))
    monkeypatch.syspath_prepend(archive)
    site.modules.add("zipped_plugin")
    assert registry.dist_of("models", "kite") == ("zipped", "0.5")
    assert registry.get("models", "kite").key == "kite"


def test_dists_of_a_custom_finder_are_found_and_a_broken_finder_is_only_a_note(site, registry, tmp_path, monkeypatch):
    from importlib_metadata import PathDistribution

    hidden = tmp_path / "hidden"
    info = site.add("packaged", "4.0", keys=("kite",), root=hidden)

    class Finder:
        def find_spec(self, *_):
            return None

        def find_distributions(self, _context):
            return [PathDistribution(info)]

    class Broken(Finder):
        def find_distributions(self, _context):
            raise RuntimeError("no luck")

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Broken(), Finder()])
    assert registry.dist_of("models", "kite") == ("packaged", "4.0")
    assert any("no luck" in trouble for trouble in registry.troubles())


def test_a_damaged_archive_is_only_a_note(site, registry, tmp_path, monkeypatch):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK not a zip")
    monkeypatch.syspath_prepend(broken)
    site.add("good", keys=("kite",))
    assert registry.dist_of("models", "kite")[0] == "good"


def test_one_dist_listed_twice_through_symlinks_is_one(site, registry, tmp_path, monkeypatch):
    site.add("once", keys=("kite",))
    (tmp_path / "lib64").symlink_to(site.root)
    other = tmp_path / "other"
    other.mkdir()
    (other / "once-1.0.dist-info").symlink_to(site.root / "once-1.0.dist-info")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "lib64"), str(other), str(site.root)])
    assert registry.get("models", "kite").key == "kite"
    assert len([entry for entry in registry.entries("models") if entry.key == "kite"]) == 1
    assert not [trouble for trouble in registry.troubles() if "once" in trouble]


def test_the_first_of_two_versions_on_the_path_serves_and_the_hidden_one_is_noted(site, registry, tmp_path, monkeypatch):
    stale = tmp_path / "stale"
    site.add("twice", "2.0", keys=("kite",))
    hidden = site.add("Twice", "1.0", keys=("kite", "old"), root=stale, module="twice")
    monkeypatch.setattr(sys, "path", [*sys.path, str(stale)])
    assert registry.dist_of("models", "kite") == ("twice", "2.0")
    assert "old" not in registry.keys("models")
    assert any(str(hidden) in trouble and "2.0" in trouble for trouble in registry.troubles())


def test_what_an_interrupted_upgrade_left_behind_loses_to_the_newer_version(site, registry):
    for version in ("0.9", "0.10", "0.2"):
        site.add("again", version, keys=("kite",))
    assert registry.dist_of("models", "kite") == ("again", "0.10")


def test_an_unreadable_file_is_noted_and_hides_nobody(site, registry):
    info = site.add("torn", keys=("kite",))
    (info / "entry_points.txt").write_bytes(b"[transept.models]\n\xff\xfe = x\n")
    site.add("good", keys=("plane",))
    assert "plane" in registry.keys("models")
    assert "kite" not in registry.keys("models")
    assert any("torn" in trouble for trouble in registry.troubles())


def test_a_dist_installed_after_the_first_lookup_is_found(site, registry):
    assert registry.find("models", "kite") is None
    site.add("late", keys=("kite",))
    assert registry.get("models", "kite").key == "kite"


def test_an_upgrade_in_a_folder_read_long_ago_is_found_too(site, registry):
    os.utime(site.root, (1_000_000, 1_000_000))
    assert registry.find("models", "kite") is None
    site.add("late", keys=("kite",))
    assert registry.get("models", "kite").key == "kite"


def test_a_dist_installed_within_one_tick_of_the_clock_is_found_and_imported(site, registry):
    assert registry.find("models", "kite") is None
    importlib.util.find_spec("no_such_module_at_all")  # Python's own finder remembers the folder now
    before = site.root.stat()
    site.add("late", keys=("kite",))
    os.utime(site.root, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert registry.get("models", "kite").key == "kite"


def test_a_folder_that_came_onto_the_path_is_read(site, registry, tmp_path, monkeypatch):
    other = tmp_path / "other"
    site.add("early", keys=("plane",))
    site.add("elsewhere", keys=("kite",), root=other)
    for folder in (site.root, other):
        os.utime(folder, (1_000_000, 1_000_000))
    monkeypatch.setattr(sys, "path", [str(site.root)])
    assert registry.find("models", "kite") is None
    sys.path.append(str(other))
    assert registry.dist_of("models", "kite") == ("elsewhere", "1.0")


def test_a_miss_reads_only_the_folders_that_changed(site, registry, tmp_path, monkeypatch):
    quiet = tmp_path / "quiet"
    site.add("early", keys=("kite",), root=quiet)
    os.utime(quiet, (1_000_000, 1_000_000))
    monkeypatch.setattr(sys, "path", [*sys.path, str(quiet)])
    registry.keys("models")
    read, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda place: read.append(str(place)) or listdir(place))
    site.add("late", keys=("plane",))
    assert registry.get("models", "plane").key == "plane"
    assert str(site.root) in read
    assert str(quiet) not in read
    assert registry.get("models", "kite").key == "kite"


def test_a_dist_that_was_uninstalled_is_gone_from_the_next_listing(site, registry):
    info = site.add("gone", keys=("kite",))
    assert "kite" in registry.keys("models")
    (info / "entry_points.txt").unlink()
    info.rename(site.root / "trash")
    assert "kite" not in registry.keys("models")


def test_a_relative_and_a_missing_place_on_the_path_do_no_harm(site, monkeypatch):
    monkeypatch.chdir(site.root)
    monkeypatch.setattr(sys, "path", ["", "/no/such/place", "nul\0byte", *sys.path])
    site.add("here", keys=("kite",))
    index = build_index()
    assert [entry.dist for entry in index.find("models", "kite")] == ["here"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[transept.models]\nllama = pkg.plugin\n", [("models", "llama", "pkg.plugin")]),
        ("[transept.models]\n# note\n; note\n\nllama=pkg.plugin [extra]\r\n", [("models", "llama", "pkg.plugin")]),
        ("[transept.models]\na = p\na = q\n", [("models", "a", "p")]),
        ("[other]\na = p\n[transept.api]\nX = p:X\n[more.transept.api]\nY = p:Y\n", [("api", "X", "p:X")]),
        ("a = p\nbroken line\n[transept.models]\nno equals sign\n", []),
        (
            "[transept.models]\ncompressed-tensors = p\npaged|sdpa = p",
            [(k, n, "p") for k, n in [("models", "compressed-tensors"), ("models", "paged|sdpa")]],
        ),
    ],
)
def test_entry_point_lines(text, expected):
    assert list(parse_entry_points(text)) == expected


@settings(deadline=None)
@given(st.text())
def test_no_text_breaks_the_parser(text):
    for kind, key, module in parse_entry_points(text):
        assert kind
        assert isinstance(key, str)
        assert isinstance(module, str)


@settings(deadline=None)
@given(st.text(alphabet="abcXYZ019-_.", min_size=1).filter(lambda name: name.strip("-_.") == name))
def test_names_are_normalised_as_packaging_does(name):
    from packaging.utils import canonicalize_name

    assert normalise(name) == canonicalize_name(name)
