"""`TokenizerConformance`: texts to ids and back, and the same ids from every way to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from transept.discovery import load_object

from .peer import peer_class
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
