"""Finding a checkpoint by its name, here or on the hub."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import huggingface_hub.constants
import pytest

from transept.errors import CheckpointNotFoundError, InputError, SaveError, UnsafePathError
from transept.files import DirectoryLocation, open_location
from transept.files.hub import is_repository_id, upload_folder

COMMIT = "a" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as downloading takes: model info and files, at one commit."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        self.asked.append(f"{self.command} {self.path}")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:4] == ["api", "models", "org", "tiny"] and parts[5:] in (["main"], [COMMIT]):
            info = {"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            self.send(200, json.dumps(info).encode(), with_body, {"Content-Type": "application/json"})
        elif parts[:2] == ["org", "tiny"] and parts[2] == "resolve" and "/".join(parts[4:]) in self.files:
            data = self.files["/".join(parts[4:])]
            etag = hashlib.sha256(data).hexdigest()
            self.send(200, data, with_body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})
        else:
            code = "RevisionNotFound" if parts[:4] == ["api", "models", "org", "tiny"] else "RepoNotFound"
            self.send(404, b"{}", with_body, {"X-Error-Code": code, "X-Error-Message": "not found"})

    def send(self, status, body, with_body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine, and an empty cache."""
    handler = type(
        "Handler", (Hub,), {"asked": [], "files": {"config.json": b'{"a": 1}', "big.bin": b"x" * 10, "sub/config.json": b"{}"}}
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    point_to(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    yield handler
    server.shutdown()
    server.server_close()


def point_to(endpoint, monkeypatch):
    constants = huggingface_hub.constants
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
    )
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", endpoint)


@pytest.mark.parametrize("name", [None, 3, ["a"]])
def test_what_is_no_name_is_refused(name):
    """As `os.environ.get("MODEL")` is where the variable is not set."""
    with pytest.raises(InputError, match=f"not a `{type(name).__name__}`"):
        open_location(name)


def test_files_are_listed_once_and_downloaded_when_asked_for(hub):
    location = open_location("org/tiny")
    assert (location.source, location.revision, location.name) == ("hub", COMMIT, "org/tiny")
    assert location.names() == ("big.bin", "config.json", "sub/config.json")
    assert not any("resolve" in asked for asked in hub.asked)
    path = location.fetch("config.json")
    assert path.read_text() == '{"a": 1}'
    assert location.fetch("absent.json") is None
    assert not any("big.bin" in asked for asked in hub.asked)
    count = len(hub.asked)
    assert location.fetch("config.json") == path
    assert len(hub.asked) == count


def test_a_subfolder_is_a_place_of_its_own(hub):
    location = open_location("org/tiny", subfolder="sub")
    assert location.names() == ("config.json",)
    assert location.fetch("config.json").read_text() == "{}"
    with pytest.raises(CheckpointNotFoundError, match="subfolder"):
        open_location("org/tiny", subfolder="other")
    with pytest.raises(UnsafePathError):
        open_location("org/tiny", subfolder="../other")


@pytest.mark.parametrize("revision", ["main", COMMIT, None])
def test_what_was_downloaded_is_found_offline(hub, monkeypatch, revision):
    open_location("org/tiny", revision=revision).fetch("config.json")
    hub.asked.clear()
    for options in ({"local_files_only": True}, {}):
        if not options:
            monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        location = open_location("org/tiny", revision=revision, **options)
        assert location.names() == ("config.json",)
        assert location.fetch("config.json").read_text() == '{"a": 1}'
        assert location.fetch("big.bin") is None
    assert hub.asked == []


def test_a_hub_that_is_down_leaves_the_cache(hub, monkeypatch):
    open_location("org/tiny").fetch("config.json")
    point_to("http://127.0.0.1:9", monkeypatch)
    assert open_location("org/tiny").fetch("config.json").read_text() == '{"a": 1}'
    with pytest.raises(CheckpointNotFoundError, match="could not be reached"):
        open_location("org/other")


def test_a_forced_download_does_not_make_do_with_the_cache(hub):
    open_location("org/tiny").fetch("config.json").write_text("damaged")
    assert open_location("org/tiny").fetch("config.json").read_text() == "damaged"
    assert open_location("org/tiny", force_download=True).fetch("config.json").read_text() == '{"a": 1}'
    with pytest.raises(CheckpointNotFoundError, match="force_download"):
        open_location("org/tiny", local_files_only=True, force_download=True)


def test_a_connection_that_breaks_during_a_download_is_an_error_of_ours(hub, monkeypatch):
    location = open_location("org/tiny")

    def breaks(*_, **__):
        raise huggingface_hub.errors.HTTPError("peer closed the connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", breaks)
    with pytest.raises(CheckpointNotFoundError, match="could not be downloaded: peer closed"):
        location.fetch("config.json")


def test_the_cache_dir_is_where_files_go(hub, tmp_path):
    path = open_location("org/tiny", cache_dir=tmp_path / "mine").fetch("config.json")
    assert path.is_relative_to(tmp_path / "mine")


def test_the_error_says_what_was_tried(hub):
    with pytest.raises(CheckpointNotFoundError) as caught:
        open_location("org/absent")
    message = str(caught.value)
    assert "`org/absent`" in message
    assert "dir: has nothing of that name" in message
    assert "the hub has no repository `org/absent`" in message
    with pytest.raises(CheckpointNotFoundError, match="no revision `v9`"):
        open_location("org/tiny", revision="v9")


def test_offline_the_error_comes_at_once(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    start = time.perf_counter()
    with pytest.raises(CheckpointNotFoundError, match="HF_HUB_OFFLINE is set, and the cache"):
        open_location("org/absent")
    assert time.perf_counter() - start < 1
    assert hub.asked == []


def test_a_folder_comes_before_the_hub(hub, tmp_path):
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    (tmp_path / "org" / "tiny" / "config.json").write_text("here")
    location = open_location("org/tiny")
    assert location.source == "dir"
    assert location.fetch("config.json").read_text() == "here"
    assert hub.asked == []


def test_the_environment_is_obeyed_in_a_new_process(tmp_path):
    code = "from transept.files import open_location; open_location('org/absent')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "HF_HUB_OFFLINE is set" in done.stderr


def test_an_upload_that_fails_is_a_save_error(hub, monkeypatch, folder):
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(SaveError, match="`org/mine` could not be uploaded"):
        upload_folder(folder, repo_id="org/mine", token="hf_none")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "", "~", "x" * 200])
