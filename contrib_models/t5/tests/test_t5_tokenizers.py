"""T5's tokenizers, slow and fast, give the peer's ids from `spiece.model`, and take the peer's files."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from transept_t5.tokenization import T5Tokenizer, T5TokenizerFast
from transept_testing import TokenizerConformance
from transept_testing.mixed_scripts import SENTENCES, mixed_lines, source_lines
from transept_testing.tokenizer_kinds import check_added_tokens, check_encodings, check_lengths, check_ways_back

from transept import AutoTokenizer
from transept.errors import CorruptFileError, TokenizerError

NASTY = (
    "",
    " ",
    "  a  b  ",
    "a\r\nb\tc\u2028d\u00a0e\u3000f",
    "é e\u0301 \u0301x ① ㌔ ½ ﬁ Å ｶﾞ ﾊﾟ \u0600e\u0301",
    "\x01ab \x07c\x00d \u200bx\u200dy \ufeffz",
    "▁▁a▁b▁ c▁ ▁",
    "<extra_id_0> a<extra_id_99>b <extra_id_100> <pad></s> <unk>",
    "<usr>x <usr> y",
    "你好世界你好 𠜎𠜱",
    "x" * 3000,
    "각 각 กำ नि 👩‍👩‍👧‍👦 🇫🇷🇺🇦 1️⃣ ©\ufe0f",
)


def train(folder: Path, **options: Any) -> Path:
    """A SentencePiece Unigram model of a mixed corpus, with T5's control pieces."""
    sentencepiece = pytest.importorskip("sentencepiece")
    settings = {
        "model_type": "unigram",
        "vocab_size": 1500,
        "pad_id": 0,
        "eos_id": 1,
        "unk_id": 2,
        "bos_id": -1,
        "user_defined_symbols": ["<usr>"],
        "character_coverage": 0.98,
        "required_chars": "".join(sorted({*"".join(TokenizerConformance.texts)} - {*" \t\n"})),
        "hard_vocab_limit": False,
        "minloglevel": 2,
        **options,
    }
    lines = [*SENTENCES * 20, *source_lines(600), *mixed_lines(100, seed=5)]
    text = [line.replace("\n", " ").replace("\0", "") for line in lines]
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
    TestT5Tokenizers.trained = vocabulary


class TestT5Tokenizers(TokenizerConformance):
    slow = T5Tokenizer
    fast = T5TokenizerFast
    peer = "T5Tokenizer"
    trained: Path

    def write_files(self, folder: Path) -> None:
        shutil.copy(self.trained / "spiece.model", folder)


@pytest.mark.slow
def test_ten_thousand_lines_of_mixed_scripts(vocabulary: Path, transformers: Any) -> None:
    slow, fast = T5Tokenizer.from_pretrained(vocabulary), T5TokenizerFast.from_pretrained(vocabulary)
    lines = mixed_lines(10_000) + source_lines(2_000)
    check_encodings(slow, fast, lines, transformers.T5Tokenizer.from_pretrained(vocabulary))


def test_nasty_texts(vocabulary: Path, transformers: Any) -> None:
    slow, fast = T5Tokenizer.from_pretrained(vocabulary), T5TokenizerFast.from_pretrained(vocabulary)
    check_encodings(slow, fast, NASTY, transformers.T5Tokenizer.from_pretrained(vocabulary))


@pytest.mark.parametrize("rules", ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "identity"])
def test_normalization_rules(rules: str, transformers: Any, tmp_path: Path) -> None:
    folder = train(tmp_path, vocab_size=1100, normalization_rule_name=rules)
    slow, fast = T5Tokenizer.from_pretrained(folder), T5TokenizerFast.from_pretrained(folder)
    lines = [*NASTY, *mixed_lines(1_500, seed=3)]
    check_encodings(slow, fast, lines, transformers.T5Tokenizer.from_pretrained(folder))


def test_legacy_false_reads_no_space_after_added_tokens(vocabulary: Path) -> None:
    slow, fast = (each.from_pretrained(vocabulary, legacy=False) for each in (T5Tokenizer, T5TokenizerFast))
    check_encodings(slow, fast, [*NASTY, *mixed_lines(1_000, seed=4)])
    assert slow.tokenize("<extra_id_0>.") == ["<extra_id_0>", "."]
    assert T5Tokenizer.from_pretrained(vocabulary).tokenize("<extra_id_0>.")[1].startswith("▁")


