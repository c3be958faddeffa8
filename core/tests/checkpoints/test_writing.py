"""Writing weights: what the reference reads, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from transept.checkpoints import open_safetensors, save_tensors
from transept.checkpoints.safetensors_format import SafetensorsFile
from transept.errors import InputError, SaveError
from transept.files import DirectoryLocation


def peer_reads(folder: Path) -> dict[str, torch.Tensor]:
    """As the peer does it: the single file if it is there, else every file that the index names."""
    if (folder / "model.safetensors").exists():
        return load_file(folder / "model.safetensors")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    found: dict[str, torch.Tensor] = {}
    for name in sorted(set(index["weight_map"].values())):
        found |= load_file(folder / name)
    return found


def checkpoint(value: float, count: int = 6) -> dict[str, torch.Tensor]:
    return {f"layers.{i}.weight": torch.full((10,), value) for i in range(count)}


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_file_that_the_reference_reads(tmp_path):
    torch.manual_seed(0)
    tensors = {
        "flags": torch.tensor([True, False, True]),
        "weight": torch.randn(3, 5),
        "half": torch.randn(3).bfloat16(),
        "tiny": torch.randn(5).to(torch.float8_e4m3fn),
        "empty": torch.empty(0, 4),
        "scalar": torch.tensor(7),
        "complex": torch.randn(2, dtype=torch.complex64),
        "naïve.名": torch.ones(1),
    }
    path = save_tensors(tmp_path, tensors)
    assert path == tmp_path / "model.safetensors"
    assert visible(tmp_path) == ["model.safetensors"]
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(tensors)
        for name, tensor in tensors.items():
            found = file.get_tensor(name)
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
            assert (
                found.numpy().tobytes() == tensor.numpy().tobytes()
                if name == "complex"
                else found.flatten().tolist() == tensor.flatten().tolist()
            )


def test_mapped_tensors_are_aligned_in_what_is_written(tmp_path):
    path = save_tensors(
        tmp_path, {"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(5, dtype=torch.float64), "c": torch.ones(3)}
    )
    file = SafetensorsFile(path)
    assert all(ref.start % ref.dtype.itemsize == 0 for ref in file.tensors.values())
    assert min(ref.start for ref in file.tensors.values()) % 64 == 0


def test_views_and_shared_memory_are_written_in_full(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    path = save_tensors(tmp_path, {"t": base.t(), "row": base[1], "all": base, "again": base, "wide": base[:1].expand(3, 4)})
    found = load_file(path)
    assert torch.equal(found["t"], base.t())
    assert torch.equal(found["row"], base[1])
    assert torch.equal(found["again"], base)
    assert torch.equal(found["wide"], base[:1].expand(3, 4))


def test_functions_are_called_one_at_a_time(tmp_path):
    alive = []

    def make(i):
        def read():
            alive.append(i)
            return torch.full((4,), float(i))

        return read

    found = load_file(save_tensors(tmp_path, {f"x{i}": make(i) for i in range(3)}))
    assert found["x2"].tolist() == [2.0] * 4
    assert alive == [0, 1, 2, 0, 1, 2]


def test_what_a_function_made_is_gone_before_the_next_is_made(tmp_path):
    made = []

    def make():
        assert all(reference() is None for reference in made)
        memory = np.ones(4)
        made.append(weakref.ref(memory))
        return torch.from_numpy(memory)

    save_tensors(tmp_path, {f"x{i}": make for i in range(3)})
    assert len(made) == 6


def test_shards_and_an_index_as_the_peer_writes_them(tmp_path):
    index = save_tensors(tmp_path, checkpoint(1.0), max_shard_size=80)
    assert index.name == "model.safetensors.index.json"
    assert visible(tmp_path) == [*(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)), "model.safetensors.index.json"]
    written = json.loads(index.read_text())
    assert written["metadata"]["total_size"] == 240
    assert written["weight_map"]["layers.5.weight"] == "model-00003-of-00003.safetensors"
    assert set(peer_reads(tmp_path)) == set(checkpoint(1.0))
    with open_safetensors(DirectoryLocation(tmp_path)) as reader:
        assert set(reader.tensors) == set(checkpoint(1.0))


def test_a_variant_has_names_of_its_own(tmp_path):
    save_tensors(tmp_path, checkpoint(1.0))
    save_tensors(tmp_path, checkpoint(2.0), variant="fp16", max_shard_size=120)
    assert visible(tmp_path) == [
        "model.fp16-00001-of-00002.safetensors",
        "model.fp16-00002-of-00002.safetensors",
        "model.safetensors",
        "model.safetensors.index.fp16.json",
    ]
    with open_safetensors(DirectoryLocation(tmp_path), variant="fp16") as reader:
        assert reader.tensors["layers.0.weight"].read()[0] == 2


def test_tensors_of_one_module_stay_in_one_shard(tmp_path):
    tensors = {f"{m}.{n}": torch.zeros(3) for m in "abc" for n in ("qweight", "scales")}
    written = json.loads(save_tensors(tmp_path, tensors, max_shard_size=30).read_text())["weight_map"]
    assert all(written[f"{m}.qweight"] == written[f"{m}.scales"] for m in "abc")


def test_a_tensor_larger_than_a_shard_gets_one_of_its_own(tmp_path):
    save_tensors(tmp_path, {"a": torch.zeros(2), "b": torch.zeros(100), "c": torch.zeros(2)}, max_shard_size=16)
    assert len(peer_reads(tmp_path)) == 3


def test_no_tensors_at_all_is_a_file_too(tmp_path):
    assert load_file(save_tensors(tmp_path, {})) == {}


@pytest.mark.parametrize("size", ["5 bananas", "", "-1GB", "0", 0, -3, "GB", "nan", "inf"])
def test_a_size_that_is_none_is_refused(tmp_path, size):
    with pytest.raises(InputError, match="max_shard_size"):
        save_tensors(tmp_path, {}, max_shard_size=size)


@pytest.mark.parametrize(
    "tensor",
    [torch.empty(2, device="meta"), torch.ones(2).to_sparse(), torch.ones(2, dtype=torch.complex128)],
    ids=["meta", "sparse", "dtype"],
)
def test_a_tensor_that_cannot_be_stored_is_named_and_nothing_changes(tmp_path, tensor):
    save_tensors(tmp_path, checkpoint(1.0))
    with pytest.raises(SaveError, match="`odd`"):
        save_tensors(tmp_path, {"fine": torch.ones(1), "odd": tensor})
    assert peer_reads(tmp_path)["layers.0.weight"][0] == 1
    assert visible(tmp_path) == ["model.safetensors"]


SHARDED, SHARDED_OTHERWISE, SINGLE = 80, 120, 10_000


@pytest.mark.parametrize("old", [SINGLE, SHARDED, SHARDED_OTHERWISE])
@pytest.mark.parametrize("new", [SINGLE, SHARDED, SHARDED_OTHERWISE])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_litter(tmp_path, monkeypatch, old, new, call):
    save_tensors(tmp_path, checkpoint(1.0), max_shard_size=old)
    before = visible(tmp_path)
    real, left = getattr(os, call) if call != "write" else open, [2 if new != SINGLE else 1]

    def full(*arguments, **options):
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    if call == "write":
        monkeypatch.setattr("transept.checkpoints.write.open", full, raising=False)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(SaveError, match="No space left") as caught:
        save_tensors(tmp_path, checkpoint(2.0), max_shard_size=new)
    monkeypatch.undo()
    assert isinstance(caught.value.__cause__, OSError)
    assert visible(tmp_path) == before
    assert {float(t[0]) for t in peer_reads(tmp_path).values()} == {1.0}


def read_values(folder: Path) -> list[set[float]]:
    """The values that our reader and the peer's way of reading see."""
    with open_safetensors(DirectoryLocation(folder)) as reader:
        ours = {name: ref.read() for name, ref in reader.tensors.items()}
    return [{float(t[0]) for t in found.values()} for found in (ours, peer_reads(folder))]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("old", [SINGLE, SHARDED, SHARDED_OTHERWISE])