def test_a_name_that_no_hub_could_have_is_not_asked_for(hub, name):
    if name == "~":
        name = "~/certainly-not-there"
    with pytest.raises(CheckpointNotFoundError, match="hub: has nothing of that name"):
        open_location(name)
    assert hub.asked == []


def test_an_unknown_scheme_is_named(hub):
    with pytest.raises(CheckpointNotFoundError, match="pip install transept-nowhere"):
        open_location("nowhere:thing")


@pytest.mark.parametrize(
    ("name", "could_be"),
    [
        ("gpt2", True),
        ("a/b", True),
        ("a/b/c", False),
        ("a b", False),
        ("-a", False),
        ("a--b", False),
        ("a/.b", False),
        ("", False),
    ],
)
def test_which_names_the_hub_could_have(name, could_be):
    assert is_repository_id(name) == could_be


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in (
        "config.json",
        "model.safetensors",
        "other.safetensors",
        "model.safetensors.index.json",
        "chat_template.jinja",
        ".hidden/x",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_folder_lists_its_files(folder):
    location = open_location(folder)
    assert location.folder() == folder
    assert location.names() == (
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "other.safetensors",
    )
    assert location.fetch("nothing") is None
    assert open_location(location) is location
    with pytest.raises(UnsafePathError):
        location.fetch("../x")


def test_a_single_file_brings_its_companions_and_no_other_weights(folder):
    location = open_location(str(folder / "other.safetensors"))
    assert isinstance(location, DirectoryLocation)
    assert location.file == "other.safetensors"
    assert location.names() == ("chat_template.jinja", "config.json", "other.safetensors")
    assert location.fetch("model.safetensors") is None
    assert location.fetch("config.json") is not None


def test_a_missing_subfolder_of_a_folder_is_said(folder):
    with pytest.raises(CheckpointNotFoundError, match="no subfolder `x`"):
        open_location(folder, subfolder="x")
