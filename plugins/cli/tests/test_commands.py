"""Each command, run as a user runs it: in a process of its own, with its words and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def transept(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "transept_cli", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        env={**os.environ, "NO_COLOR": "1", **environment},
        check=False,
    )


def test_help_lists_the_commands_and_imports_none() -> None:
    done = transept("--help")
    assert done.returncode == 0
    for name in ("generate", "chat", "info", "explain", "convert", "plugins", "doctor"):
        assert name in done.stdout
    code = (
        "import sys\nfrom transept_cli.main import main\nmain(['--help'])\n"
        "assert 'torch' not in sys.modules and 'transept_cli.generate' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_unknown_command_is_refused_with_near_misses() -> None:
    done = transept("genrate", "x", "y")
    assert done.returncode == 2
    assert "generate" in done.stderr
    assert "Traceback" not in done.stderr


def test_plugins_lists_rows_and_json() -> None:
    rows = json.loads(transept("plugins", "--json").stdout)
    llama = next(row for row in rows if row["kind"] == "models" and row["key"] == "llama")
    assert llama["dist"] == "transept-llama"
    assert llama["status"] == "ok"
    assert llama["version"]
    only = json.loads(transept("plugins", "--kind", "attention", "--json").stdout)
    assert {row["kind"] for row in only} == {"attention"}
    assert {"eager", "sdpa"} <= {row["key"] for row in only}
    plain = transept("plugins", "--kind", "models").stdout
    assert "models\tllama\ttransept-llama" in plain
    assert transept("plugins", "--kind", "nonsense").returncode == 2


def broken_dist(folder: Path, code: str = "raise RuntimeError('the reactor is cold')\n") -> str:
    info = folder / "broken_thing-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[transept.models]\nbrokenmodel = broken_thing_plugin\n")
    (folder / "broken_thing_plugin.py").write_text(code)
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def test_a_broken_plugin_is_a_row_and_doctor_says_so(tmp_path: Path) -> None:
    path = broken_dist(tmp_path)
    rows = json.loads(transept("plugins", "--json", PYTHONPATH=path).stdout)
    broken = next(row for row in rows if row["key"] == "brokenmodel")
    assert broken["status"] == "broken"
    assert "the reactor is cold" in broken["error"]
    assert next(row for row in rows if row["key"] == "llama")["status"] == "ok"
    done = transept("doctor", PYTHONPATH=path)
    assert done.returncode == 1
    assert "broken-thing 2.5" in done.stdout
    assert "the reactor is cold" in done.stdout


def test_doctor_is_content_with_a_healthy_installation() -> None:
    done = transept("doctor")
    assert done.returncode == 0, done.stdout
    assert "transept-llama" in done.stdout
    assert "problem" not in done.stdout


def test_doctor_reports_a_missing_allowed_dist() -> None:
    done = transept("doctor", "--json", TRANSEPT_PLUGINS="transept-nowhere")
    assert done.returncode in (1, 2)
    assert "transept-nowhere" in done.stdout + done.stderr


@pytest.fixture
def folder(peer_llama) -> Path:
    return peer_llama()


def test_info_counts_without_reading_weights(folder: Path) -> None:
    facts = json.loads(transept("info", str(folder), "--json").stdout)
    assert facts["model_type"] == "llama"
    assert facts["format"] == "safetensors"
    assert facts["stored_as"] == ["F32"]
    assert facts["bytes_on_disk"] == facts["memory"]["float32"] == facts["parameters"] * 4
    assert "AutoModelForCausalLM" in facts["tasks"]
    plain = transept("info", str(folder))
    assert plain.returncode == 0
    assert "transept-llama" in plain.stdout


def test_errors_are_one_paragraph_without_a_traceback(tmp_path: Path) -> None:
    for arguments in (("info", str(tmp_path)), ("generate", str(tmp_path / "nothing"), "Hi"), ("explain", str(tmp_path))):
        done = transept(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" in transept("info", str(tmp_path), "--debug").stderr


def test_convert_writes_a_folder_that_loads_and_refuses_to_overwrite(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    done = transept("convert", str(folder), str(target), "--dtype", "bfloat16")
    assert done.returncode == 0, done.stderr
    assert json.loads((target / "config.json").read_text())["dtype"] == "bfloat16"
    again = transept("convert", str(folder), str(target))
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert transept("convert", str(folder), str(target), "--force").returncode == 0
    assert json.loads((target / "config.json").read_text())["dtype"] == "float32"


def test_an_allow_list_leaves_the_commands_that_explain_it() -> None:
    done = transept("plugins", "--json", TRANSEPT_PLUGINS="none")
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in json.loads(done.stdout) if row["dist"] == "transept-llama"} == {"blocked"}


def test_doctor_finds_a_record_that_leads_nowhere(tmp_path: Path) -> None:
    record = "[ModelSpec(key='brokenmodel', config='nomodule.at:All', tasks={'base': 'nomodule.at:Model'})]"
    code = f"from transept_hookspecs import ModelSpec, hookimpl\n\n\n@hookimpl\ndef provide_models():\n    return {record}\n"
    done = transept("doctor", PYTHONPATH=broken_dist(tmp_path, code))
    assert done.returncode == 1
    assert "nomodule.at" in done.stdout


def test_convert_refuses_a_task_that_is_none(folder: Path, tmp_path: Path) -> None:
    done = transept("convert", str(folder), str(tmp_path / "out"), "--task", "bogus")
    assert done.returncode == 2
    assert "bogus" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
class TestWithARealModel:
    def test_generate_streams_json_and_chats(self, smollm2_folder: Path) -> None:
        name = str(smollm2_folder)
        plain = transept("generate", name, "The capital of France is", "-n", "5", "--greedy")
        assert plain.returncode == 0, plain.stderr
        assert plain.stdout.startswith("The capital of France is")
        answer = json.loads(transept("generate", name, "What is the capital of France?", "--chat", "--json", "-n", "12").stdout)
        assert "Paris" in answer["text"]
        assert 0 < answer["new_tokens"] <= 12
        first = transept("generate", name, "Once", "-n", "6", "--seed", "3", "--temperature", "0.9", "--top-k", "40").stdout
        assert (
            first
            == transept("generate", name, "Once", "-n", "6", "--seed", "3", "--temperature", "0.9", "--top-k", "40").stdout
        )
        for wrong in (("--greedy", "--top-k", "3"), ("--greedy", "--seed", "1"), ("--seed", "99999999999999999999")):
            done = transept("generate", name, "Once", *wrong)
            assert done.returncode == 2
            assert "Traceback" not in done.stderr
        assert transept("generate", name, "-n", "2", "--", "--debug").stdout.startswith("--debug")
        assert transept("generate", name, "-", "-n", "3", stdin="From a pipe").stdout.startswith("From a pipe")

    def test_explain_names_each_role(self, smollm2_folder: Path) -> None:
        roles = {row["role"]: row for row in json.loads(transept("explain", str(smollm2_folder), "--json").stdout)}
        assert roles["architecture"]["choice"] == "llama"
        assert roles["attention"]["choice"] == "sdpa"
        assert roles["format"]["choice"] == "safetensors"
        assert any(other["key"] == "eager" for other in roles["attention"]["others"])
        fused = json.loads(transept("explain", str(smollm2_folder), "--json", "--rewrite", "fuse_projections").stdout)
        assert any(row["role"] == "rewrite" and row["choice"] == "fuse_projections" for row in fused)

    def test_chat_remembers_and_takes_commands(self, smollm2_folder: Path) -> None:
        typed = "My name is Ada. Say hello.\n/history\n/undo\n/history\n/exit\n"
        done = transept("chat", str(smollm2_folder), "-n", "16", "--greedy", "--system", "Be brief.", stdin=typed)
        assert done.returncode == 0, done.stderr
        assert "user: My name is Ada" in done.stdout
        assert "system: Be brief." in done.stdout
        assert "0 turns left" in done.stdout

    def test_ctrl_c_stops_only_the_reply(self, smollm2_folder: Path) -> None:
        """On a real terminal: a long answer is stopped, and the next question is answered."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "transept_cli", "chat", str(smollm2_folder), "-n", "2000", "--greedy"],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
        )
        os.close(follower)
        shown = b""

        def until(text: bytes, seconds: float) -> None:
            nonlocal shown
            os.set_blocking(leader, False)
            deadline = time.monotonic() + seconds
            while text not in shown:
                assert time.monotonic() < deadline, shown.decode(errors="replace")
                try:
                    shown += os.read(leader, 65536)
                except (BlockingIOError, OSError):
                    time.sleep(0.05)

        try:
            until(b"> ", 60)
            os.write(leader, b"Tell me a very long story about a dragon and a princess.\n")
            until(b"dragon and a princess.\r\n", 30)
            shown = b""
            until(b" ", 60)  # the reply has begun
            process.send_signal(signal.SIGINT)
            until(b"(stopped)", 30)
            shown = b""
            os.write(leader, b"/history\n")
            until(b"assistant:", 30)
            os.write(leader, b"/exit\n")
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            os.close(leader)