def test_unknown_characters_become_bytes_where_the_model_says_so(tmp_path: Path) -> None:
    folder = train(tmp_path, byte_fallback=True)
    slow, fast = T5Tokenizer.from_pretrained(folder), T5TokenizerFast.from_pretrained(folder)
    assert "<0xE4>" in slow.tokenize("丂")
    check_encodings(slow, fast, [*NASTY, *mixed_lines(1_000, seed=6)])
    ids = slow("丂", add_special_tokens=False)["input_ids"]
    assert slow.decode(ids) == fast.decode(ids) == "丂"
    assert slow.decode(ids[:-1]) == fast.decode(ids[:-1])


def test_lengths_words_and_added_tokens(vocabulary: Path) -> None:
    slow, fast = T5Tokenizer.from_pretrained(vocabulary), T5TokenizerFast.from_pretrained(vocabulary)
    check_lengths(slow, fast, pairs_have_types=False)
    check_ways_back(slow, fast)
    check_added_tokens(slow, fast)


def test_sentinels(vocabulary: Path, transformers: Any, tmp_path: Path) -> None:
    theirs = transformers.T5Tokenizer.from_pretrained(vocabulary)
    for kind in (T5Tokenizer, T5TokenizerFast):
        ours = kind.from_pretrained(vocabulary)
        assert ours.get_sentinel_tokens() == [f"<extra_id_{number}>" for number in range(100)]
        assert ours.get_sentinel_token_ids() == list(range(len(ours) - 1, len(ours) - 101, -1))
        assert ours.get_sentinel_token_ids() == theirs.convert_tokens_to_ids(ours.get_sentinel_tokens())
        assert ours.vocab_size == theirs.vocab_size
        assert ours.decode(ours("a <extra_id_7> b")["input_ids"], skip_special_tokens=True) == "a b"
        assert kind.from_pretrained(vocabulary, extra_ids=0).get_sentinel_tokens() == []
        few = kind.from_pretrained(vocabulary, extra_ids=3)
        assert few.convert_tokens_to_ids("<extra_id_0>") == len(few) - 1
        few.save_pretrained(tmp_path / kind.__name__)
        assert kind.from_pretrained(tmp_path / kind.__name__).get_sentinel_tokens() == few.get_sentinel_tokens()
        also = kind.from_pretrained(vocabulary, additional_special_tokens=["<mine>"])
        assert len(also.get_sentinel_tokens()) == 100
        assert also.convert_tokens_to_ids("<mine>") == len(also) - 1
        with pytest.raises(TokenizerError, match="100 and the special tokens have 1"):
            kind.from_pretrained(vocabulary, additional_special_tokens=["<extra_id_0>"])
        with pytest.raises(TokenizerError, match="extra_ids"):
            kind.from_pretrained(vocabulary, extra_ids=-1)


def test_what_is_saved_here_opens_in_the_peer_and_the_reverse(vocabulary: Path, transformers: Any, tmp_path: Path) -> None:
    lines = [*SENTENCES, *NASTY, "<new>x  <left> y"]
    for kind in (T5Tokenizer, T5TokenizerFast):
        ours = kind.from_pretrained(vocabulary, model_max_length=77)
        ours.add_tokens(["<new>"])
        ours.add_special_tokens({"additional_special_tokens": ["<left>"]}, replace_extra_special_tokens=False)
        ours.save_pretrained(tmp_path / kind.__name__)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / kind.__name__)
        assert type(theirs).__name__ == "T5Tokenizer"
        assert theirs(lines)["input_ids"] == ours(lines)["input_ids"]
        assert (len(theirs), theirs.model_max_length) == (len(ours), 77)
        theirs.save_pretrained(tmp_path / f"peer-{kind.__name__}")
        for again in (T5Tokenizer, T5TokenizerFast):
            opened = again.from_pretrained(tmp_path / f"peer-{kind.__name__}")
            assert opened(lines)["input_ids"] == ours(lines)["input_ids"]
            assert opened.added_tokens_encoder == ours.added_tokens_encoder
            assert opened.get_sentinel_tokens() == ours.get_sentinel_tokens()


