"""Whisper's tokenizer beside the peer's: ids, labels, timestamps; and what it refuses."""

from __future__ import annotations

import json
import random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transept_whisper.feature_extraction import WhisperFeatureExtractor
from transept_whisper.languages import LANGUAGES, language_code
from transept_whisper.processing import WhisperProcessor
from transept_whisper.tokenization import WhisperTokenizer, WhisperTokenizerFast

from transept import AutoProcessor, AutoTokenizer
from transept.errors import InputError, TokenizerError

SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in list(LANGUAGES)[:4]),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TEXTS = ["Hello world, it's 9 o'clock", "  déjà vu — 日本", "<|en|> in between", "", "a<|notimestamps|>b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small vocabulary: all bytes, a few merges, the special tokens."""
    path = tmp_path_factory.mktemp("tokenizer")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "w"), ("o", "r"), ("Ġ", "i"), ("Ġi", "n")]
    vocab = {token: index for index, token in enumerate([*letters, *("".join(pair) for pair in merges)])}
    (path / "vocab.json").write_text(json.dumps(vocab))
    (path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    added = {str(len(vocab) + place): {"content": token, "special": True} for place, token in enumerate(SPECIAL)}
    settings = {"tokenizer_class": "WhisperTokenizer", "added_tokens_decoder": added, "additional_special_tokens": SPECIAL[1:]}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def pair(folder, tmp_path_factory):
    """Ours and the peer's, over the same `tokenizer.json`."""
    transformers = pytest.importorskip("transformers")
    ours = WhisperTokenizer.from_pretrained(folder)
    saved = tmp_path_factory.mktemp("saved")
    ours.save_pretrained(saved)
    return ours, transformers.WhisperTokenizer.from_pretrained(saved)


def test_the_auto_class_finds_it_by_either_name(folder) -> None:
    assert type(AutoTokenizer.from_pretrained(folder)) is WhisperTokenizer
    assert type(AutoTokenizer.from_pretrained(folder, use_fast=False)) is WhisperTokenizer
    assert WhisperTokenizerFast is WhisperTokenizer


SETTINGS = [
    {},
    {"language": "english", "task": "transcribe"},
    {"language": "de", "task": "translate", "predict_timestamps": True},
    {"predict_timestamps": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_labels_are_the_peers(pair, settings) -> None:
    ours, theirs = pair
    for tokenizer in pair:
        tokenizer.language = tokenizer.task = None
        tokenizer.predict_timestamps = False
        tokenizer.set_prefix_tokens(**settings)
    assert ours.prefix_tokens == theirs.prefix_tokens
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    assert ours("a", "b")["input_ids"] == theirs("a", "b")["input_ids"]
    assert ours.build_inputs_with_special_tokens([5, 6]) == theirs.build_inputs_with_special_tokens([5, 6])
    assert ours.get_special_tokens_mask([5, 6]) == theirs.get_special_tokens_mask([5, 6])


def test_decoder_prompts_are_the_peers(pair) -> None:
    ours, theirs = pair
    asked = {"task": "transcribe", "language": "german", "no_timestamps": False}
    assert ours.get_decoder_prompt_ids(**asked) == theirs.get_decoder_prompt_ids(**asked)
    assert ours.get_prompt_ids(" hello ").tolist() == theirs.get_prompt_ids("hello").tolist()
    assert isinstance(ours.get_prompt_ids("hello", return_tensors="np").tolist(), list)
    assert ours.get_prompt_ids("hello", return_tensors=None) == ours.get_prompt_ids("hello").tolist()
    with pytest.raises(InputError, match="transcribe"):
        ours.get_prompt_ids("say <|transcribe|>")


OPTIONS = [
    {},
    {"skip_special_tokens": True},
    {"decode_with_timestamps": True},
    {"decode_with_timestamps": True, "skip_special_tokens": True},
    {"output_offsets": True},
    {"output_offsets": True, "skip_special_tokens": True, "time_precision": 0.04},
    {"basic_normalize": True},
    {"basic_normalize": True, "remove_diacritics": True, "skip_special_tokens": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options) or "plain")
def test_texts_are_the_peers(pair, options) -> None:
    ours, theirs = pair
    draw, begin = random.Random(0), ours.timestamp_begin
    start, plain, previous, end = (ours.convert_tokens_to_ids(SPECIAL[place]) for place in (1, -1, -3, 0))
    for number in range(150):
        ids = [previous, 5, 6] * (number % 7 == 0) + [start, plain] * (number % 3 == 0)
        moment = 0
        for _ in range(draw.randint(1, 6)):
            moment = draw.randint(0, 40) if number % 2 else moment + draw.randint(0, 9)
            ids += [begin + moment] + [begin + moment + draw.randint(0, 3)] * (draw.random() < 0.3)
            ids += [draw.randint(0, 250) for _ in range(draw.randint(0, 4))]
        ids += [end] * (number % 2)
        assert ours.decode(ids, **options) == theirs.decode(list(ids), **options), ids


def test_batches_and_tensors(pair) -> None:
    ours, _ = pair
    ids = ours(["hello", "world"], add_special_tokens=False)["input_ids"]
    assert ours.batch_decode(ids) == ["hello", "world"]
    assert ours.batch_decode([torch.tensor(row) for row in ids]) == ["hello", "world"]
    assert ours.decode(torch.tensor(ids[0])) == "hello"
    assert ours.decode([]) == ""
    assert ours.timestamp_ids()[:2] == [ours.timestamp_begin, ours.timestamp_begin + 1]
    assert len(ours.timestamp_ids()) == 1501


def test_settings_survive_a_save(folder, tmp_path) -> None:
    WhisperTokenizer.from_pretrained(folder, language="german", task="translate").save_pretrained(tmp_path)
    again = WhisperTokenizer.from_pretrained(tmp_path)
    assert (again.language, again.task) == ("german", "translate")
    assert again.convert_ids_to_tokens(again("a")["input_ids"])[:4] == [
        "<|startoftranscript|>",
        "<|de|>",
        "<|translate|>",
        "<|notimestamps|>",
    ]
    theirs = pytest.importorskip("transformers").WhisperTokenizer.from_pretrained(tmp_path)
    assert theirs("a")["input_ids"] == again("a")["input_ids"]


def test_what_does_not_fit_is_refused(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="Klingon"):
        WhisperTokenizer.from_pretrained(folder, language="Klingon")
    with pytest.raises(TokenizerError, match=r"<\|fr\|>"):
        WhisperTokenizer.from_pretrained(folder, language="french")
    with pytest.raises(InputError, match="sing"):
        WhisperTokenizer.from_pretrained(folder, task="sing")
    with pytest.raises(TokenizerError, match="merges_file"):
        WhisperTokenizer()
    with pytest.raises(TokenizerError, match="strict"):
        WhisperTokenizer.from_pretrained(folder, errors="strict")
    with pytest.raises(TokenizerError, match="basic_normalize"):
        WhisperTokenizer.from_pretrained(folder).decode([1], normalize=True)
    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    bare = WhisperTokenizer.from_pretrained(tmp_path)
    assert bare.prefix_tokens == []
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match="klingon"):
        tokenizer.set_prefix_tokens(language="klingon")
    assert tokenizer.language is None


def test_names_of_languages() -> None:
    assert language_code("French") == language_code("fr") == language_code("<|fr|>") == "fr"
    assert language_code("castilian") == "es"
    assert language_code("haitian creole") == "ht"
    assert len(LANGUAGES) == 100
    with pytest.raises(InputError, match="french"):
        language_code("frensh")


def test_the_processor_joins_both(folder, tmp_path) -> None:
    made = WhisperProcessor(WhisperFeatureExtractor(chunk_length=1), WhisperTokenizer.from_pretrained(folder))
    made.save_pretrained(tmp_path)
    found = AutoProcessor.from_pretrained(tmp_path)
    assert type(found) is WhisperProcessor
    sound = torch.sin(torch.arange(8000) / 20)
    both = found(sound, text="hello", sampling_rate=16000, return_tensors="pt")
    assert both["input_features"].shape == (1, 80, 100)
    assert both["labels"].tolist() == [found.tokenizer("hello")["input_ids"]]
    assert found(text="hello")["input_ids"] == found.tokenizer("hello")["input_ids"]
    assert list(found(sound, sampling_rate=16000)) == ["input_features"]
    assert found.batch_decode(both["labels"], skip_special_tokens=True) == ["hello"]
    assert found.get_prompt_ids("hello").tolist() == found.tokenizer.get_prompt_ids("hello").tolist()
    assert found.get_decoder_prompt_ids(language="en")[0][0] == 1
    with pytest.raises(InputError, match="audio"):
        found()
    with pytest.raises(InputError, match="16000"):
        found(sound, sampling_rate=8000)
    theirs = pytest.importorskip("transformers").WhisperProcessor.from_pretrained(tmp_path)
    expected = theirs(sound.numpy(), sampling_rate=16000, return_tensors="pt")["input_features"]
    assert (expected - both["input_features"]).abs().max() <= 1e-5
