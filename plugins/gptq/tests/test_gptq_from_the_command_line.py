"""`transept quantize --method gptq` learns from text, and what it writes is an ordinary GPTQ checkpoint."""

import json

import pytest
import torch
from transept_gptq.linear import GPTQLinear
from transept_llama.configuration import LlamaConfig
from transept_llama.modeling import LlamaForCausalLM

from transept import AutoModelForCausalLM

TEXT = "In the beginning was the word, and the word was with them. All that was made was made by it, and nothing else. "


@pytest.mark.slow
def test_the_command_writes_a_checkpoint_that_loads(tmp_path, capsys):
    main = pytest.importorskip("transept_cli.main").main
    pytest.importorskip("transept_quantize")
    tokenizers = pytest.importorskip("tokenizers")
    from transept import PreTrainedTokenizerFast

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, max_position_embeddings=128, **shape)).save_pretrained(tmp_path / "float")
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path / "float")
    (tmp_path / "text.txt").write_text(TEXT * 40)
    source, out, text = (str(tmp_path / one) for one in ("float", "out", "text.txt"))
    options = ["--method", "gptq", "--bits", "4", "--group-size", "32", "--samples", "8", "--skip", "down_proj"]
    code = main(["quantize", source, out, "--data", text, *options])
    assert code == 0, capsys.readouterr().err
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert (settings["quant_method"], settings["bits"], settings["group_size"]) == ("gptq", 4, 32)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    packed = {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, GPTQLinear)}
    assert packed >= {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"}
    assert "down_proj" not in packed
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "float")
    ids = torch.arange(40, 80).view(1, 40)
    with torch.no_grad():
        found, expected = model(ids).logits, plain(ids).logits
    assert float((found - expected).norm() / expected.norm()) < 0.5