def test_spiece_model_is_made_anew_of_a_tokenizer_json(vocabulary: Path, transformers: Any, tmp_path: Path) -> None:
    T5TokenizerFast.from_pretrained(vocabulary).save_pretrained(tmp_path / "fast")
    slow = T5Tokenizer.from_pretrained(tmp_path / "fast")
    slow.save_pretrained(tmp_path / "slow")
    assert not (tmp_path / "slow" / "tokenizer.json").exists()
    theirs = transformers.T5Tokenizer.from_pretrained(tmp_path / "slow")
    lines = [*SENTENCES, *NASTY]
    for again in (T5Tokenizer, T5TokenizerFast):
        assert again.from_pretrained(tmp_path / "slow")(lines)["input_ids"] == slow(lines)["input_ids"]
    assert theirs(lines)["input_ids"] == slow(lines)["input_ids"]
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "slow" / "spiece.model"))
    for text in SENTENCES[:10]:
        assert processor.encode(text) == slow(text, add_special_tokens=False)["input_ids"]


def test_legacy_false_survives_a_save(vocabulary: Path, tmp_path: Path) -> None:
    for kind in (T5Tokenizer, T5TokenizerFast):
        ours = kind.from_pretrained(vocabulary, legacy=False)
        ours.save_pretrained(tmp_path / kind.__name__)
        for again in (T5Tokenizer, T5TokenizerFast):
            opened = again.from_pretrained(tmp_path / kind.__name__)
            assert opened(list(NASTY))["input_ids"] == ours(list(NASTY))["input_ids"]


def test_the_auto_class_gives_the_kind_that_is_asked_for(vocabulary: Path, tmp_path: Path) -> None:
    shutil.copy(vocabulary / "spiece.model", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is T5TokenizerFast
    assert type(AutoTokenizer.from_pretrained(tmp_path, use_fast=False)) is T5Tokenizer


@pytest.mark.parametrize("kind", [T5Tokenizer, T5TokenizerFast])
def test_files_that_are_missing_or_damaged(kind: Any, vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no `spiece\.model`"):
        kind.from_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match="vocab_file"):
        kind()
    with pytest.raises(TokenizerError, match="is not there"):
        kind(tmp_path / "nothing.model")
    whole = (vocabulary / "spiece.model").read_bytes()
    for damaged in (b"", b"\xff" * 40, b"hello", whole[:-5], whole[: len(whole) // 2], b"\x0a\x02\x0a"):
        (tmp_path / "spiece.model").write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=r"spiece\.model|damaged"):
            kind.from_pretrained(tmp_path)
    train(tmp_path, model_type="bpe")
    with pytest.raises(TokenizerError, match="kind bpe"):
        kind.from_pretrained(tmp_path)


def test_no_damage_breaks_the_reader(vocabulary: Path, tmp_path: Path) -> None:
    generator = random.Random(0)
    whole = (vocabulary / "spiece.model").read_bytes()
    path = tmp_path / "spiece.model"
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 40)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            tokenizer = T5Tokenizer(path)
            tokenizer.decode(tokenizer(list(NASTY))["input_ids"][3])
        except (CorruptFileError, TokenizerError):
            refused += 1
    assert refused > 20


def test_ids_that_no_token_has(vocabulary: Path) -> None:
    slow, fast = T5Tokenizer.from_pretrained(vocabulary), T5TokenizerFast.from_pretrained(vocabulary)
    with pytest.raises(TokenizerError, match=r"token_ids\[0\]` is 9999"):
        slow.decode(9999)
    with pytest.warns(UserWarning, match="9999, and no token has that id"):
        assert fast.decode([9999]) == ""
    for tokenizer in (slow, fast):
        with pytest.raises(TokenizerError, match="lone surrogate"):
            tokenizer("a\ud800b")
        with pytest.raises(TokenizerError, match="eos_token"):
            type(tokenizer).from_pretrained(vocabulary, eos_token=None)("a")
