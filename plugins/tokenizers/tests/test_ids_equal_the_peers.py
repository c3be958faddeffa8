"""The same files give the same ids as in the peer, on texts that tokenizers get wrong, with every argument."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.errors import TokenizerError


@pytest.fixture(scope="module")
def both(folder: Path, open_peer: Callable[..., Any]) -> tuple[PreTrainedTokenizerFast, Any]:
    return PreTrainedTokenizerFast.from_pretrained(folder), open_peer(folder)


def same(ours: Any, theirs: Any) -> None:
    assert dict(ours) == dict(theirs)
    assert [each.tokens for each in ours.encodings] == [each.tokens for each in theirs.encodings]
    assert [each.word_ids for each in ours.encodings] == [each.word_ids for each in theirs.encodings]


def test_nasty_texts(both: tuple[PreTrainedTokenizerFast, Any], nasty: list[str]) -> None:
    ours, theirs = both
    for text in nasty:
        for special in (True, False):
            options = {"add_special_tokens": special, "return_offsets_mapping": True, "verbose": False}
            same(ours(text, **options), theirs(text, **options))
        ids = ours(text, verbose=False)["input_ids"]
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
        assert ours.tokenize(text, verbose=False) == theirs.tokenize(text)


def test_attributes(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    ours, theirs = both
    for name in (
        "special_tokens_map",
        "all_special_tokens",
        "all_special_ids",
        "vocab_size",
        "model_max_length",
        "padding_side",
        "truncation_side",
        "model_input_names",
        "added_tokens_encoder",
        "pad_token_type_id",
        "extra_special_tokens",
        "unk_token_id",
        "bos_token_id",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    assert {index: str(token) for index, token in ours.added_tokens_decoder.items()} == {
        index: str(token) for index, token in theirs.added_tokens_decoder.items()
    }
    for pair in (True, False):
        assert ours.num_special_tokens_to_add(pair) == theirs.num_special_tokens_to_add(pair)
    tokens = ["a", "the", "no such token", *ours.all_special_tokens]
    assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    ids = list(range(0, len(ours), 17))
    assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)
    assert ours.convert_ids_to_tokens(ids, skip_special_tokens=True) == theirs.convert_ids_to_tokens(
        ids, skip_special_tokens=True
    )
    tokens = ours.tokenize("hello wörld 12")
    assert ours.convert_tokens_to_string(tokens) == theirs.convert_tokens_to_string(tokens)


def attempt(tokenizer: Any, *texts: Any, **options: Any) -> Any:
    """None for a pair that the library cannot cut enough, which it says by an error or a panic."""
    try:
        return tokenizer(*texts, **options)
    except BaseException as error:
        if type(error).__name__ not in ("Exception", "PanicException"):
            raise
        return None


def test_lengths(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    ours, theirs = both
    texts = ["a", "The quick brown fox", "", "Paris is the capital of France; Berlin of Germany. 你好"]
    pairs = ["one two three four five six", "x", "seven", "eight"]
    everything = {
        "return_offsets_mapping": True,
        "return_special_tokens_mask": True,
        "return_token_type_ids": True,
        "return_length": True,
    }
    choices = itertools.product(
        (None, pairs),
        ({}, {"padding": True}, {"padding": "max_length", "padding_side": "left"}, {"padding": True, "pad_to_multiple_of": 8}),
        ({"max_length": 8}, {"max_length": 16, "truncation": True}, {"max_length": 8, "truncation": "only_first"}),
        ({}, {"return_overflowing_tokens": True, "stride": 2}),
    )
    compared = 0
    for pair, fill, cut, overflow in choices:
        options = {**everything, **fill, **cut, **overflow}
        expected = attempt(theirs, texts, pair, **options)
        if expected is None:
            with pytest.raises(TokenizerError, match="max_length"):
                ours(texts, pair, **options)
            continue
        if "truncation" not in cut and fill:
            continue  # `max_length` alone then cuts nothing: ours says so in a warning
        same(ours(texts, pair, **options), expected)
        compared += 1
    assert compared > 20


def test_words_and_tuples(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    ours, theirs = both
    words = [["Hello", "wörld", "12"], ["a"], []]
    same(ours(words, is_split_into_words=True), theirs(words, is_split_into_words=True))
    same(ours(words[0], words[1], is_split_into_words=True), theirs(words[0], words[1], is_split_into_words=True))
    same(ours([("a b", "c"), ("d", "")]), theirs([("a b", "c"), ("d", "")]))
    same(ours("text", ""), theirs("text", ""))
    same(ours("<s>x</s>", split_special_tokens=True), theirs("<s>x</s>", split_special_tokens=True))
    encoded = ours("source text", text_target="target text")
    assert encoded["labels"] == theirs("source text", text_target="target text")["labels"]


def test_way_back(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    ours, theirs = (each(["Hello quick world 12", "a fox"], ["second", "b"]) for each in both)
    for row in (0, 1):
        assert ours.sequence_ids(row) == theirs.sequence_ids(row)
        for index in range(len(ours.tokens(row))):
            assert ours.token_to_chars(row, index) == theirs.token_to_chars(row, index)
            assert ours.token_to_word(row, index) == theirs.token_to_word(row, index)
            assert ours.token_to_sequence(row, index) == theirs.token_to_sequence(row, index)
        for index in range(5):
            assert ours.char_to_token(row, index) == theirs.char_to_token(row, index)
            assert ours.char_to_word(row, index) == theirs.char_to_word(row, index)
        assert ours.word_to_tokens(row, 0) == theirs.word_to_tokens(row, 0)
        assert ours.word_to_chars(row, 0, 1) == theirs.word_to_chars(row, 0, 1)


def test_pad(both: tuple[PreTrainedTokenizerFast, Any]) -> None:
    ours, theirs = both
    rows = [{"input_ids": [5, 6, 7], "token_type_ids": [0, 0, 1]}, {"input_ids": [8], "token_type_ids": [0]}]
    for options in ({}, {"padding": "max_length", "max_length": 6}, {"pad_to_multiple_of": 4, "padding_side": "left"}):
        mine, peer = ours.pad([dict(row) for row in rows], **options), theirs.pad([dict(row) for row in rows], **options)
        assert dict(mine) == dict(peer)
    mine, peer = (each.pad({"input_ids": [[1], [2, 3]]}, return_tensors="pt") for each in both)
    assert mine["input_ids"].tolist() == peer["input_ids"].tolist()
    assert mine["attention_mask"].tolist() == peer["attention_mask"].tolist()


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(_texts, min_size=1, max_size=3), length=st.integers(3, 20), stride=st.integers(0, 0))
def test_any_text(both: tuple[PreTrainedTokenizerFast, Any], texts: list[str], length: int, stride: int) -> None:
    ours, theirs = both
    same(ours(texts, verbose=False), theirs(texts, verbose=False))
    options = {"truncation": True, "max_length": length, "padding": True, "return_overflowing_tokens": True}
    same(ours(texts, **options), theirs(texts, **options))


@pytest.mark.slow
def test_smollm2(smollm2: Path, open_peer: Callable[..., Any], nasty: list[str]) -> None:
    ours, theirs = PreTrainedTokenizerFast.from_pretrained(smollm2), open_peer(smollm2)
    for text in nasty:
        same(ours(text, return_offsets_mapping=True), theirs(text, return_offsets_mapping=True))
        ids = ours(text)["input_ids"]
        assert ours.decode(ids) == theirs.decode(ids)
    assert ours.special_tokens_map == theirs.special_tokens_map
    chat = [{"role": "user", "content": text} for text in nasty]
    for options in ({}, {"add_generation_prompt": True}, {"continue_final_message": True}):
        assert ours.apply_chat_template(chat, tokenize=False, **options) == theirs.apply_chat_template(
            chat, tokenize=False, **options
        )
    assert dict(ours.apply_chat_template(chat)) == dict(theirs.apply_chat_template(chat))
