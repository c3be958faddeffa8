"""ALBERT's tokenizers, slow and fast, give the peer's ids from `spiece.model`, and take the peer's files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transept_albert.tokenization import AlbertTokenizer, AlbertTokenizerFast
from transept_testing import TokenizerConformance
from transept_testing.mixed_scripts import SENTENCES, mixed_lines, source_lines
from transept_testing.tokenizer_kinds import check_added_tokens, check_encodings, check_lengths, check_ways_back
from transept_tokenizers.aligned_text import AlignedText

from transept import AutoTokenizer
from transept.errors import CorruptFileError, TokenizerError

KINDS = (AlbertTokenizer, AlbertTokenizerFast)
NASTY = (
    "",
    " ",
    "  a  b  ",
    "``quoted'' ''''x ```` it''s",
    "a\r\nb\tc\u2028d\u00a0e\u3000f",
    "É é e\u0301 \u0301x q\u0307\u0323 \u1e69\u0323 ① ㌔ ½ ﬁ Å ｶﾞ ﾊﾟ İI ΑΣ ẞß",
    "\x01ab \x07c\x00d \u200bx\u200dy \ufeffz",
    "▁▁a▁b▁ c▁ ▁",
    "[CLS] a[SEP]b [MASK] <pad><unk>",
    "각 각 กำ नि 👩‍👩‍👧‍👦 🇫🇷🇺🇦 1️⃣ ©\ufe0f 1,000 2021, x",
)


def train(folder: Path, **options: Any) -> Path:
    """A SentencePiece Unigram model of a mixed corpus, with ALBERT's pieces and rules."""
    sentencepiece = pytest.importorskip("sentencepiece")
    settings = {
        "model_type": "unigram",
        "vocab_size": 1500,
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": 2,
        "eos_id": 3,
        "bos_piece": "[CLS]",
        "eos_piece": "[SEP]",
        "control_symbols": ["[MASK]"],
        "character_coverage": 0.98,
        "required_chars": "".join(sorted({*"".join(TokenizerConformance.texts).lower()} - {*" \t\n"})),
        "hard_vocab_limit": False,
        "minloglevel": 2,
        **options,
    }
    lines = [*SENTENCES * 20, *source_lines(600), *mixed_lines(100, seed=5)]
    text = [line.lower().replace("\n", " ").replace("\0", "") for line in lines]
    with open(folder / "spiece.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(text), model_writer=file, **settings)
    return folder


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spiece.model and nothing else."""
    return train(tmp_path_factory.mktemp("vocabulary"))


@pytest.fixture(scope="module")
def transformers() -> Any:
    pytest.importorskip("google.protobuf")
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module", autouse=True)
def trained(vocabulary: Path) -> None:
    TestAlbertTokenizers.trained = vocabulary


class TestAlbertTokenizers(TokenizerConformance):
    slow = AlbertTokenizer
    fast = AlbertTokenizerFast
    peer = "AlbertTokenizer"
    trained: Path

    def write_files(self, folder: Path) -> None:
        shutil.copy(self.trained / "spiece.model", folder)


@pytest.mark.slow
def test_ten_thousand_lines_of_mixed_scripts(vocabulary: Path, transformers: Any) -> None:
    slow, fast = (kind.from_pretrained(vocabulary) for kind in KINDS)
    lines = mixed_lines(10_000) + source_lines(2_000)
    check_encodings(slow, fast, lines, transformers.AlbertTokenizer.from_pretrained(vocabulary))


@pytest.mark.slow
def test_every_character_is_read_alike(vocabulary: Path) -> None:
    """Each character after a letter with two marks, in the library's form and order of marks."""
    slow, fast = (kind.from_pretrained(vocabulary, do_lower_case=False) for kind in KINDS)
    normalize = fast.backend_tokenizer.normalizer.normalize_str
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 64):
        line = "".join(f"a\u0301{each}\u0334 " for each in characters[start : start + 64])
        assert slow._normalize(AlignedText.of(line)).text == normalize(line), ascii(line)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keep_accents": True},
        {"do_lower_case": False},
        {"do_lower_case": False, "keep_accents": True},
        {"add_prefix_space": False},
    ],
    ids=str,
)
def test_settings(vocabulary: Path, transformers: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    lines = [*NASTY, *SENTENCES, *mixed_lines(300, seed=2)]
    slow, fast = (kind.from_pretrained(vocabulary, **settings) for kind in KINDS)
    theirs = transformers.AlbertTokenizer.from_pretrained(vocabulary, **settings)
    check_encodings(slow, fast, lines, theirs)
    for tokenizer in (slow, fast, theirs):
        folder = tmp_path / f"{type(tokenizer).__module__}-{type(tokenizer).__name__}"
        tokenizer.save_pretrained(folder)
        for again in (*(kind.from_pretrained(folder) for kind in KINDS), transformers.AutoTokenizer.from_pretrained(folder)):
            assert again(lines)["input_ids"] == slow(lines)["input_ids"], (folder.name, type(again))
    # a checkpoint's tokenizer.json may be told to read otherwise
    folder = tmp_path / "transept_albert.tokenization-AlbertTokenizerFast"
    opened = AlbertTokenizerFast.from_pretrained(folder, do_lower_case=False)
    assert opened.do_lower_case is False
    assert opened.keep_accents is settings.get("keep_accents", False)
    expected = AlbertTokenizer.from_pretrained(vocabulary, **{**settings, "do_lower_case": False})
    assert opened(lines)["input_ids"] == expected(lines)["input_ids"]


@pytest.mark.parametrize("rules", ["nmt_nfkc", "identity"])
def test_normalization_rules(rules: str, transformers: Any, tmp_path: Path) -> None:
    folder = train(tmp_path, vocab_size=1100, normalization_rule_name=rules)
    slow, fast = (kind.from_pretrained(folder, keep_accents=True) for kind in KINDS)
    theirs = transformers.AlbertTokenizer.from_pretrained(folder, keep_accents=True)
    check_encodings(slow, fast, [*NASTY, *mixed_lines(500, seed=3)], theirs)


def test_a_text_and_a_pair_have_their_frames(vocabulary: Path) -> None:
    for tokenizer in (kind.from_pretrained(vocabulary) for kind in KINDS):
        pair = tokenizer("a", "b", return_token_type_ids=True)
        assert tokenizer.decode(pair["input_ids"]) == "[CLS] a[SEP] b[SEP]"
        first = tokenizer("a")["input_ids"]
        assert pair["input_ids"][: len(first)] == first
        assert pair["token_type_ids"] == [0] * len(first) + [1] * (len(pair["input_ids"]) - len(first))
        assert list(tokenizer("a")) == ["input_ids", "attention_mask"]
        assert tokenizer.decode(tokenizer("A  b")["input_ids"], skip_special_tokens=True) == "a b"
        with pytest.raises(TokenizerError, match="cls_token"):
            type(tokenizer).from_pretrained(vocabulary, cls_token=None)("a")


def test_an_older_tokenizer_json(vocabulary: Path, tmp_path: Path) -> None:
    """As published checkpoints have it: a prefix under its older name, spaces joined, scores of its own."""
    AlbertTokenizerFast.from_pretrained(vocabulary).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["normalizer"]["normalizers"].append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    value["pre_tokenizer"]["pretokenizers"][1] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    value["model"]["vocab"] = [[piece, score - 100 if len(piece) > 2 else score] for piece, score in value["model"]["vocab"]]
    path.write_text(json.dumps(value), encoding="utf-8")
    slow, fast = (kind.from_pretrained(tmp_path) for kind in KINDS)
    check_encodings(slow, fast, [*NASTY, *SENTENCES])
    assert slow.tokenize(SENTENCES[0]) != AlbertTokenizer.from_pretrained(vocabulary).tokenize(SENTENCES[0])
    slow.save_pretrained(tmp_path / "again")
    assert AlbertTokenizerFast.from_pretrained(tmp_path / "again")(list(SENTENCES)) == slow(list(SENTENCES))
    value["normalizer"]["normalizers"].pop(0)
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(TokenizerError, match="fast tokenizer"):
        AlbertTokenizer.from_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match="leave them out"):
        AlbertTokenizerFast.from_pretrained(tmp_path, keep_accents=True)


def test_lengths_words_and_added_tokens(vocabulary: Path) -> None:
    slow, fast = (kind.from_pretrained(vocabulary) for kind in KINDS)
    check_lengths(slow, fast)
    check_ways_back(slow, fast)
    check_added_tokens(slow, fast)


def test_the_auto_class_gives_the_kind_that_is_asked_for(vocabulary: Path, tmp_path: Path) -> None:
    shutil.copy(vocabulary / "spiece.model", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "albert"}))
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is AlbertTokenizerFast
    assert type(AutoTokenizer.from_pretrained(tmp_path, use_fast=False)) is AlbertTokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_missing_or_damaged(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"`spiece\.model`"):
        kind.from_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match=f"`{kind.__name__}` is made of a `vocab_file`"):
        kind()
    (tmp_path / "spiece.model").write_bytes(b"\xff\xff\xff")
    with pytest.raises((CorruptFileError, TokenizerError)):
        kind.from_pretrained(tmp_path)
