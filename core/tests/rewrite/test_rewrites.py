"""A rewrite changes modules the same way whether the model is being loaded or alive, and what can be undone is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from transept.checkpoints import load_checkpoint, open_safetensors, save_tensors
from transept.errors import CheckpointError, MissingTensorsError, PluginNotFoundError, QuantizationError, RewriteError
from transept.files import DirectoryLocation
from transept.rewrite import Rewrite, apply_live, apply_rewrites, make_rewrite, original_tensors, undo


@pytest.fixture
def loaded(kit, tmp_path):
    """Saves a model's tensors and loads them into a new one, through rewrites."""

    def load(tensors, *rewrites, tied=False, **options):
        save_tensors(tmp_path, tensors)
        with torch.device("meta"):
            model = kit.Model(tied)
        with open_safetensors(DirectoryLocation(tmp_path)) as reader:
            report = load_checkpoint(model, reader, rewrites=rewrites, **options)
        return model, report

    return load


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(found, expected):
    return list(found) == list(expected) and all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("names", [("join",), ("int8",), ("int8", "join")])
def test_loading_through_rewrites_equals_rewriting_alive(kit, loaded, ids, names):
    made = {"join": kit.Join(), "int8": kit.Quantize()}
    plain = kit.Model()
    model, report = loaded(plain.state_dict(), *[made[name] for name in names])
    for rewrite in sorted((made[name] for name in names), key=lambda one: one.order):
        apply_live(plain, rewrite)
    assert same(state(model), state(plain))
    assert torch.equal(model(ids), plain(ids))
    assert [one.key for one in model.applied_rewrites] == [one.key for one in plain.applied_rewrites]
    assert {key for key, _, _ in report.rewritten} == set(names)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_rewrites_compose_in_their_declared_order(kit, loaded, ids):
    plain = kit.Model()
    model, report = loaded(plain.state_dict(), kit.Quantize(), kit.Join())
    assert type(model.layers[0].ab) is kit.Int8
    assert report.rewritten[0] == ("join", "layers.0", "one product")
    assert {path for key, path, _ in report.rewritten if key == "int8"} == {
        "layers.0.ab", "layers.0.out", "layers.1.ab", "layers.1.out", "head"
    }  # fmt: skip
    assert torch.allclose(model(ids), plain(ids), atol=0.1)


def test_a_parent_shares_what_it_does_not_change(kit):
    model = kit.Model()
    out = model.layers[0].out
    apply_live(model, kit.Join())
    assert model.layers[0].out is out
    assert model.applied_rewrites[0].original.a.weight.is_meta


def test_undo_brings_back_every_bit(kit, ids):
    model = kit.Model()
    before, output = state(model), model(ids)
    apply_live(model, kit.Join())
    assert "layers.0.ab.weight" in model.state_dict()
    with torch.no_grad():
        model.layers[0].out.bias.add_(1)
    undo(model, "join")
    before["layers.0.out.bias"] += 1
    assert same(state(model), before)
    model.layers[0].out.bias.data -= 1
    assert torch.allclose(model(ids), output)


def test_undo_after_a_load_brings_back_the_checkpoint(kit, loaded):
    plain = kit.Model()
    model, _ = loaded(plain.state_dict(), kit.Join())
    undo(model, "join")
    assert same(state(model), state(plain))


def test_undo_keeps_what_happened_meanwhile(kit):
    model = kit.Model()
    apply_live(model, kit.Join())
    model.double().eval().requires_grad_(False)
    undo(model, "join")
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_undo_is_refused_where_it_cannot_be(kit):
    model = kit.Model()
    with pytest.raises(RewriteError, match="not applied here"):
        undo(model, "join")
    apply_live(model, kit.Join())
    apply_live(model, kit.Quantize())
    with pytest.raises(RewriteError, match="`int8` was applied over it"):
        undo(model, "join")
    with pytest.raises(RewriteError, match="loses information"):
        undo(model, "int8")
    assert type(model.layers[0]) is kit.Joined


def test_undo_is_refused_when_the_module_was_changed_since(kit):
    model = kit.Model()
    apply_live(model, kit.Join())
    model.layers[1].ab = nn.Sequential(model.layers[1].ab)
    with pytest.raises(RewriteError, match=r"ab\.weight"):
        undo(model, "join")
    with pytest.raises(RewriteError, match="changed since"):
        original_tensors(model)


