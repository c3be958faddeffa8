"""Packed models get native products unasked, share their tensors, and stay what they are for everybody who looks at them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transept_int8.config import Int8Config
from transept_int8.linear import Int8Linear
from transept_kernels_cpu.library import packings
from transept_kernels_cpu.modules import native, serves
from transept_kernels_cpu.rewrite import KernelsCPU, kernels_cpu, why_not

from transept import AutoConfig, AutoModelForCausalLM
from transept.errors import RewriteError
from transept.quantization import PackedEmbedding, PackedLinear
from transept.rewrite import apply_live, undo

IDS = torch.tensor([[5, 9, 2, 77]])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the native operators that were called."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func.namespace == "transept_kernels_cpu":
                seen.append(func._opname)
            return func(*args, **(kwargs or {}))

    with Spy():
        yield seen


def int8_linear(bias: bool = True, group: int = 32, out: int = 24, inner: int = 128) -> Int8Linear:
    torch.manual_seed(0)
    plain = nn.Linear(inner, out, bias=bias)
    made = Int8Linear(inner, out, plain.bias, group)
    from transept_int8.linear import pack

    qweight, scales = pack(plain.weight.detach(), group)
    made.qweight = nn.Parameter(qweight, requires_grad=False)
    made.scales = scales
    return made


@pytest.fixture
def llama(tmp_path: Path) -> Callable[..., Path]:
    def make(**more: Any) -> Path:
        torch.manual_seed(0)
        sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
        config = AutoConfig.for_model("llama", vocab_size=131, num_hidden_layers=2, **sizes, **more)
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "plain")
        return tmp_path / "plain"

    return make


def kinds(model: nn.Module) -> set[str]:
    return {type(one).__name__ for one in model.modules() if isinstance(one, PackedLinear | PackedEmbedding)}


def test_a_loaded_int8_model_is_native_and_can_be_told_not_to_be(llama) -> None:
    folder = llama()
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config="int8")
    plain = AutoModelForCausalLM.from_pretrained(folder, quantization_config="int8", automatic_rewrites=False)
    assert kinds(model) == {"NativeInt8Linear"}
    assert kinds(plain) == {"Int8Linear"}
    assert "kernels_cpu" in {applied.key for applied in model.applied_rewrites}
    assert list(model.state_dict()) == list(plain.state_dict())
    with torch.inference_mode():
        found, wanted = model(IDS).logits, plain(IDS).logits
    assert (found - wanted).norm() < 0.02 * wanted.norm()
    model.undo_rewrite("kernels_cpu")
    assert kinds(model) == {"Int8Linear"}
    with torch.inference_mode():
        assert torch.equal(model(IDS).logits, wanted)


def test_a_live_model_is_native_once_it_is_asked_for(llama) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama())
    model.quantize("int8")
    assert kinds(model) == {"Int8Linear"}
    model.rewrite("kernels_cpu")
    assert kinds(model) == {"NativeInt8Linear"}
    model.dequantize()
    assert kinds(model) == set()
    with torch.inference_mode():
        assert model(IDS).logits.isfinite().all()


def test_what_is_saved_is_what_was_packed(llama, tmp_path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama(), quantization_config="int8")
    model.save_pretrained(tmp_path / "packed")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    assert kinds(again) == {"NativeInt8Linear"}
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_tensors_are_shared_not_copied() -> None:
    module = int8_linear()
    made = native(module)
    assert made.qweight is module.qweight
    assert made.scales is module.scales
    assert made.bias is module.bias
    assert isinstance(made, Int8Linear)
    assert repr(made).removeprefix("Native") == repr(module)


def test_copies_and_pickles(llama) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama(), quantization_config="int8")
    with torch.inference_mode():
        wanted = model(IDS).logits
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert kinds(twin) == {"NativeInt8Linear"}
            assert torch.equal(twin(IDS).logits, wanted)
            own, other = (one.model.layers[0].mlp.up_proj.qweight for one in (model, twin))
            assert own.data_ptr() != other.data_ptr()
            twin.undo_rewrite("kernels_cpu")
            assert kinds(twin) == {"Int8Linear"}


def test_a_pickle_is_read_without_the_library(monkeypatch) -> None:
    made = native(int8_linear())
    data = pickle.dumps(made)
    monkeypatch.setattr("transept_kernels_cpu.modules.packings", dict)
    again = pickle.loads(data)
    assert type(again) is Int8Linear
    assert torch.equal(again.dequantize(), made.dequantize())


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_take_the_packed_layers_own_way(calls, bias) -> None:
    module = int8_linear(bias)
    made, given = native(module), torch.randn(3, 128, requires_grad=True)
    made(given).square().sum().backward()
    grad, given.grad = given.grad, None
    module(given).square().sum().backward()
    torch.testing.assert_close(grad, given.grad)
    assert "int8_linear" not in calls
    with torch.no_grad():
        made(given)
    assert calls[-1] == "int8_linear"


def test_the_biass_gradient_is_kept_where_the_product_is_native(calls) -> None:
    made, given = native(int8_linear()), torch.randn(3, 128)
    found = made(given)
    assert "int8_linear" in calls
    found.sum().backward()
    torch.testing.assert_close(made.bias.grad, torch.full((24,), 3.0))
    with torch.no_grad():
        torch.testing.assert_close(made(given), found)


def test_other_dtypes_and_devices_take_the_packed_layers_own_way(calls) -> None:
    made = native(int8_linear())
    with torch.no_grad():
        given = torch.randn(2, 128, dtype=torch.float64)
        assert made(given).dtype == torch.float64
        assert made.to("meta")(given.to("meta")).is_meta
    assert "int8_linear" not in calls
    made, given = native(int8_linear(bias=False)), torch.randn(2, 128)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert made(given).dtype == torch.bfloat16
    assert "int8_linear" not in calls


def test_half_precision_models_are_native(llama, calls) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama(), quantization_config="int8", dtype=torch.bfloat16)
    with torch.inference_mode():
        assert model(IDS).logits.dtype == torch.bfloat16
    assert calls.count("int8_linear") == 14


@pytest.mark.parametrize("group", [16, 48, 8])
def test_groups_that_it_does_not_know_are_left_as_they_are(group) -> None:
    module = int8_linear(group=group, inner=48)
    assert not serves(module)
    model = nn.Sequential(module, int8_linear(inner=128))
    apply_live(model, KernelsCPU())
    assert [type(one).__name__ for one in model] == ["Int8Linear", "NativeInt8Linear"]
    undo(model, "kernels_cpu")
    assert [type(one).__name__ for one in model] == ["Int8Linear", "Int8Linear"]


class Packed(PackedLinear):
    """What somebody else may have packed in ggml's blocks."""

    def __init__(self, weight: Tensor, columns: int, packing: str) -> None:
        super().__init__(columns, len(weight), None)
        self.weight, self.packing = nn.Parameter(weight, requires_grad=False), packing

    def unpack(self, rows: slice | Tensor) -> Tensor:
        return torch.ops.transept_kernels_cpu.unpack_blocks(self.weight[rows], packings()[self.packing])