@pytest.mark.parametrize("new", [SINGLE, SHARDED, SHARDED_OTHERWISE])
def test_death_at_any_file_operation_leaves_the_old_or_the_new(tmp_path, old, new):
    """The save runs in a forked child that dies at its n-th operation, for each n there is."""
    seen = set()
    for step in range(1, 200):
        folder = tmp_path / str(step)
        save_tensors(folder, checkpoint(1.0), max_shard_size=old)
        child = os.fork()
        if child == 0:
            _die_at(step)
            save_tensors(folder, checkpoint(2.0), max_shard_size=new)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        ours, peers = read_values(folder)
        assert ours == peers
        assert ours in ({1.0}, {2.0}), f"mixed after step {step}"
        seen |= ours
        if os.waitstatus_to_exitcode(status) == 0:
            break
        save_tensors(folder, checkpoint(3.0), max_shard_size=new)
        assert read_values(folder) == [{3.0}, {3.0}]
    assert seen == {1.0, 2.0}
    assert step > 2
    assert not [name for name in visible(folder) if name.endswith(".tmp")]


def _die_at(step: int) -> None:
    """Make the process end, as by SIGKILL, before the n-th operation on the file system."""
    left = [step]

    def deadly(real):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    os.replace, os.open = deadly(os.replace), deadly(os.open)
    pathlib.Path.unlink = deadly(pathlib.Path.unlink)


