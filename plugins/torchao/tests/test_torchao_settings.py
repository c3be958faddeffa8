"""Settings by object, by name and by table; embeddings; and what is refused."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torchao.quantization import (
    FqnToConfig,
    Int8Tensor,
    Int8WeightOnlyConfig,
    IntxUnpackedToInt8Tensor,
    IntxWeightOnlyConfig,
    PerGroup,
)
from transept_torchao.quantizer import TorchAoEmbedding, TorchAoLinear

from transept import AutoModelForCausalLM, TorchAoConfig
from transept.errors import QuantizationError, UnknownArgumentError
from transept.rewrite import applied_to

IDS = torch.arange(3, 12)[None]
INT4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(16))


def load(folder, asked, **options):
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=asked, **options)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_names_and_objects_are_one():
    assert TorchAoConfig("intx_weight_only", group_size=16).quant_type == INT4
    assert TorchAoConfig().quant_type == Int8WeightOnlyConfig()
    assert TorchAoConfig("int8_weight_only", group_size=32).quant_type == Int8WeightOnlyConfig(granularity=PerGroup(32))
    assert TorchAoConfig.from_dict(json.loads(json.dumps(TorchAoConfig(INT4).to_dict()))).quant_type == INT4


def test_a_table_of_torchaos_chooses_by_name(llama_folder, tmp_path):
    table = FqnToConfig(
        {
            "re:.*mlp.*": INT4,
            "model.layers.0.self_attn.q_proj": None,
            "model.layers.1.self_attn.v_proj.weight": INT4,
            "_default": Int8WeightOnlyConfig(),
        }
    )
    model = load(llama_folder, TorchAoConfig(table))
    first, second = model.model.layers
    assert isinstance(first.mlp.up_proj.weight, IntxUnpackedToInt8Tensor)
    assert isinstance(second.self_attn.v_proj.weight, IntxUnpackedToInt8Tensor)
    assert isinstance(first.self_attn.v_proj.weight, Int8Tensor)
    assert type(first.self_attn.q_proj.weight) is nn.Parameter
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_embeddings_are_packed_where_asked(llama_folder, tmp_path):
    asked = TorchAoConfig(INT4, include_input_output_embeddings=True)
    model = load(llama_folder, asked)
    assert type(model.model.embed_tokens) is TorchAoEmbedding
    assert type(model.lm_head) is TorchAoLinear
    plain = AutoModelForCausalLM.from_pretrained(llama_folder)
    assert (logits(model) - logits(plain)).norm() < 0.5 * logits(plain).norm()
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


def test_tied_embeddings_stay_one_tensor(llama_folder, tmp_path):
    tied = AutoModelForCausalLM.from_pretrained(llama_folder)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(tmp_path / "tied")
    model = load(tmp_path / "tied", TorchAoConfig(INT4, include_input_output_embeddings=True))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert isinstance(model.lm_head.weight, IntxUnpackedToInt8Tensor)
    model.save_pretrained(tmp_path / "packed")
    assert not any(name.startswith("lm_head") for name in load_file(tmp_path / "packed" / "model.safetensors"))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert torch.equal(logits(again), logits(model))


def test_gradients_reach_through_rounded_inputs(llama_folder):
    """torchao's own product of rounded inputs has no gradient, and would drop it in silence."""
    model = load(llama_folder, "int8_dynamic_activation_int8_weight")
    embeds = model.get_input_embeddings()(IDS).detach().requires_grad_()
    model(inputs_embeds=embeds).logits.square().sum().backward()
    plain = AutoModelForCausalLM.from_pretrained(llama_folder)
    expected = embeds.detach().clone().requires_grad_()
    plain(inputs_embeds=expected).logits.square().sum().backward()
    assert (embeds.grad - expected.grad).norm() < 0.2 * expected.grad.norm()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("int8_weight_onyl",), QuantizationError, "Did you mean `int8_weight_only`"),
        ((7,), QuantizationError, "AOBaseConfig|Int8WeightOnlyConfig"),
        (
            ({"default": {"_type": "os.system", "_version": 1, "_data": {}}},),
            QuantizationError,
            "nothing that this torchao knows",
        ),
    ],
    ids=["a slip", "a number", "something else"],
)
def test_what_is_no_type_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        TorchAoConfig(*arguments)


def test_unknown_arguments_are_refused():
    with pytest.raises(UnknownArgumentError, match="grup_size"):
        TorchAoConfig("int4_weight_only", grup_size=32)
    with pytest.raises(UnknownArgumentError, match="group_size"):
        TorchAoConfig(INT4, group_size=32)
    with pytest.raises(QuantizationError, match="tie_word_embeddings=False"):
        TorchAoConfig(untie_embedding_weights=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is hardware for it")
@pytest.mark.parametrize("name", ["int4_weight_only", "float8_dynamic_activation_float8_weight"])
def test_what_the_hardware_lacks_is_refused_by_name(name, llama_folder):
    with pytest.raises(QuantizationError, match=r"q_proj.*cpu.*Config"):
        load(llama_folder, TorchAoConfig(name, **({"group_size": 32} if name.startswith("int4") else {})))


def test_groups_that_do_not_divide_are_refused_by_name(llama_folder):
    with pytest.raises(QuantizationError, match=r"q_proj.*modules_to_not_convert"):
        load(llama_folder, TorchAoConfig("intx_weight_only", group_size=48))


def test_a_checkpoint_packed_otherwise_is_refused(llama_folder, tmp_path):
    load(llama_folder, "int8_weight_only").save_pretrained(tmp_path)
    with pytest.raises(QuantizationError, match="drop `quantization_config`"):
        load(tmp_path, TorchAoConfig(INT4))


@pytest.mark.parametrize("part", ["header", "scale", "shape"])
def test_a_damaged_checkpoint_is_refused(part, llama_folder, tmp_path):
    load(llama_folder, "int8_weight_only").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        words = dict(file.metadata())
    tensors = load_file(path)
    layer = "model.layers.0.mlp.up_proj"
    if part == "header":
        words = {"format": "pt"}
    elif part == "scale":
        del tensors[f"{layer}._weight_scale"]
    else:
        tensors[f"{layer}._weight_qdata"] = tensors[f"{layer}._weight_qdata"][:-8].clone()
    save_file(tensors, path, metadata=words)
    with pytest.raises(QuantizationError, match="_proj`"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_packed_layers_are_told_of(llama_folder):
    model = load(llama_folder, "int8_weight_only")
    assert {one.key for one in applied_to(model) if one.rewrite.packs} == {"torchao"}
    assert model.quantization_method == "torchao"
    assert model.config.quantization_config.modules_to_not_convert == ["lm_head"]


def test_a_missing_library_is_named(llama_folder):
    """In a process of its own, where the library is hidden."""
    code = f"""
    import sys
    sys.modules["torchao"] = None
    from transept import AutoModelForCausalLM
    from transept.errors import QuantizationError
    try:
        AutoModelForCausalLM.from_pretrained({str(llama_folder)!r}, quantization_config="int8_weight_only")
    except QuantizationError as error:
        print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "is not installed: pip install --upgrade torchao" in done.stdout
