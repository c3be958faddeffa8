"""From a checkpoint to a model on `meta`: every tensor in its place, and nothing passes in silence."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from transept.checkpoints import Drop, KeyMap, Rename, Split, Transpose, load_checkpoint, open_safetensors
from transept.errors import (
    CheckpointError,
    MissingTensorsError,
    PlacementError,
    ShapeMismatchError,
    UnexpectedTensorsError,
)
from transept.files import DirectoryLocation


@pytest.fixture
def stored(tmp_path):
    """Writes tensors to a file and opens it."""

    def store(tensors, **options):
        save_file(
            {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, tmp_path / "model.safetensors"
        )
        return open_safetensors(DirectoryLocation(tmp_path), **options)

    return store


@pytest.fixture
def source(task_class):
    torch.manual_seed(0)
    return task_class()


def same(model, reference):
    found, expected = model.state_dict(), reference.state_dict()
    assert set(found) == set(expected)
    return all(torch.equal(found[name].float(), tensor.float()) for name, tensor in expected.items())


@pytest.mark.parametrize("mmap", [True, False])
def test_a_checkpoint_fills_the_model(source, task_class, on_meta, stored, mmap):
    model = on_meta(task_class)
    with stored(source.state_dict(), mmap=mmap) as reader:
        report = load_checkpoint(model, reader)
    assert same(model, source)
    assert not report.missing
    assert not report.unexpected
    assert report.tensors == len(source.state_dict())
    assert report.bytes == sum(t.nbytes for t in source.state_dict().values())
    assert "MB" in str(report)


def test_unchanged_tensors_are_the_mapped_file(source, task_class, on_meta, stored, tmp_path):
    model = on_meta(task_class)
    with stored(source.state_dict()) as reader:
        load_checkpoint(model, reader)
        name = "model.layers.0.q_proj.weight"
        assert model.get_parameter(name).data_ptr() == reader.tensors[name].read().data_ptr()
    before = (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.get_parameter(name).add_(1)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_loading_twice_gives_the_same(source, task_class, on_meta, stored):
    models = []
    for _ in range(2):
        with stored(source.state_dict()) as reader:
            models.append(on_meta(task_class))
            load_checkpoint(models[-1], reader)
    assert same(*models)


def test_buffers_are_computed_and_never_left_to_chance(source, task_class, on_meta, stored, monkeypatch):
    real = torch.empty
    monkeypatch.setattr(
        torch, "empty", lambda *a, **k: real(*a, **k).fill_(float("nan")) if k.get("device") != "meta" else real(*a, **k)
    )
    model = on_meta(task_class)
    load_checkpoint(model, stored(source.state_dict()))
    assert torch.equal(model.model.inv_freq, source.model.inv_freq)


def test_a_module_that_cannot_recompute_its_buffers_is_named(task_class, on_meta, stored, source):
    model = on_meta(task_class)
    model.model.layers[1].register_buffer("table", torch.empty(3, device="meta"), persistent=False)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1.*table.*reset_buffers"):
        load_checkpoint(model, stored(source.state_dict()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_floating_tensors_are_cast_and_integers_are_not(source, task_class, on_meta, stored, dtype):
    source.model.register_buffer("steps", torch.tensor([3]))
    model = on_meta(task_class)
    model.model.register_buffer("steps", torch.tensor([0], device="meta"))
    report = load_checkpoint(model, stored(source.state_dict()), dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model.model.steps.dtype == torch.int64
    assert torch.equal(model.lm_head.weight, source.lm_head.weight.to(dtype))
    assert "model.steps" not in report.converted


def test_modules_that_need_fp32_keep_it_in_half_precision(source, task_class, on_meta, stored):
    for keep, dtype, expected in (
        ("_keep_in_fp32_modules", torch.float16, torch.float32),
        ("_keep_in_fp32_modules", torch.bfloat16, torch.bfloat16),
        ("_keep_in_fp32_modules_strict", torch.bfloat16, torch.float32),
    ):
        model = on_meta(task_class)
        setattr(model, keep, ["norm"])
        load_checkpoint(model, stored(source.state_dict()), dtype=dtype)
        assert model.model.layers[0].norm.weight.dtype == expected
        assert model.model.layers[0].q_proj.weight.dtype == dtype


def test_requires_grad_is_kept(source, task_class, on_meta, stored):
    model = on_meta(task_class)
    model.model.embed_tokens.weight.requires_grad_(False)
    load_checkpoint(model, stored(source.state_dict()))
    assert not model.model.embed_tokens.weight.requires_grad
    assert model.lm_head.weight.requires_grad


@pytest.mark.parametrize("kept", ["model.embed_tokens.weight", "lm_head.weight", "both"])
def test_ties_become_one_parameter_whichever_name_is_stored(task_class, on_meta, stored, kept):
    source = task_class(tied=True)
    state = source.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if kept not in (name, "both"):
            del state[name]
    model = on_meta(task_class, tied=True)
    report = load_checkpoint(model, stored(state))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, source.lm_head.weight)
    assert report.tied == {"lm_head.weight": "model.embed_tokens.weight"}


def test_ties_declared_against_the_order_of_the_modules_and_beside_undeclared_ones(task_class, on_meta, stored):
    class Three(task_class):
        def __init__(self):
            super().__init__(tied=True)
            self.again = nn.Embedding(16, 8)
            self.again.weight = self.lm_head.weight
            self.tied_weights = {"model.embed_tokens.weight": "lm_head.weight"}

    weight = torch.randn(16, 8)
    state = {**task_class(tied=True).state_dict(), "lm_head.weight": weight}
    del state["model.embed_tokens.weight"]
    model = on_meta(Three)
    load_checkpoint(model, stored(state))
    assert model.lm_head.weight is model.model.embed_tokens.weight is model.again.weight
    assert torch.equal(model.lm_head.weight, weight)


def test_a_checkpoint_with_two_different_tensors_unties_or_is_refused(task_class, on_meta, stored):
    state = task_class(tied=False).state_dict()
    model = on_meta(task_class, tied=True)
    with pytest.raises(CheckpointError, match="tie_word_embeddings=False"):
        load_checkpoint(model, stored(state))
    untied = []
    model = on_meta(task_class, tied=True)
    model.untie = untied.append
    report = load_checkpoint(model, stored(state))
    assert untied == ["lm_head.weight"]
    assert not report.tied
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_a_base_model_reads_a_task_checkpoint_and_reports_the_head(source, base_class, on_meta, stored):
    model = on_meta(base_class)
    report = load_checkpoint(model, stored(source.state_dict()))
    assert same(model, source.model)
    assert report.unexpected == ["lm_head.weight"]


def test_a_task_model_reads_a_base_checkpoint_and_makes_the_head_anew(source, task_class, on_meta, stored):
    model = on_meta(task_class)
    report = load_checkpoint(model, stored(source.model.state_dict()), dtype=torch.bfloat16)
    assert report.newly_initialized == ["lm_head.weight"]
    assert torch.equal(model.lm_head.weight, torch.full((16, 8), 0.5, dtype=torch.bfloat16))
    assert torch.equal(model.model.embed_tokens.weight, source.model.embed_tokens.weight.bfloat16())
    assert report.as_loading_info()["missing_keys"] == ["lm_head.weight"]


def test_missing_weights_are_an_error_that_names_them(source, task_class, on_meta, stored):
    state = source.state_dict()
    del state["model.layers.1.k_proj.bias"]
    with pytest.raises(MissingTensorsError, match=r"model\.layers\.1\.k_proj\.bias.*strict=False") as caught:
        load_checkpoint(on_meta(task_class), stored(state))
    assert caught.value.names == ["model.layers.1.k_proj.bias"]
    model = on_meta(task_class)
    report = load_checkpoint(model, stored(state), strict=False)
    layer = model.model.layers[1].k_proj
    assert report.missing == report.newly_initialized == ["model.layers.1.k_proj.bias"]
    assert torch.equal(layer.weight, source.model.layers[1].k_proj.weight)
    assert layer.bias.eq(0.5).all()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_foreign_prefix_gets_a_hint_that_works(source, task_class, on_meta, stored, prefix):
    state = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    with pytest.raises(MissingTensorsError) as caught:
        load_checkpoint(on_meta(task_class), stored(state))
    assert f'KeyMap([Rename("{prefix}*", "*")])' in str(caught.value)
    model = on_meta(task_class)
    load_checkpoint(model, stored(state), key_map=KeyMap([Rename(f"{prefix}*", "*")]))
    assert same(model, source)


def test_a_prefix_that_the_checkpoint_lacks_gets_a_hint(source, task_class, on_meta, stored):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = task_class()

    with pytest.raises(MissingTensorsError, match=r'Rename\("\*", "inner\.\*"\)'):
        load_checkpoint(on_meta(Wrapped), stored(source.state_dict()))


def test_unexpected_tensors_of_the_base_are_refused_and_others_reported(source, task_class, on_meta, stored):
    state = source.state_dict()
    state |= {"model.layers.0.rotary.inv_freq": torch.ones(1), "score.weight": torch.ones(1)}
    report = load_checkpoint(on_meta(task_class), stored(state))
    assert report.unexpected == ["score.weight"]
    state["model.layers.2.q_proj.weight"] = torch.ones(1)
    with pytest.raises(UnexpectedTensorsError, match=r"model\.layers\.2\.q_proj\.weight"):
        load_checkpoint(on_meta(task_class), stored(state))
    report = load_checkpoint(on_meta(task_class), stored(state), strict=False)
    assert set(report.unexpected) == {"score.weight", "model.layers.2.q_proj.weight"}


def test_mismatched_shapes_are_refused_before_anything_is_read_or_made_anew(source, task_class, on_meta, stored):
    with pytest.raises(ShapeMismatchError, match=r"lm_head\.weight: \[16, 8\] in the checkpoint, \[20, 8\]"):
        load_checkpoint(on_meta(task_class, vocab=20), stored(source.state_dict()))
    model = on_meta(task_class, vocab=20)
    report = load_checkpoint(model, stored(source.state_dict()), ignore_mismatched_sizes=True)
    assert {one.name for one in report.mismatched} == {"lm_head.weight", "model.embed_tokens.weight"}
    assert model.lm_head.weight.shape == (20, 8)
    assert torch.equal(model.model.layers[0].norm.weight, source.model.layers[0].norm.weight)


def test_a_key_map_converts_as_the_tensors_come(source, task_class, on_meta, stored):
    state = source.state_dict()
    for i in range(2):
        q, k = (state.pop(f"model.layers.{i}.{n}_proj.weight") for n in "qk")
        state[f"model.layers.{i}.qk"] = torch.cat([q, k]).t()
    state["junk"] = torch.ones(1)
    targets = ("model.layers.{}.q_proj.weight", "model.layers.{}.k_proj.weight")
    table = KeyMap([Transpose("model.layers.{}.qk"), Split("model.layers.{}.qk", targets), Drop("junk")])
    model = on_meta(task_class)
    report = load_checkpoint(model, stored(state), key_map=table, dtype=torch.float32)
    assert same(model, source)
    assert not report.unexpected
    weight = model.model.layers[0].q_proj.weight
    assert weight.is_contiguous()
    assert weight.untyped_storage().nbytes() == weight.nbytes
    assert set(report.converted) == {f"model.layers.{i}.{n}_proj.weight" for i in range(2) for n in "qk"}


def test_progress_ends_at_the_total(source, task_class, on_meta, stored):
    seen = []
    load_checkpoint(on_meta(task_class), stored(source.state_dict()), progress=lambda *step: seen.append(step))
    total = sum(t.nbytes for t in source.state_dict().values())
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_what_goes_to_the_disk_goes_to_the_placement(source, task_class, on_meta, stored):
    taken = {}

    def place(name, tensor):
        taken[name] = tensor.clone()

    model = on_meta(task_class)
    devices = {"": "cpu", "model.layers.1": "disk", "model.layers.1.norm": "cpu"}
    report = load_checkpoint(model, stored(source.state_dict()), device_of=devices, place=place, dtype=torch.float64)
    assert (
        set(taken) == {f"model.layers.1.{n}_proj.{w}" for n in "qk" for w in ("weight", "bias")} == set(report.placed_elsewhere)
    )
    assert model.model.layers[1].q_proj.weight.is_meta
    assert not model.model.layers[1].norm.weight.is_meta
    assert taken["model.layers.1.q_proj.weight"].dtype == torch.float64
    with pytest.raises(PlacementError, match="transept-accelerate"):
        load_checkpoint(on_meta(task_class), stored(source.state_dict()), device_of=devices)


@pytest.mark.slow
def test_peak_memory_is_the_model_and_two_tensors(tmp_path):
    """In a process of its own: bf16 on disk, fp32 in memory, pages of the file given back as it goes."""
    import subprocess
    import sys

    save_file(
        {f"layers.{i}.weight": torch.zeros(1024, 4096, dtype=torch.bfloat16) for i in range(16)}, tmp_path / "model.safetensors"
    )
    code = """
import resource, sys, torch
from torch import nn
from transept.checkpoints import load_checkpoint, open_safetensors
from transept.files import DirectoryLocation
with torch.device("meta"):
    model = nn.Module(); model.layers = nn.ModuleList(nn.Linear(4096, 1024, bias=False) for _ in range(16))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
(torch.zeros(256, 256).bfloat16().float() @ torch.ones(256, 256)).sum()
before = peak()
with open_safetensors(DirectoryLocation(sys.argv[1])) as reader:
    load_checkpoint(model, reader, dtype=torch.float32)
print(peak() - before, sum(p.nbytes for p in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    grown, model_bytes = map(int, done.stdout.split())
    assert grown < model_bytes + 3 * 1024 * 4096 * 4
