"""The same packed tensors as the peer's, its checkpoints read here, and ours read there."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from transept import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
)
from transept.rewrite import applied_to

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

MODELS = {
    "llama": (
        "LlamaForCausalLM",
        AutoModelForCausalLM,
        transformers.LlamaConfig(
            vocab_size=99,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            pad_token_id=0,
        ),
    ),
    "llama tied": (
        "LlamaForCausalLM",
        AutoModelForCausalLM,
        transformers.LlamaConfig(
            vocab_size=96,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            tie_word_embeddings=True,
            pad_token_id=0,
        ),
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        AutoModelForCausalLM,
        transformers.GPT2Config(vocab_size=99, n_positions=64, n_embd=64, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
    ),
    "bert": (
        "BertForSequenceClassification",
        AutoModelForSequenceClassification,
        transformers.BertConfig(
            vocab_size=99,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            num_labels=32,
        ),
    ),
    "t5": (
        "T5ForConditionalGeneration",
        AutoModelForSeq2SeqLM,
        transformers.T5Config(
            vocab_size=99,
            d_model=64,
            d_kv=16,
            d_ff=96,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            tie_word_embeddings=True,
        ),
    ),
}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
SETTINGS = {
    "nf4": NF4,
    "nf4 twice": {**NF4, "bnb_4bit_use_double_quant": True, "bnb_4bit_quant_storage": "bfloat16"},
    "fp4 in bfloat16": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"},
    "8 bits": {"load_in_8bit": True},
}
CASES = [
    *((name, "nf4") for name in MODELS),
    *((name, "8 bits") for name in MODELS),
    ("llama", "nf4 twice"),
    ("llama", "fp4 in bfloat16"),
]


@pytest.fixture(scope="module")
def float_folder(tmp_path_factory):
    made = {}

    def folder(name):
        if name not in made:
            kind, _, config = MODELS[name]
            torch.manual_seed(0)
            model = getattr(transformers, kind)(config)
            with torch.no_grad():
                for path, parameter in model.named_parameters():
                    if path.endswith("bias"):
                        parameter.normal_(std=0.1)
            made[name] = tmp_path_factory.mktemp("float")
            model.save_pretrained(made[name])
        return made[name]

    return folder


@pytest.fixture(scope="module")
def pair(float_folder, tmp_path_factory):
    """`pair(name, setting)`: the folder that the peer saves, and the one that we save."""
    made = {}

    def folders(name, setting):
        if (name, setting) not in made:
            kind, auto, _ = MODELS[name]
            theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
            asked = transformers.BitsAndBytesConfig(**SETTINGS[setting])
            getattr(transformers, kind).from_pretrained(float_folder(name), quantization_config=asked).save_pretrained(theirs)
            asked = BitsAndBytesConfig(**SETTINGS[setting])
            auto.from_pretrained(float_folder(name), quantization_config=asked).save_pretrained(ours)
            made[name, setting] = theirs, ours
        return made[name, setting]

    return folders


def logits(model, name):
    ids = torch.arange(3, 21).view(2, 9)
    arguments = {"decoder_input_ids": ids[:, :5]} if name == "t5" else {}
    with torch.no_grad():
        return model(input_ids=ids, **arguments).logits.float()


def as_bytes(tensor):
    return tensor.contiguous().view(-1).view(torch.uint8)


def plain(model):
    """The peer's layers on the same path of bitsandbytes as ours: not the one that it takes on CPUs with bfloat16 products."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def assert_near(found, expected):
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_packed_tensors_are_the_peers(name, setting, pair):
    theirs, ours = (load_file(folder / "model.safetensors") for folder in pair(name, setting))
    packed = [path for path in theirs if path.endswith(("absmax", "SCB"))]
    assert packed
    assert [path for path in sorted(ours) if path.endswith(("absmax", "SCB"))] == sorted(packed)
    assert sorted(theirs) == sorted(ours)
    for path, tensor in theirs.items():
        if tensor.is_floating_point() and path.endswith("bias"):  # the compute dtype's, where it was narrower than the file's
            assert torch.equal(ours[path].to(torch.bfloat16), tensor.to(torch.bfloat16)), path
        else:
            assert ours[path].dtype == tensor.dtype, path
            assert torch.equal(as_bytes(ours[path]), as_bytes(tensor)), path


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_a_checkpoint_of_the_peers_is_read(name, setting, pair):
    kind, auto, _ = MODELS[name]
    folder, _ = pair(name, setting)
    peer = plain(getattr(transformers, kind).from_pretrained(folder))
    model = auto.from_pretrained(folder)
    assert model.is_loaded_in_4bit == (setting != "8 bits")
    assert model.is_loaded_in_8bit == (setting == "8 bits")
    assert_near(logits(model, name), logits(peer, name))


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_the_peer_reads_ours(name, setting, pair):
    kind, auto, _ = MODELS[name]
    _, folder = pair(name, setting)
    peer, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert_near(logits(plain(peer), name), logits(auto.from_pretrained(folder), name))


@pytest.mark.parametrize("setting", ["nf4", "8 bits"])
def test_skipped_layers_are_the_same(setting, float_folder, tmp_path):
    """A checkpoint of ours in which some layers stayed, read by the peer; and the reverse."""
    skipped = ["model.layers.0", "v_proj", "lm_head"]
    model = AutoModelForCausalLM.from_pretrained(
        float_folder("llama"), quantization_config=BitsAndBytesConfig(**SETTINGS[setting], llm_int8_skip_modules=skipped)
    )
    peer = transformers.LlamaForCausalLM.from_pretrained(
        float_folder("llama"),
        quantization_config=transformers.BitsAndBytesConfig(**SETTINGS[setting], llm_int8_skip_modules=skipped),
    )
    packed = {one.path for one in applied_to(model) if one.rewrite.packs}
    assert packed == {path for path, module in peer.named_modules() if type(module).__module__.startswith("bitsandbytes")}
    assert packed == {f"model.layers.1.{part}" for part in PARTS}
    for saved, other in ((model, "ours"), (peer, "theirs")):
        saved.save_pretrained(tmp_path / other)
        found = AutoModelForCausalLM.from_pretrained(tmp_path / other)
        again = plain(transformers.LlamaForCausalLM.from_pretrained(tmp_path / other))
        assert {one.path for one in applied_to(found) if one.rewrite.packs} == packed
        assert_near(logits(found, "llama"), logits(again, "llama"))


PARTS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def test_settings_read_each_other():
    for values in SETTINGS.values():
        ours = BitsAndBytesConfig(**values, llm_int8_skip_modules=["lm_head"])
        theirs = transformers.BitsAndBytesConfig(**values, llm_int8_skip_modules=["lm_head"])
        assert BitsAndBytesConfig.from_dict(theirs.to_dict()).to_dict() == ours.to_dict()
        assert transformers.BitsAndBytesConfig.from_dict(ours.to_dict()).to_dict() == theirs.to_dict()
        assert ours.quantization_method() == theirs.quantization_method()
    defaults = transformers.BitsAndBytesConfig().to_dict()
    assert BitsAndBytesConfig().to_dict() == {name: value for name, value in defaults.items() if not name.startswith("_")}
