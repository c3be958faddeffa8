"""`transept quantize`, run as a user runs it, and the calibration behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transept_cli.main import main
from transept_quantize.calibrate import calibrate
from transept_quantize.settings import calibration_of, settings_for
from transept_quantize.text import pieces

import transept
from transept.errors import QuantizationError
from transept.quantization import chosen_quantizers

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(capsys) -> Callable[..., Done]:
    """The program in this process: a new one would spend its time on imports."""

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = main(["quantize", *map(str, arguments)])
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def checkpoint(peer_llama, byte_tokenizer) -> Path:
    folder = peer_llama(vocab_size=300, **SHAPE)
    byte_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def byte_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from transept import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.fixture
def text(tmp_path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("In the beginning was the word, and the word was with them. " * 60)
    return file


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_a_quantized_checkpoint_loads_and_the_report_says_what_was_done(command, checkpoint, text, tmp_path) -> None:
    out = tmp_path / "out"
    done = command(checkpoint, out, "--method", "int8", "--eval", text, "--eval-tokens", "300", "--skip", "down_proj")
    assert done.returncode == 0, done.stderr
    assert "perplexity" in done.stdout
    model = transept.AutoModelForCausalLM.from_pretrained(out)
    packed = {applied.path for applied in model.applied_rewrites if applied.rewrite.packs}
    assert packed
    assert not any("down_proj" in path for path in packed)
    page = (out / "report.md").read_text()
    assert "| perplexity (300 tokens) |" in page
    assert all(f"`{path}`" in page for path in packed)
    assert transept.AutoTokenizer.from_pretrained(out)("word").input_ids
    assert not (out / ".quantize").exists()


def test_gptq_learns_from_data(command, checkpoint, text, tmp_path) -> None:
    pytest.importorskip("transept_gptq")
    out = tmp_path / "out"
    done = command(
        checkpoint, out, "-m", "gptq", "--bits", "4", "--group-size", "32", "--data", text, "--samples", "16", "--length", "64"
    )
    assert done.returncode == 0, done.stderr
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert (config["quant_method"], config["bits"], config["group_size"]) == ("gptq", 4, 32)
    again = transept.AutoModelForCausalLM.from_pretrained(out)
    assert logits(again).isfinite().all()
    assert "Calibrated with `text.txt`" in (out / "report.md").read_text()


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_layers_are_calibrated_in_order_on_what_quantized_ones_give(family, checkpoint, tmp_path) -> None:
    pytest.importorskip("transept_gptq")
    torch.manual_seed(0)
    if family == "llama":
        model = transept.AutoModelForCausalLM.from_pretrained(checkpoint, automatic_rewrites=False)
        batch = {"input_ids": torch.randint(0, 256, (1, 40))}
    elif family == "gpt2":
        model = transept.GPT2LMHeadModel(transept.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=99)).eval()
        batch = {"input_ids": torch.randint(0, 99, (1, 40))}
    else:
        settings = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 99}
        model = transept.T5ForConditionalGeneration(transept.T5Config(**settings)).eval()
        batch = {"input_ids": torch.randint(0, 99, (1, 20)), "decoder_input_ids": torch.randint(0, 99, (1, 20))}
    with torch.no_grad():
        before = model(**batch).logits
    settings = settings_for("gptq", bits=8, group_size=32)
    (quantizer,) = chosen_quantizers(settings, model.config)
    seen = []
    paths = calibrate(
        model,
        quantizer,
        calibration_of(settings),
        [batch],
        tmp_path / "kept",
        lambda done, total, what: seen.append((done, total)),
    )
    assert seen[-1][0] == seen[-1][1] == len(paths)
    assert len({applied.path for applied in model.applied_rewrites}) == len(paths)
    with torch.no_grad():
        after = model(**batch).logits
    assert (after - before).abs().max() < 0.1 * before.abs().max()


def test_a_stopped_run_goes_on_where_it_was(checkpoint, tmp_path) -> None:
    pytest.importorskip("transept_gptq")
    batches = pieces(list(range(256)) * 2, 4, 64)
    settings = settings_for("gptq", bits=4, group_size=32)

    def run(folder: Path, stop_after: int | None = None):
        model = transept.AutoModelForCausalLM.from_pretrained(checkpoint, automatic_rewrites=False)
        (quantizer,) = chosen_quantizers(settings, model.config)
        started = []

        def start(linear, config):
            if stop_after is not None and len(started) == stop_after:
                raise KeyboardInterrupt
            started.append(linear)
            return calibration_of(settings)(linear, config)

        calibrate(model, quantizer, start, [{"input_ids": batch} for batch in batches], folder)
        return model, len(started)

    whole, count = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=count // 2)
    again, later = run(tmp_path / "stopped")
    assert 0 < later < count
    assert torch.equal(logits(again), logits(whole))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "intt8"], "int8"),
        (["--method", "int8", "--bits", "3"], "no `--bits`"),
        (["--method", "int8", "--group-size", "48"], "group"),
        (["--method", "gptq"], "--data FILE"),
        (["--method", "int8", "--eval", "nowhere.txt"], "is no file"),
    ],
    ids=["unknown", "no-such-option", "group", "no-data", "no-file"],
)
def test_wrong_requests_are_refused_in_a_sentence(command, checkpoint, tmp_path, arguments, words) -> None:
    done = command(checkpoint, tmp_path / "out", *arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*.safetensors"))


def test_what_is_quantized_already_or_stands_in_the_way_is_refused(command, checkpoint, text, tmp_path) -> None:
    out = tmp_path / "out"
    assert command(checkpoint, out, "-m", "int8").returncode == 0
    again = command(out, tmp_path / "twice", "-m", "int8")
    assert again.returncode == 1
    assert "quantized with `int8` already" in again.stderr
    assert "not empty" in command(checkpoint, out, "-m", "int8").stderr


def test_the_beginning_of_another_run_is_not_mixed_in(checkpoint, tmp_path) -> None:
    from transept_quantize.command import _prepare

    _prepare(tmp_path / "out", {"method": "one"}, restart=False, force=False)
    _prepare(tmp_path / "out", {"method": "one"}, restart=False, force=False)
    with pytest.raises(QuantizationError, match="--restart"):
        _prepare(tmp_path / "out", {"method": "two"}, restart=False, force=False)
    _prepare(tmp_path / "out", {"method": "two"}, restart=True, force=False)