def test_original_tensors_are_lazy_and_in_the_old_order(kit):
    model = kit.Model()
    before = state(model)
    apply_live(model, kit.Join())
    found = original_tensors(model)
    assert callable(found["layers.0.a.weight"])
    made = {name: value if isinstance(value, torch.Tensor) else value() for name, value in found.items()}
    assert same(made, before)


def test_what_cannot_be_reverted_is_saved_as_it_is_and_loaded_so(kit, loaded, ids):
    model = kit.Model()
    apply_live(model, kit.Quantize())
    again, report = loaded(original_tensors(model), kit.Quantize(), dtype=torch.bfloat16)
    assert torch.equal(again.layers[0].a.weight, model.layers[0].a.weight)
    assert again.layers[0].a.scale.dtype == torch.float32
    assert not report.unexpected


def test_a_reversible_rewrite_under_one_that_is_not_cannot_be_saved_in_the_original_layout(kit):
    model = kit.Model()
    apply_live(model, kit.Join())
    apply_live(model, kit.Quantize())
    with pytest.raises(RewriteError, match="Undo what came after"):
        original_tensors(model)


def test_a_missing_tensor_is_named_as_the_checkpoint_would(kit, loaded):
    tensors = kit.Model().state_dict()
    del tensors["layers.1.b.weight"]
    with pytest.raises(MissingTensorsError, match=r"layers\.1\.b\.weight"):
        loaded(tensors, kit.Join())


def test_sources_are_cast_before_they_are_converted(kit, loaded):
    plain = kit.Model()
    model, _ = loaded(plain.state_dict(), kit.Join(), dtype=torch.bfloat16)
    assert model.layers[0].ab.weight.dtype == torch.bfloat16
    assert torch.equal(model.layers[0].ab.weight[:4], plain.layers[0].a.weight.bfloat16())


@pytest.mark.parametrize("live", [True, False])
def test_ties_are_refused_kept_or_broken(kit, loaded, ids, live):
    plain = kit.Model(tied=True)
    tensors = state(plain)
    del tensors["head.weight"]

    def run(rewrite):
        if live:
            model = copy.deepcopy(plain)
            apply_live(model, rewrite)
            return model
        return loaded(tensors, rewrite, tied=True)[0]

    for ties in ("refuse", "keep"):
        with pytest.raises(RewriteError, match="tied"):
            run(kit.Quantize(ties))
    broken = run(kit.Quantize("break"))
    assert broken.embed.weight.dtype == torch.float32
    assert broken.head.weight.dtype == torch.int8
    assert torch.equal(broken.embed.weight, plain.embed.weight)
    kept = run(kit.Quantize("keep", (nn.Linear, nn.Embedding)))
    assert kept.head.weight is kept.embed.weight
    assert kept.head.scale is kept.embed.scale
    other = run(kit.Quantize("break", (nn.Embedding,)))
    assert other.embed.weight.dtype == torch.int8
    assert torch.equal(other.head.weight, plain.head.weight)
    for model in (broken, kept, other):
        assert torch.allclose(model(ids), plain(ids), atol=0.1)


class Halve(Rewrite):
    """Exact and reversible, with another name."""

    key, undoable = "halve", True

    def select(self, path, module):
        return path in ("embed", "head")

    def build(self, module, path):
        built = nn.Module()
        built.halved = nn.Parameter(torch.empty_like(module.weight))
        return built

    def convert(self, tensors, built):
        return {"halved": tensors["weight"] / 2}

    def revert(self, tensors, built):
        return {"weight": tensors["halved"] * 2}


def test_undo_ties_again_what_was_tied(kit):
    model = kit.Model(tied=True)
    before, ties = state(model), model.tied_weights
    apply_live(model, Halve())
    assert model.head.halved is model.embed.halved
    undo(model, "halve")
    assert model.tied_weights is ties
    assert model.head.weight is model.embed.weight
    assert same(state(model), before)


def test_a_mistake_in_a_rewrite_leaves_the_live_model_as_it_was_with_its_ties(kit):
    class Mistaken(Halve):
        calls = 0

        def convert(self, tensors, built):
            Mistaken.calls += 1
            return super().convert(tensors, built) if Mistaken.calls == 1 else tensors.nothing

    model = kit.Model(tied=True)
    before = state(model)
    with pytest.raises(AttributeError):
        apply_live(model, Mistaken())
    assert same(state(model), before)
    assert model.head.weight is model.embed.weight
    assert model.applied_rewrites == []


