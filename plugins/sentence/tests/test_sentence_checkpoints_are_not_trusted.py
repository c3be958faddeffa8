"""A checkpoint names files, modules and activations: none leads out of its folder, and none runs code."""

import json

import pytest
import torch

import transept
from transept import SentenceEncoder

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}


def module(kind, path="1_Pooling"):
    return {"idx": 1, "name": "1", "path": path, "type": kind}


@pytest.mark.parametrize("path", ["../outside", "/etc", "1_Pooling/../../outside", "a\\b", "\0"])
@pytest.mark.parametrize("kind", ["Transformer", "Pooling"])
def test_a_path_out_of_the_folder(checkpoint, path, kind):
    first = {**TRANSFORMER, "path": path} if kind == "Transformer" else TRANSFORMER
    modules = [first, module("sentence_transformers.models.Pooling", path if kind == "Pooling" else "1_Pooling")]
    folder = checkpoint(modules=modules)
    (folder.parent / "outside").mkdir(exist_ok=True)
    (folder.parent / "outside" / "config.json").write_text('{"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true}')
    with pytest.raises(transept.UnsafePathError):
        SentenceEncoder.from_pretrained(folder)


def test_a_link_out_of_the_folder(checkpoint, tmp_path_factory):
    folder, outside = checkpoint(), tmp_path_factory.mktemp("outside")
    pooling = folder / "1_Pooling" / "config.json"
    (outside / "config.json").write_text(pooling.read_text())
    pooling.unlink()
    pooling.symlink_to(outside / "config.json")
    with pytest.raises(transept.UnsafePathError):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("custom_st.Transformer", "custom_st.Transformer.*runs no code"),
        ("os.system", "runs no code"),
        ("sentence_transformers.models.LSTM", "sentence_transformers.models.LSTM"),
        ("sentence_transformers.models.Transformer", "one `Transformer`"),
        ("Pooling", "`Pooling`.*runs no code"),
    ],
)
def test_a_module_that_is_not_known_is_named(checkpoint, kind, said):
    with pytest.raises(transept.ConfigError, match=said):
        SentenceEncoder.from_pretrained(checkpoint(modules=[TRANSFORMER, module(kind)]))


def test_a_first_module_that_is_no_transformer(checkpoint):
    with pytest.raises(transept.ConfigError, match=r"StaticEmbedding` as module 0"):
        SentenceEncoder.from_pretrained(checkpoint(modules=[module("sentence_transformers.models.StaticEmbedding")]))


def test_no_pooling_behind_the_transformer(checkpoint):
    modules = [TRANSFORMER, module("sentence_transformers.models.Normalize")]
    with pytest.raises(transept.ConfigError, match="must be a `Pooling`"):
        SentenceEncoder.from_pretrained(checkpoint(modules=modules))


@pytest.mark.parametrize("listed", [{}, [], [3], [{"type": "x"}], [{"path": ""}], "text"])
def test_a_list_of_modules_that_is_none(checkpoint, listed):
    with pytest.raises(transept.CorruptFileError, match=r"modules\.json"):
        SentenceEncoder.from_pretrained(checkpoint(modules=listed))


@pytest.mark.parametrize(
    ("pooling", "said"),
    [
        ({"pooling_mode_mean_tokens": False}, "needs a mode"),
        ({"pooling_mode_wild_tokens": True}, "pooling_mode_wild_tokens"),
        ({"pooling_mode": "mena"}, "Did you mean `mean`"),
        ({"word_embedding_dimension": 31, "pooling_mode_mean_tokens": True}, "31 numbers, and 32"),
        ({"word_embedding_dimension": "32"}, "not a number"),
    ],
)
def test_a_pooling_that_does_not_fit(checkpoint, pooling, said):
    with pytest.raises(transept.ConfigError, match=said):
        SentenceEncoder.from_pretrained(checkpoint(pooling=pooling))