@pytest.mark.parametrize("packing", ["Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K"])
def test_anybodys_blocks_are_served_by_the_name_of_their_packing(packing, random_blocks, rounded) -> None:
    module = Packed(random_blocks(packing, 19, 512), 512, packing)
    made, given = native(module), torch.randn(2, 512)
    with torch.no_grad():
        torch.testing.assert_close(made(given).double(), rounded(given) @ module.dequantize().double().T, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(made(given.repeat(8, 1)), module(given.repeat(8, 1)), atol=1e-5, rtol=1e-5)
    assert torch.equal(made.unpack(torch.tensor([[3, 18], [0, 3]])), module.dequantize()[torch.tensor([[3, 18], [0, 3]])])
    assert made.unpack(slice(0, 0)).shape == (0, 512)
    module.packing = "IQ2_XS"
    assert not serves(module)


def test_compiled_layers_hold_the_operator(random_blocks) -> None:
    made = native(Packed(random_blocks("Q4_1", 12, 64), 64, "Q4_1"))
    graphs: list[str] = []

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(str(graph.graph))
        return graph

    compiled = torch.compile(made, backend=keep, fullgraph=True)
    with torch.no_grad():
        for count in (1, 3, 20):
            given = torch.randn(count, 64)
            assert torch.equal(compiled(given), made(given))
    assert all("blocks_linear" in graph for graph in graphs)
    exported = torch.export.export(made, (torch.randn(3, 64),))
    assert "blocks_linear" in str(exported.graph)


def test_it_says_why_it_does_not_apply(monkeypatch) -> None:
    assert why_not(None, torch.device("cpu")) is None
    assert why_not(None, torch.device("meta")) is not None
    assert why_not(None, None) is not None
    monkeypatch.setattr("transept_kernels_cpu.rewrite.missing", lambda: "its library was not built: no compiler")
    assert why_not(None, torch.device("cpu")) == "its library was not built: no compiler"
    with pytest.raises(RewriteError, match=r"no compiler.*Reinstall `transept-kernels-cpu`"):
        kernels_cpu(None)


@pytest.fixture(scope="module")
def text_ids(smollm2_folder: Path) -> Tensor:
    """Two thousand tokens of the Python reference, in passages of 512."""
    from pydoc_data import topics

    from transept import AutoTokenizer

    text = "\n\n".join(value for _, value in sorted(topics.topics.items()))[:9000]
    return torch.tensor([AutoTokenizer.from_pretrained(smollm2_folder)(text).input_ids])[:, :2048].view(4, -1)


def loss_in_small_pieces(model: Any, ids: Tensor) -> float:
    """Cross entropy, eight tokens at a time: so that the products of few rows serve, as they do when text is generated."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for passage in ids[:, :128].unsqueeze(1):
            cache = None
            for at in range(0, passage.shape[1], 8):
                output = model(passage[:, at : at + 8], past_key_values=cache, use_cache=True)
                cache, target = output.past_key_values, passage[0, at + 1 : at + 9]
                total += float(nn.functional.cross_entropy(output.logits[0, : len(target)], target, reduction="sum"))
                count += len(target)
    return total / count


@pytest.mark.slow
def test_smollm2_from_its_blocks_keeps_the_dequantized_models_perplexity(smollm2_gguf, smollm2_folder, text_ids) -> None:
    packed = AutoModelForCausalLM.from_pretrained(smollm2_gguf)
    assert kinds(packed) == {"NativeGGUFLinear", "NativeGGUFEmbedding"}
    plain = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)
    assert abs(loss_in_small_pieces(packed, text_ids) - loss_in_small_pieces(plain, text_ids)) < 0.01
    with torch.inference_mode():
        found, wanted = (float(model(text_ids[:1], labels=text_ids[:1]).loss) for model in (packed, plain))
    assert abs(found - wanted) < 1e-4  # many rows are multiplied in float32


@pytest.mark.slow
def test_smollm2_in_8_bits_keeps_its_perplexity(smollm2_folder, text_ids) -> None:
    packed = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32, quantization_config=Int8Config())
    plain = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)
    assert abs(loss_in_small_pieces(packed, text_ids) - loss_in_small_pieces(plain, text_ids)) < 0.01
