"""The runners answer as the model that was exported: in a call, in `generate`, in a pipeline, and after a save."""

from __future__ import annotations

import pytest
import torch

import transept
from transept.errors import CheckpointNotFoundError, CorruptFileError, InputError

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])
LEFT = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
RIGHT = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def causal(exported):
    model, folder, _ = exported("llama", "causal_lm")
    return model, transept.ORTModelForCausalLM.from_pretrained(folder)


@pytest.fixture
def seq2seq(exported):
    model, folder, _ = exported("t5", "seq2seq_lm")
    return model, transept.ORTModelForSeq2SeqLM.from_pretrained(folder)


@pytest.mark.parametrize(
    ("task", "name", "fields"),
    [
        ("base", "FeatureExtraction", ("last_hidden_state", "pooler_output")),
        pytest.param("sequence_classification", "SequenceClassification", ("logits",), marks=pytest.mark.slow),
        pytest.param("token_classification", "TokenClassification", ("logits",), marks=pytest.mark.slow),
        pytest.param("question_answering", "QuestionAnswering", ("start_logits", "end_logits"), marks=pytest.mark.slow),
        pytest.param("masked_lm", "MaskedLM", ("logits",), marks=pytest.mark.slow),
        pytest.param("multiple_choice", "MultipleChoice", ("logits",), marks=pytest.mark.slow),
    ],
)
def test_a_pass_gives_the_models_outputs(task: str, name: str, fields: tuple[str, ...], exported) -> None:
    model, folder, _ = exported("bert", task)
    runner = getattr(transept, f"ORTModelFor{name}").from_pretrained(folder)
    several = (lambda each: each[:, None].expand(-1, 2, -1)) if task == "multiple_choice" else (lambda each: each)
    inputs = {"input_ids": several(IDS), "attention_mask": several(RIGHT)}
    with torch.no_grad():
        expected, alone = model(**inputs), model(several(IDS))
    found = runner(**inputs)
    assert tuple(found) == fields
    for field in fields:
        close(found[field], expected[field])
        close(runner(several(IDS))[field], alone[field])
    assert isinstance(runner(**inputs, return_dict=False), tuple)
    assert runner.device.type == "cpu"
    assert runner.dtype == torch.float32
    assert runner.to("cpu").eval() is runner


@pytest.mark.slow
def test_images_are_labelled(exported) -> None:
    model, folder, _ = exported("vit", "image_classification")
    pixels = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        close(transept.ORTModelForImageClassification.from_pretrained(folder)(pixels).logits, model(pixels).logits)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"do_sample": True, "temperature": 1.3},
        {"num_beams": 3},
        {"repetition_penalty": 1.4, "min_new_tokens": 5},
        {"use_cache": False},
        {"num_return_sequences": 2, "do_sample": True},
    ],
    ids=["greedy", "sample", "beams", "penalty", "no cache", "several"],
)
def test_a_decoder_generates_the_models_tokens(arguments: dict, causal) -> None:
    model, runner = causal
    tokens = []
    for each in (model, runner):
        generator = torch.Generator().manual_seed(3)
        tokens.append(each.generate(IDS, attention_mask=LEFT, max_new_tokens=9, generator=generator, **arguments))
    assert torch.equal(*tokens)
    assert tokens[0].shape[1] > IDS.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gpt2", "roberta"])
def test_windows_and_tables_of_positions_go_on_as_in_the_model(family: str, exported) -> None:
    """Windows hide keys of a cache that holds them all; positions are counted as the family counts them."""
    model, folder, _ = exported(family, "causal_lm")
    runner = transept.ORTModelForCausalLM.from_pretrained(folder)
    mask = LEFT if family != "roberta" else None
    for prompt, given in ((IDS, mask), (IDS[:1, :1], None)):
        tokens = [each.generate(prompt, attention_mask=given, max_new_tokens=20, do_sample=False) for each in (model, runner)]
        assert torch.equal(*tokens)


def test_a_decoders_cache_goes_in_and_out(causal) -> None:
    model, runner = causal
    with torch.no_grad():
        expected = model(IDS, attention_mask=LEFT).logits
    first = runner(IDS[:, :4], attention_mask=LEFT[:, :4])
    assert type(first.past_key_values) is transept.DynamicCache
    assert first.past_key_values.get_seq_length() == 4
    second = runner(IDS[:, 4:], attention_mask=LEFT, past_key_values=first.past_key_values)
    close(second.logits, expected[:, 4:])
    assert second.past_key_values.get_seq_length() == 6
    # the first cache is as it was, so another text may go on from it
    assert first.past_key_values.get_seq_length() == 4
    assert runner(IDS, use_cache=False).past_key_values is None


