"""What a tokenizer in plain Python and one over a library must agree on, beyond ids."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from transept.errors import TokenizerError

__all__ = ["check_added_tokens", "check_encodings", "check_lengths", "check_ways_back"]

EVERYTHING = {
    "return_offsets_mapping": True,
    "return_special_tokens_mask": True,
    "return_token_type_ids": True,
    "return_length": True,
    "verbose": False,
}


def same(ours: Any, theirs: Any) -> None:
    """The same values, tokens, words and sequences in every row."""
    assert dict(ours) == dict(theirs)
    for name in ("tokens", "word_ids", "sequence_ids"):
        assert [getattr(each, name) for each in ours.encodings] == [getattr(each, name) for each in theirs.encodings], name


def check_encodings(slow: Any, fast: Any, lines: Sequence[str], peer: Any = None) -> None:
    """Ids, offsets, tokens, words of each line, and its text out of them, are the same; ids are the peer's, where there is
    one."""
    ours, theirs = slow(list(lines), **EVERYTHING), fast(list(lines), **EVERYTHING)
    rows = zip(lines, ours.encodings, theirs.encodings, strict=True)
    for line, mine, other in rows:
        assert mine.ids == other.ids, f"{line!r}: {mine.tokens} and {other.tokens}"
        assert mine.tokens == other.tokens, repr(line)
        assert mine.offsets == other.offsets, f"{line!r}: {mine.tokens} {mine.offsets} and {other.offsets}"
        assert mine.word_ids == other.word_ids, repr(line)
    assert dict(ours) == dict(theirs)
    ids = ours["input_ids"]
    for skip in (True, False):
        assert slow.batch_decode(ids, skip_special_tokens=skip) == fast.batch_decode(ids, skip_special_tokens=skip)
    if peer is not None:
        assert ids == peer(list(lines))["input_ids"]
        assert slow.batch_decode(ids) == peer.batch_decode(ids)


def check_lengths(slow: Any, fast: Any, *, pairs_have_types: bool = True) -> None:
    """Cutting, filling, overflowing parts and pairs are the same, and what cannot be cut is refused by both."""
    texts = ["a", "The quick brown fox", "", "Paris is the capital of France; Berlin of Germany. 你好"]
    pairs = ["one two three four five six", "x", "seven", "eight nine ten eleven twelve thirteen"]
    compared = refused = 0
    for pair, fill, length, strategy, side, stride, special in itertools.product(
        (None, pairs),
        ({}, {"padding": True, "pad_to_multiple_of": 4}, {"padding": "max_length", "padding_side": "left"}),
        (4, 8, 16),
        (True, "only_first", "only_second"),
        ("right", "left"),
        (0, 2),
        (True, False),
    ):
        options = {**EVERYTHING, **fill, "max_length": length, "truncation": strategy, "stride": stride}
        options.update(return_overflowing_tokens=True, add_special_tokens=special)
        options["return_token_type_ids"] = pairs_have_types
        slow.truncation_side = fast.truncation_side = side
        try:
            expected = fast(texts, pair, **options)
        except TokenizerError:
            refused += 1
            with pytest.raises(TokenizerError, match=r"max_length|text_pair"):
                slow(texts, pair, **options)
            continue
        same(slow(texts, pair, **options), expected)
        compared += 1
    slow.truncation_side = fast.truncation_side = "right"
    assert compared > 100
    assert refused > 10


def check_ways_back(slow: Any, fast: Any) -> None:
    """From tokens to words, characters and texts, and from them to tokens; words given one by one."""
    texts = (["Hello quick wörld 12", "a fox"], ["second one", "b"])
    ours, theirs = (each(*texts) for each in (slow, fast))
    for row in (0, 1):
        for index in range(len(theirs.tokens(row))):
            for method in ("token_to_chars", "token_to_word", "token_to_sequence"):
                assert getattr(ours, method)(row, index) == getattr(theirs, method)(row, index), method
        for which, index in itertools.product((0, 1), range(8)):
            for method in ("char_to_token", "char_to_word", "word_to_tokens", "word_to_chars"):
                if method.startswith("word") and index not in theirs.word_ids(row):
                    continue
                assert getattr(ours, method)(row, index, which) == getattr(theirs, method)(row, index, which), method
    words = [["Hello", "wörld", "12"], ["a"], [], [" b c ", ""]]
    same(*(each(words, is_split_into_words=True, **EVERYTHING) for each in (slow, fast)))
    same(*(each(words[0], words[3], is_split_into_words=True, **EVERYTHING) for each in (slow, fast)))
    for pair in (False, True):
        assert slow.num_special_tokens_to_add(pair) == fast.num_special_tokens_to_add(pair)
    one, two = [11, 12, 13], [14, 15]
    for rest in ((one,), (one, two)):
        for method in ("build_inputs_with_special_tokens", "create_token_type_ids_from_sequences", "get_special_tokens_mask"):
            assert getattr(slow, method)(*rest) == getattr(fast, method)(*rest), method


def check_added_tokens(slow: Any, fast: Any) -> None:
    """Tokens with every flag are found at the same places, and get the same ids."""
    from transept import AddedToken

    known = len(fast)
    added = [
        AddedToken("<left>", lstrip=True, normalized=False),
        AddedToken("<right>", rstrip=True, special=True),
        AddedToken("alone", single_word=True),
        AddedToken("NewTok"),
        AddedToken("NewToken", normalized=False),
        "plain",
    ]
    assert slow.add_tokens(added) == fast.add_tokens(added)
    assert slow.add_special_tokens({"additional_special_tokens": ["<x>"]}, False) == fast.add_special_tokens(
        {"additional_special_tokens": ["<x>"]}, False
    )
    assert len(slow) == len(fast) > known
    assert slow.added_tokens_decoder == fast.added_tokens_decoder
    texts = (
        "a  <left>  b  <right>  c",
        "alone alones lone-alone _alone alone! ALONE",
        "newtok NewTok NewTokens NEWTOKEN newtoken",
        "<left><right> <left>  <x>plain plainly <x> <left>",
        "   <left>",
        "<right>   ",
        "",
    )
    for split in (False, True):
        options = {**EVERYTHING, "split_special_tokens": split}
        same(slow(list(texts), **options), fast(list(texts), **options))
    for ids in slow(list(texts))["input_ids"]:
        for skip in (True, False):
            assert slow.decode(ids, skip_special_tokens=skip) == fast.decode(ids, skip_special_tokens=skip)
    assert slow.get_vocab() == fast.get_vocab()
    assert slow.all_special_ids == fast.all_special_ids