def test_saving_again_and_again_in_one_folder_leaves_only_what_is_used(tmp_path):
    for round_, size in enumerate([SHARDED, SHARDED, SHARDED, SINGLE, SHARDED_OTHERWISE, SHARDED, SINGLE], start=1):
        save_tensors(tmp_path, checkpoint(float(round_)), max_shard_size=size)
        assert read_values(tmp_path) == [{float(round_)}] * 2
        weights = [name for name in visible(tmp_path) if name.endswith(".safetensors")]
        assert len(weights) == {SINGLE: 1, SHARDED: 3, SHARDED_OTHERWISE: 2}[size]
    assert visible(tmp_path) == ["model.safetensors"]


def test_saving_over_the_file_that_a_model_maps(tmp_path):
    save_tensors(tmp_path, checkpoint(1.0))
    with open_safetensors(DirectoryLocation(tmp_path)) as reader:
        mapped = {name: ref.read() for name, ref in reader.tensors.items()}
    save_tensors(tmp_path, {name: tensor * 5 for name, tensor in mapped.items()})
    assert mapped["layers.0.weight"].tolist() == [1.0] * 10
    assert read_values(tmp_path)[0] == {5.0}


def test_other_peoples_files_stay(tmp_path):
    for name in ("adapter_model.safetensors", "notes.txt", "other-00001-of-00002.safetensors"):
        (tmp_path / name).write_text("mine")
    save_tensors(tmp_path, checkpoint(1.0), max_shard_size=SHARDED)
    save_tensors(tmp_path, checkpoint(1.0))
    assert visible(tmp_path) == [
        "adapter_model.safetensors",
        "model.safetensors",
        "notes.txt",
        "other-00001-of-00002.safetensors",
    ]


def test_an_index_that_names_other_files_takes_none_of_them_along(tmp_path):
    others = ["tokenizer.json", "model-vision-00001-of-00001.safetensors"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "tokenizer.json", "b": "../x.safetensors"}}')
    (tmp_path.parent / "x.safetensors").write_text("mine")
    save_tensors(tmp_path, checkpoint(1.0))
    assert visible(tmp_path) == sorted(["model.safetensors", *others])
    assert (tmp_path.parent / "x.safetensors").exists()


def test_what_a_killed_process_left_is_swept_later(tmp_path):
    old, fresh = tmp_path / ".model.safetensors.0123abcd.tmp", tmp_path / ".model.safetensors.89abcdef.tmp"
    for path in (old, fresh):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    save_tensors(tmp_path, checkpoint(1.0))
    assert not old.exists()
    assert fresh.exists()


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path):
    code = """
import sys, torch
from transept.checkpoints import save_tensors
print("ready", flush=True)
value = 1.0
while True:
    value += 1
    tensors = {f"layers.{i}.weight": torch.full((100_000,), value) for i in range(8)}
    save_tensors(sys.argv[1], tensors, max_shard_size=["1MB", "100MB"][int(value) % 3 == 0])
"""
    save_tensors(tmp_path, checkpoint(1.0, 8), max_shard_size=SHARDED)
    for attempt in range(4):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.037 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        ours, peers = read_values(tmp_path)
        assert ours == peers
        assert len(ours) == 1