def test_a_cache_of_another_kind_is_refused(causal) -> None:
    _, runner = causal
    with pytest.raises(InputError, match="`StaticCache` cannot be filled by an ONNX graph"):
        runner.generate(IDS, max_new_tokens=3, cache_implementation="static")


@pytest.mark.slow
def test_a_decoder_without_a_cache_generates_too(tiny, tmp_path) -> None:
    model = tiny("llama", "causal_lm")
    transept.export_onnx(model, tmp_path, cache=False)
    runner = transept.ORTModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(*(each.generate(IDS, attention_mask=LEFT, max_new_tokens=5) for each in (model, runner)))
    with pytest.raises(InputError, match="exported without a cache"):
        runner(IDS, use_cache=True)


@pytest.mark.parametrize("arguments", [{}, {"num_beams": 3}, {"do_sample": True}], ids=["greedy", "beams", "sample"])
def test_an_encoder_decoder_generates_the_models_tokens(arguments: dict, seq2seq) -> None:
    model, runner = seq2seq
    tokens = []
    for each in (model, runner):
        generator = torch.Generator().manual_seed(3)
        tokens.append(each.generate(IDS, attention_mask=RIGHT, max_new_tokens=9, generator=generator, **arguments))
    assert torch.equal(*tokens)


def test_an_encoder_decoders_pass_is_the_models(seq2seq) -> None:
    model, runner = seq2seq
    start = torch.tensor([[0, 20, 21], [0, 22, 23]])
    with torch.no_grad():
        expected = model(IDS, attention_mask=RIGHT, decoder_input_ids=start)
    found = runner(IDS, RIGHT, start)
    close(found.logits, expected.logits)
    close(found.encoder_last_hidden_state, expected.encoder_last_hidden_state)
    first = runner(IDS, RIGHT, start[:, :1])
    second = runner(
        attention_mask=RIGHT,
        decoder_input_ids=start[:, 1:],
        encoder_outputs=(first.encoder_last_hidden_state,),
        past_key_values=first.past_key_values,
    )
    close(second.logits, expected.logits[:, 1:])
    with pytest.raises(InputError, match="`decoder_input_ids`"):
        runner(IDS)


@pytest.mark.slow
def test_bart_generates_the_models_tokens(exported) -> None:
    model, folder, _ = exported("bart", "seq2seq_lm")
    runner = transept.ORTModelForSeq2SeqLM.from_pretrained(folder)
    ids = torch.tensor([[0, 5, 6, 7, 8, 2], [0, 9, 10, 2, 1, 1]])
    assert torch.equal(*(each.generate(ids, max_new_tokens=9) for each in (model, runner)))


def test_what_is_saved_is_opened_again(causal, tmp_path) -> None:
    _, runner = causal
    runner.generation_config.max_new_tokens = 4
    runner.save_pretrained(tmp_path)
    again = transept.ORTModelForCausalLM.from_pretrained(tmp_path)
    assert again.generation_config.max_new_tokens == 4
    assert torch.equal(again.generate(IDS), runner.generate(IDS))


@pytest.mark.slow
def test_a_checkpoint_is_exported_on_the_fly(tiny, tmp_path) -> None:
    model = tiny("bert", "base")
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="export=True"):
        transept.ORTModelForFeatureExtraction.from_pretrained(tmp_path)
    runner = transept.ORTModelForFeatureExtraction.from_pretrained(tmp_path, export=True)
    with torch.no_grad():
        close(runner(IDS).last_hidden_state, model(IDS).last_hidden_state)
    runner.save_pretrained(tmp_path / "kept")
    again = transept.ORTModelForFeatureExtraction.from_pretrained(tmp_path / "kept")
    assert torch.equal(again(IDS).last_hidden_state, runner(IDS).last_hidden_state)


def test_bad_input_gets_one_clear_error(exported, tmp_path) -> None:
    _, folder, _ = exported("bert", "base")
    runner = transept.ORTModelForFeatureExtraction.from_pretrained(folder)
    with pytest.raises(InputError, match="needs `input_ids`"):
        runner(attention_mask=LEFT)
    with pytest.raises(InputError, match="does not take `pixel_values`"):
        runner(IDS, pixel_values=torch.zeros(1, 3, 4, 4))
    with pytest.raises(TypeError, match="labels"):
        runner(IDS, labels=IDS)
    with pytest.raises(InputError, match="providers="):
        runner.to("cuda")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.onnx").write_bytes(b"no protobuf")
    with pytest.raises(CorruptFileError, match="cannot be read by onnxruntime"):
        transept.ORTModelForFeatureExtraction.from_pretrained(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="--quantize int8"):
        transept.ORTModelForFeatureExtraction.from_pretrained(folder, quantized=True)
