"""`TokenizerConformance`: texts to ids and back, and the same ids from every way to them."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from transept.discovery import load_object
from transept.errors import TokenizerError, TranseptError, UnknownArgumentError

from .peer import peer_class
from .refusing import refused
from .standard import Conformance

__all__ = ["TokenizerConformance"]

TEXTS = (
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces\tand a tab\nand a line ",
    "don't, can't, it's 3.14 and 1,000",
    "naïve café, Straße, İstanbul",
    "Привет, мир! 你好，世界。 こんにちは",
    "مرحبا بالعالم",
    "🙂👩‍👩‍👧 emoji",
    "unbelievably uncharacteristically",
    "",
)


class TokenizerConformance(Conformance, standard=True):
    """Subclass it with `write_files`, and `slow`, `fast` or both."""

    slow: ClassVar[Any] = None
    """The tokenizer in plain Python: a class, or where it lives, "package.module:Name"."""
    fast: ClassVar[Any] = None
    """The tokenizer over the `tokenizers` library."""
    peer: ClassVar[str | None] = None
    """Name of the peer's class that reads the same files: "BertTokenizer"."""
    texts: ClassVar[Sequence[str]] = TEXTS
    restored: ClassVar[Sequence[str]] = ("hello world",)
    """Texts that decoding gives back as they are."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Keywords for `from_pretrained`."""

    def write_files(self, folder: Path) -> None:
        """Write a checkpoint's tokenizer files, small ones."""
        raise NotImplementedError(f"`{type(self).__name__}.write_files(folder)` writes the files that the tokenizer is made of")

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        return {"kind": lambda: [kind for kind in ("slow", "fast") if getattr(self, kind) is not None]}

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The checkpoint's files."""
        folder = tmp_path / "files"
        folder.mkdir()
        self.write_files(folder)
        return folder

    def tokenizer(self, kind: str, folder: Path, **settings: Any) -> Any:
        """A new tokenizer of a kind from the files in a folder."""
        found = getattr(type(self), kind)
        found = load_object(found, owner=kind) if isinstance(found, str) else found
        return found.from_pretrained(folder, **{**self.settings, **settings})

    def test_a_batch_is_its_texts(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        together = tokenizer(list(self.texts))
        for row, text in enumerate(self.texts):
            alone = tokenizer(text)
            assert {name: values[row] for name, values in together.items()} == dict(alone), f"of {text!r}"

    def test_texts_come_back(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        for text in self.restored:
            assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text

    def test_saved_and_loaded_gives_the_same_ids(self, kind: str, folder: Path, tmp_path: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        tokenizer.save_pretrained(tmp_path)
        again = type(tokenizer).from_pretrained(tmp_path)
        assert again(list(self.texts)) == tokenizer(list(self.texts))
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.special_tokens_map == tokenizer.special_tokens_map
        assert again.padding_side == tokenizer.padding_side

    def test_a_pair_is_two_texts_in_one(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        one, two = self.texts[0], self.texts[1]
        pair = tokenizer(one, two, return_token_type_ids=True)
        added = tokenizer.num_special_tokens_to_add(pair=True)
        alone = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (one, two)]
        assert len(pair["input_ids"]) == len(alone[0]) + len(alone[1]) + added
        assert len(pair["token_type_ids"]) == len(pair["attention_mask"]) == len(pair["input_ids"])
        both = tokenizer([one, two], [two, one])
        assert both["input_ids"][0] == pair["input_ids"]

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_padding_fills_a_batch(self, kind: str, folder: Path, side: str) -> None:
        tokenizer = self.tokenizer(kind, folder)
        if tokenizer.pad_token is None:
            with refused(TokenizerError, "pad_token", "padding takes a token to pad with"):
                tokenizer(list(self.texts), padding=True)
            tokenizer.add_special_tokens({"pad_token": self.padding_token(tokenizer)})
        plain = tokenizer(list(self.texts))["input_ids"]
        width = max(len(row) for row in plain)
        filled = tokenizer(list(self.texts), padding=True, padding_side=side)
        for row, mask, alone in zip(filled["input_ids"], filled["attention_mask"], plain, strict=True):
            count = width - len(alone)
            padding, ones = [tokenizer.pad_token_id] * count, [1] * len(alone)
            assert row == (alone + padding if side == "right" else padding + alone), f"padded on the {side}"
            assert mask == (ones + [0] * count if side == "right" else [0] * count + ones), "the mask is 0 at padding alone"
        longer = tokenizer(list(self.texts), padding="max_length", max_length=width + 3, pad_to_multiple_of=4)
        assert {len(row) for row in longer["input_ids"]} == {-(-(width + 3) // 4) * 4}
        tensors = tokenizer(list(self.texts), padding=True, padding_side=side, return_tensors="pt")
        assert tensors["input_ids"].tolist() == filled["input_ids"]
        assert tokenizer.pad({"input_ids": plain}, padding_side=side)["input_ids"] == filled["input_ids"]

    def padding_token(self, tokenizer: Any) -> str:
        """What stands for padding in a family that has no token of its own for it: the last of its vocabulary."""
        return str(tokenizer.convert_ids_to_tokens(len(tokenizer) - 1))

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_truncation_cuts_from_its_side(self, kind: str, folder: Path, side: str) -> None:
        tokenizer = self.tokenizer(kind, folder, truncation_side=side)
        text = max(self.texts, key=len)
        special = tokenizer.num_special_tokens_to_add()
        plain = tokenizer(text, add_special_tokens=False)["input_ids"]
        for length in (special + 1, special + 3):
            cut = tokenizer(text, truncation=True, max_length=length)
            assert len(cut["input_ids"]) == len(cut["attention_mask"]) == length
            bare = tokenizer(text, truncation=True, max_length=length - special, add_special_tokens=False)["input_ids"]
            kept = length - special
            assert bare == (plain[:kept] if side == "right" else plain[-kept:]), f"cut on the {side}"
        again = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert again == plain, "one call's truncation is in force in the next"

    def test_what_is_cut_off_comes_as_more_rows(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        text = max(self.texts, key=len)
        plain = tokenizer(text, add_special_tokens=False)["input_ids"]
        length, stride = 4, 1
        options = {"truncation": True, "max_length": length, "stride": stride, "add_special_tokens": False}
        parts = tokenizer([self.texts[0], text], return_overflowing_tokens=True, **options)
        rows = [row for row, of in zip(parts["input_ids"], parts["overflow_to_sample_mapping"], strict=True) if of == 1]
        assert all(len(row) <= length for row in rows)
        assert all(first[-stride:] == second[:stride] for first, second in itertools.pairwise(rows)), (
            "parts overlap by `stride`"
        )
        together = rows[0] + [index for row in rows[1:] for index in row[stride:]]
        assert together == plain, "the parts are not the text"

    def test_offsets_say_where_tokens_stand(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        for text in self.texts:
            found = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
            last = 0
            for (start, end), special in zip(found["offset_mapping"], found["special_tokens_mask"], strict=True):
                assert 0 <= start <= end <= len(text), f"({start}, {end}) lies outside {text!r}"
                if special:
                    assert start == end, f"a special token stands for a part of {text!r}"
                else:
                    assert end >= last, f"offsets go back in {text!r}"
                    last = end

    def test_special_tokens_are_marked_and_left_out(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        for text in self.texts:
            found = tokenizer(text, return_special_tokens_mask=True)
            bare = tokenizer(text, add_special_tokens=False)["input_ids"]
            kept = [index for index, mark in zip(found["input_ids"], found["special_tokens_mask"], strict=True) if not mark]
            assert kept == bare, f"of {text!r}"
            assert sum(found["special_tokens_mask"]) == tokenizer.num_special_tokens_to_add()
        for token, index in zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True):
            assert tokenizer.convert_tokens_to_ids(token) == index
            assert tokenizer(token, add_special_tokens=False)["input_ids"] == [index], f"`{token}` in a text is cut up"

    def test_tokens_and_ids_name_each_other(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        vocabulary = tokenizer.get_vocab()
        assert len(tokenizer) == len(vocabulary)
        for token, index in list(vocabulary.items())[:200]:
            assert tokenizer.convert_ids_to_tokens(index) == token
            assert tokenizer.convert_tokens_to_ids(token) == index
        for text in self.texts:
            encoded = tokenizer(text)
            assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == encoded.tokens()

    def test_new_tokens_are_found_saved_and_loaded(self, kind: str, folder: Path, tmp_path: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        size = len(tokenizer)
        assert tokenizer.add_tokens(["<a-new-token>"]) == 1
        assert len(tokenizer) == size + 1
        ids = tokenizer("hello<a-new-token>world", add_special_tokens=False)["input_ids"]
        assert size in ids
        tokenizer.save_pretrained(tmp_path / "saved")
        again = type(tokenizer).from_pretrained(tmp_path / "saved")
        assert again("hello<a-new-token>world", add_special_tokens=False)["input_ids"] == ids

    def test_copies_and_pickles_give_the_same(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        expected = tokenizer(list(self.texts))
        for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
            assert other(list(self.texts)) == expected
            other.add_tokens(["<a-new-token>"])
        assert len(tokenizer) == len(self.tokenizer(kind, folder)), "a copy shares its vocabulary"

    def test_what_is_no_text_is_refused(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        for wrong in (None, 3, ["a", None], {"text": "a"}):
            with refused(TokenizerError, ".", "a text is a string, or a list of strings"):
                tokenizer(wrong)
        with refused(TokenizerError, "-1", "ids are whole numbers from 0 up"):
            tokenizer.decode([-1])
        with refused(UnknownArgumentError, "max_lenght.*Did you mean.*max_length", "refuse keywords that nobody takes"):
            tokenizer("a", max_lenght=3)

    def test_missing_files_are_named(self, kind: str, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        with refused(TranseptError, "empty", "say which file is missing, and where it was looked for"):
            self.tokenizer(kind, empty)

    def test_slow_equals_fast(self, folder: Path) -> None:
        if self.slow is None or self.fast is None:
            pytest.skip("there is one kind alone")
        slow, fast = self.tokenizer("slow", folder), self.tokenizer("fast", folder)
        for text in self.texts:
            assert slow(text)["input_ids"] == fast(text)["input_ids"], f"of {text!r}"
        assert slow(list(self.texts), list(reversed(self.texts))) == fast(list(self.texts), list(reversed(self.texts)))

    def test_ids_are_the_peers(self, kind: str, folder: Path) -> None:
        theirs = peer_class(self, str(self.peer)).from_pretrained(folder, **self.settings)
        ours = self.tokenizer(kind, folder)
        for text in self.texts:
            assert ours(text)["input_ids"] == theirs(text)["input_ids"], f"of {text!r}"

    def test_threads_share_one(self, kind: str, folder: Path) -> None:
        tokenizer = self.tokenizer(kind, folder)
        expected = [tokenizer(text)["input_ids"] for text in self.texts]

        def encode(turn: int) -> list[Any]:
            limits: dict[str, Any] = {"truncation": True, "max_length": 4} if turn % 2 else {}
            found = [tokenizer(text, **limits)["input_ids"] for text in self.texts]
            return expected if turn % 2 else found

        with ThreadPoolExecutor(4) as pool:
            assert all(found == expected for found in pool.map(encode, range(16)))