DENSE = {"in_features": 32, "out_features": 4, "linear.weight": torch.zeros(4, 32), "linear.bias": torch.zeros(4)}


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"activation_function": "os.system"}, transept.ConfigError, "not one of torch's"),
        ({"activation_function": "torch.hub.load"}, transept.ConfigError, "activation `load`"),
        ({"in_features": 31}, transept.ShapeMismatchError, "linear.weight"),
        ({"out_features": 0}, transept.ConfigError, "numbers are needed"),
        ({"bias": False}, transept.CorruptFileError, "linear.bias"),
        ({"module_input_name": "token_embeddings"}, transept.ConfigError, "module_input_name"),
    ],
)
def test_a_dense_layer_that_does_not_fit(checkpoint, changed, error, said):
    with pytest.raises(error, match=said):
        SentenceEncoder.from_pretrained(checkpoint(dense={**DENSE, **changed}))


def test_a_dense_layers_weights(checkpoint):
    folder = checkpoint(dense=DENSE)
    weights = folder / "2_Dense" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(transept.CorruptFileError):
        SentenceEncoder.from_pretrained(folder)
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(transept.CheckpointNotFoundError, match="pickled"):
        SentenceEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ({"similarity_fn_name": "os.system"}, "similarity_fn_name"),
        ({"prompts": ["a"]}, "must map names to texts"),
        ({"prompts": {"query": 3}}, "must map names to texts"),
        ({"prompts": {"query": "q"}, "default_prompt_name": "doc"}, "default_prompt_name"),
    ],
)
def test_settings_that_mean_nothing(checkpoint, prompts, said):
    with pytest.raises(transept.ConfigError, match=said):
        SentenceEncoder.from_pretrained(checkpoint(prompts=prompts))


@pytest.mark.parametrize("length", [0, -1, "7", True])
def test_a_length_that_is_none(checkpoint, length):
    with pytest.raises(transept.ConfigError, match="max_seq_length"):
        SentenceEncoder.from_pretrained(checkpoint(settings={"max_seq_length": length}))


def test_a_setting_that_has_no_effect_is_told(checkpoint):
    with pytest.warns(UserWarning, match="model_args"):
        SentenceEncoder.from_pretrained(checkpoint(settings={"max_seq_length": 8, "model_args": {"trust_remote_code": True}}))


def test_damaged_json(checkpoint):
    folder = checkpoint()
    (folder / "config_sentence_transformers.json").write_text("[1]")
    with pytest.raises(transept.CorruptFileError, match="an object is expected"):
        SentenceEncoder.from_pretrained(folder)
    (folder / "modules.json").write_text(json.dumps([TRANSFORMER])[:-3])
    with pytest.raises(transept.CorruptFileError, match=r"modules\.json"):
        SentenceEncoder.from_pretrained(folder)


def test_unknown_keywords(checkpoint):
    with pytest.raises(transept.UnknownArgumentError, match="attn_implementaton"):
        SentenceEncoder.from_pretrained(checkpoint(), attn_implementaton="eager")
    with pytest.raises(transept.UnknownArgumentError, match="trust_remote_code"):
        SentenceEncoder.from_pretrained(checkpoint(), trust_remote_code=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [("one", "`str`"), ({"source_sentence": "a"}, "no `sentences`"), ({"source": "a", "sentences": ["b"]}, "no `source_sentence`"),
     ({"source_sentence": "a", "sentences": []}, "at least one"), ({"source_sentence": 3, "sentences": ["b"]}, "is a text")],
)  # fmt: skip
def test_what_the_pipeline_cannot_compare(checkpoint, given, said):
    pipe = transept.pipeline("sentence-similarity", model=str(checkpoint()), device="cpu")
    with pytest.raises(transept.InputError, match=said):
        pipe(given)


def test_a_model_without_its_tokenizer(transformer):
    with pytest.raises(transept.InputError, match="pass `tokenizer=`"):
        transept.pipeline("sentence-similarity", model=transept.AutoModel.from_pretrained(transformer))