def test_what_was_saved_after_a_rewrite_goes_to_the_device_too(kit, tmp_path):
    model = kit.Model()
    apply_live(model, kit.Quantize())
    save_tensors(tmp_path, original_tensors(model))
    with torch.device("meta"):
        again = kit.Model()
    # the one other device of every machine, where a load cannot end well
    with open_safetensors(DirectoryLocation(tmp_path)) as reader, pytest.raises(CheckpointError, match="no data"):
        load_checkpoint(again, reader, rewrites=[kit.Quantize()], device="meta")
    assert all(parameter.is_meta for parameter in again.parameters())


class Wrong(Rewrite):
    key, undoable = "wrong", True

    def __init__(self, selected, build, convert=None):
        self.selected, self._build, self._convert = selected, build, convert

    def select(self, path, module):
        return path in self.selected

    def build(self, module, path):
        return self._build(module)

    def convert(self, tensors, built):
        return self._convert(tensors)


def test_a_rewrite_that_fails_leaves_the_live_model_as_it_was(kit, ids):
    model = kit.Model()
    before, output, calls = state(model), model(ids), []

    class Fails(kit.Join):
        def convert(self, tensors, built):
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("out of luck")
            return super().convert(tensors, built)

    with pytest.raises(RewriteError, match=r"`join` failed at `layers\.1` on a\.weight.*out of luck"):
        apply_live(model, Fails())
    assert same(state(model), before)
    assert torch.equal(model(ids), output)
    assert model.applied_rewrites == []


def test_an_error_that_says_what_to_do_is_passed_on_as_it_is(kit):
    model = kit.Model()
    before = state(model)

    class Refuses(kit.Join):
        def convert(self, tensors, built):
            raise QuantizationError("`layers.0` holds NaN: mend the checkpoint.")

    with pytest.raises(QuantizationError, match=r"^`layers\.0` holds NaN: mend the checkpoint\.$"):
        apply_live(model, Refuses())
    assert same(state(model), before)


def test_wrong_rewrites_are_told_what_is_wrong(kit):
    cases = [
        (Wrong({"nothing"}, None), "selects no module"),
        (Wrong({""}, lambda m: m), "the model itself"),
        (Wrong({"layers.0"}, lambda m: nn.Linear(4, 4), lambda t: {}), "gave"),
    ]
    for rewrite, message in cases:
        with pytest.raises(RewriteError, match=message):
            apply_live(kit.Model(), rewrite)


def test_a_module_with_a_hook_is_not_replaced(kit):
    model = kit.Model()
    model.layers[1].a.register_forward_hook(lambda *_: None)
    with pytest.raises(RewriteError, match=r"`layers\.1\.a` has a hook"):
        apply_live(model, kit.Join())


def test_a_module_in_two_places_is_not_replaced(kit):
    model = kit.Model()
    model.layers[1] = model.layers[0]
    with pytest.raises(RewriteError, match="two places"):
        apply_live(model, kit.Join())


def test_tensors_on_meta_cannot_be_converted_alive(kit):
    with torch.device("meta"):
        model = kit.Model()
    with pytest.raises(RewriteError, match="not in memory"):
        apply_live(model, kit.Join())


def test_rewriting_on_meta_takes_no_memory(kit):
    with torch.device("meta"):
        model = kit.Model()
    applied = apply_rewrites(model, [kit.Join()])
    assert [one.path for one in applied] == ["layers.0", "layers.1"]
    assert all(parameter.is_meta for parameter in model.parameters())
    assert applied[0].sources == ("a.weight", "a.bias", "b.weight", "b.bias")
    assert applied[0].targets == ("ab.weight", "ab.bias")


def test_rewrites_are_made_by_key_or_passed_through(kit):
    mine = kit.Join()
    assert make_rewrite(mine, None) is mine
    with pytest.raises(RewriteError, match="`bits`"):
        make_rewrite(mine, None, bits=4)
    with pytest.raises(PluginNotFoundError):
        make_rewrite("no_such_rewrite", None)
