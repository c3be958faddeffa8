"""Each family's graphs give the model's numbers at every size, and have the names that the field knows."""

from __future__ import annotations

import onnx
import pytest
import torch
from transept_onnx.errors import ExportCheckError, ExportError

import transept
from transept.errors import InputError, UnsupportedTaskError

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt_neox", "gpt2")
FAST = ("llama", "bert", "t5")


def cases(*pairs: tuple[str, str]) -> list:
    """Families in their order; those that are not fast are left to the whole suite."""
    found = []
    for family, task in pairs:
        marks = () if family in FAST and task in ("causal_lm", "base", "seq2seq_lm") else (pytest.mark.slow,)
        found.append(pytest.param(family, task, marks=marks, id=f"{family}-{task}"))
    return found


@pytest.mark.parametrize(
    ("family", "task"),
    cases(
        *((family, "base") for family in ("bert", "roberta", "albert", "distilbert", "vit")),
        *((family, "causal_lm") for family in DECODERS),
        *((family, "seq2seq_lm") for family in ("bart", "t5")),
        ("whisper", "speech_seq2seq"),
        ("bert", "multiple_choice"),
        ("distilbert", "question_answering"),
        ("roberta", "token_classification"),
        ("llama", "sequence_classification"),
        ("bart", "sequence_classification"),
        ("t5", "text_encoding"),
        ("t5", "base"),
        ("llama", "base"),
        ("vit", "image_classification"),
        ("bart", "causal_lm"),
        ("roberta", "causal_lm"),
    ),
)
def test_onnxruntime_gives_the_models_numbers(family: str, task: str, exported) -> None:
    _, folder, report = exported(family, task)
    assert report.ok
    assert len(report.checks) >= 3 * len(report.files)
    assert max(check.relative for check in report.checks) < 1e-5
    assert len({(check.sizes.batch, check.sizes.length, check.sizes.past) for check in report.checks}) >= 3
    for file in report.files:
        onnx.checker.check_model(str(folder / file.name))
        assert file.bytes == (folder / file.name).stat().st_size
    assert (folder / "config.json").exists()


def names(folder, file: str) -> tuple[list[str], list[str]]:
    graph = onnx.load(str(folder / file)).graph
    return [one.name for one in graph.input], [one.name for one in graph.output]


def axes(folder, file: str) -> dict[str, list]:
    values = onnx.load(str(folder / file)).graph.input
    return {one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in values}


def test_a_decoders_file_has_the_names_that_others_read(exported) -> None:
    _, folder, _ = exported("llama", "causal_lm")
    inputs, outputs = names(folder, "model.onnx")
    past = [f"past_key_values.{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    assert inputs == ["input_ids", "attention_mask", "position_ids", *past]
    assert outputs == ["logits", *(name.replace("past_key_values", "present") for name in past)]
    shapes = axes(folder, "model.onnx")
    assert shapes["input_ids"] == ["batch_size", "sequence_length"]
    assert shapes["past_key_values.0.key"] == ["batch_size", 2, "past_sequence_length", 8]


def test_an_encoder_decoders_files_have_the_names_that_others_read(exported) -> None:
    _, folder, report = exported("t5", "seq2seq_lm")
    assert [file.name for file in report.files] == ["encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"]
    assert names(folder, "encoder_model.onnx") == (["input_ids", "attention_mask"], ["last_hidden_state"])
    inputs, outputs = names(folder, "decoder_model.onnx")
    assert inputs == ["encoder_attention_mask", "input_ids", "encoder_hidden_states"]
    assert outputs[:3] == ["logits", "present.0.decoder.key", "present.0.decoder.value"]
    assert "present.1.encoder.value" in outputs
    inputs, outputs = names(folder, "decoder_with_past_model.onnx")
    assert inputs[:4] == [
        "encoder_attention_mask",
        "input_ids",
        "past_key_values.0.decoder.key",
        "past_key_values.0.decoder.value",
    ]
    assert "past_key_values.0.encoder.key" in inputs
    assert not any("encoder" in name for name in outputs)


def test_without_a_cache_there_is_one_pass(tiny, tmp_path) -> None:
    transept.export_onnx(tiny("llama", "causal_lm"), tmp_path, cache=False)
    assert names(tmp_path, "model.onnx") == (["input_ids", "attention_mask"], ["logits"])


@pytest.mark.slow
def test_quantized_files_are_a_quarter_and_near(tiny, tmp_path) -> None:
    model = tiny("bert", "base", hidden_size=128, intermediate_size=512, vocab_size=2000)
    report = transept.export_onnx(model, tmp_path, quantize="int8")
    plain, quantized = report.files
    assert quantized.name == "model_quantized.onnx"
    assert quantized.bytes < 0.35 * plain.bytes
    check = next(check for check in report.checks if check.quantized)
    assert check.relative > 1e-6, "these are the plain weights"
    assert check.cosine > 0.99
    assert "8-bit weights" in str(report)


def test_the_model_is_left_as_it_was(tiny, tmp_path) -> None:
    model = tiny("bert", "base").train()
    model.set_attention("sdpa")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    transept.export_onnx(model, tmp_path)
    assert model.training
    assert model.config.attn_implementation == "sdpa"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class Searches(torch.nn.Linear):
    """A layer with an operator that ONNX lacks."""

    def forward(self, hidden_states):
        sorted_values = self.bias.sort().values
        return super().forward(hidden_states) + torch.searchsorted(sorted_values, self.weight.sum(1))


def test_an_operator_that_onnx_lacks_is_named_with_its_module(tiny, tmp_path) -> None:
    model = tiny("bert", "base")
    model.encoder.layer[1].output.dense = Searches(56, 32)
    with pytest.raises(
        ExportError, match=r"`aten\.searchsorted\.Tensor` in `encoder\.layer\.1\.output\.dense` \(`Searches`\)"
    ) as caught:
        transept.export_onnx(model, tmp_path / "out")
    assert caught.value.operator == "aten.searchsorted.Tensor"
    assert caught.value.module == "encoder.layer.1.output.dense"
    assert "ONNX has no operator for it" in str(caught.value)
    assert not (tmp_path / "out").exists()


class Branches(torch.nn.Linear):
    def forward(self, hidden_states):
        return super().forward(hidden_states if hidden_states.sum() > 0 else -hidden_states)


def test_a_branch_on_values_is_refused_in_one_paragraph(tiny, tmp_path) -> None:
    model = tiny("bert", "base")
    model.encoder.layer[0].output.dense = Branches(56, 32)
    with pytest.raises(ExportError, match=r"test_onnx_equals_the_model\.py") as caught:
        transept.export_onnx(model, tmp_path)
    assert "\n" not in str(caught.value)


class Differs(torch.nn.Linear):
    def forward(self, hidden_states):
        return super().forward(hidden_states) * (20.0 if torch.compiler.is_exporting() else 1.0)


def test_numbers_that_differ_are_an_error_with_the_report(tiny, tmp_path) -> None:
    model = tiny("bert", "base")
    model.encoder.layer[0].output.dense = Differs(56, 32)
    with pytest.raises(ExportCheckError, match=r"`model\.onnx` differs from the model") as caught:
        transept.export_onnx(model, tmp_path)
    assert "DIFFERS" in str(caught.value.report)
    assert (tmp_path / "model.onnx").exists()


def test_what_cannot_be_asked_for_is_refused(tiny, tmp_path) -> None:
    model = tiny("bert", "base")
    with pytest.raises(UnsupportedTaskError, match="does not generate"):
        transept.export_onnx(model, tmp_path, cache=True)
    with pytest.raises(InputError, match="Did you mean `int8`"):
        transept.export_onnx(model, tmp_path, quantize="int88")
    with pytest.raises(ExportError, match=r"model\.to\('cpu'\)"):
        transept.export_onnx(model.to("meta"), tmp_path)
    assert not list(tmp_path.iterdir())
