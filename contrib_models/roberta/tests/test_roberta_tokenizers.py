"""RoBERTa's tokenizers, slow and fast, give the peer's ids from `vocab.json` and `merges.txt`, and take the peer's files."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transept_roberta.tokenization import RobertaTokenizer, RobertaTokenizerFast
from transept_testing import TokenizerConformance
from transept_testing.mixed_scripts import SENTENCES, mixed_lines, source_lines
from transept_testing.tokenizer_kinds import check_added_tokens, check_encodings, check_lengths, check_ways_back

from transept import AutoTokenizer
from transept.errors import TokenizerError

KINDS = (RobertaTokenizer, RobertaTokenizerFast)
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with vocab.json and merges.txt, learned from lines of many scripts, in RoBERTa's order."""
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("vocabulary")
    learner = tokenizers.ByteLevelBPETokenizer()
    lines = [*SENTENCES * 20, *source_lines(400), *mixed_lines(100, seed=5)]
    learner.train_from_iterator(lines, vocab_size=1500, special_tokens=SPECIAL, show_progress=False)
    learner.save_model(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocab["<mask>"] = len(vocab)
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def learned(vocabulary: Path) -> None:
    TestRobertaTokenizers.learned = vocabulary


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


class TestRobertaTokenizers(TokenizerConformance):
    slow = RobertaTokenizer
    fast = RobertaTokenizerFast
    peer = "RobertaTokenizer"
    restored: ClassVar[Any] = ("hello world", "  two\tspaces \n and 你好 🙂 naïve ")
    learned: Path

    def write_files(self, folder: Path) -> None:
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(self.learned / name, folder)


@pytest.mark.slow
def test_ten_thousand_lines_of_mixed_scripts(vocabulary: Path, transformers: Any) -> None:
    slow, fast = (kind.from_pretrained(vocabulary) for kind in KINDS)
    lines = mixed_lines(10_000) + source_lines(2_000)
    check_encodings(slow, fast, lines, transformers.RobertaTokenizer.from_pretrained(vocabulary))


@pytest.mark.parametrize(
    "settings",
    [{}, {"add_prefix_space": True}, {"trim_offsets": False}, {"add_prefix_space": True, "trim_offsets": False}],
    ids=str,
)
def test_settings(vocabulary: Path, transformers: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    lines = [*SENTENCES, "  two  spaces ", "a <mask> b<mask>", "</s> x", *mixed_lines(300, seed=2)]
    slow, fast = (kind.from_pretrained(vocabulary, **settings) for kind in KINDS)
    theirs = transformers.RobertaTokenizer.from_pretrained(vocabulary, **settings)
    check_encodings(slow, fast, lines, theirs)
    offsets = theirs(lines, return_offsets_mapping=True)["offset_mapping"]
    assert slow(lines, return_offsets_mapping=True)["offset_mapping"] == offsets
    # what was saved has the settings, whoever saved it, and whoever opens it
    for tokenizer in (slow, fast, theirs):
        folder = tmp_path / f"{type(tokenizer).__module__}-{type(tokenizer).__name__}"
        tokenizer.save_pretrained(folder)
        for again in (*(kind.from_pretrained(folder) for kind in KINDS), transformers.AutoTokenizer.from_pretrained(folder)):
            found = again(lines, return_offsets_mapping=True)
            assert found["input_ids"] == slow(lines)["input_ids"]
            if settings.get("trim_offsets") is not False or tokenizer is not slow:
                assert found["offset_mapping"] == offsets


def test_a_text_and_a_pair_have_their_frames(vocabulary: Path) -> None:
    for tokenizer in (kind.from_pretrained(vocabulary) for kind in KINDS):
        assert tokenizer("a")["input_ids"] == [0, tokenizer.convert_tokens_to_ids("a"), 2]
        pair = tokenizer("a", "b", return_token_type_ids=True)
        assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == ["<s>", "a", "</s>", "</s>", "b", "</s>"]
        assert pair["token_type_ids"] == [0] * 6
        assert list(tokenizer("a")) == ["input_ids", "attention_mask"]
        assert tokenizer.decode(tokenizer("a <mask>")["input_ids"]) == "<s>a <mask></s>"
        with pytest.raises(TokenizerError, match="cls_token"):
            type(tokenizer).from_pretrained(vocabulary, cls_token=None)("a")


def test_a_mask_that_takes_the_space_before_it(vocabulary: Path, transformers: Any, tmp_path: Path) -> None:
    """As published checkpoints have it."""
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(vocabulary / name, tmp_path)
    mask = {"content": "<mask>", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    index = json.loads((vocabulary / "vocab.json").read_text(encoding="utf-8"))["<mask>"]
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "RobertaTokenizer", "added_tokens_decoder": {str(index): mask}, "mask_token": "<mask>"})
    )
    theirs = transformers.RobertaTokenizer.from_pretrained(tmp_path)
    slow, fast = (kind.from_pretrained(tmp_path) for kind in KINDS)
    check_encodings(slow, fast, ["Paris is the  <mask> of France.", "<mask>", " <mask> <mask>x"], theirs)
    ids = slow("a <mask> b", add_special_tokens=False)["input_ids"]
    assert slow.convert_ids_to_tokens(ids) == ["a", "<mask>", "Ġb"]


def test_lengths_words_and_added_tokens(vocabulary: Path) -> None:
    slow, fast = (kind.from_pretrained(vocabulary) for kind in KINDS)
    check_lengths(slow, fast, pairs_have_types=False)
    # parts that a prefixed text was cut into begin, for the library, with the space before their first words; not here
    slow, fast = (kind.from_pretrained(vocabulary, add_prefix_space=True) for kind in KINDS)
    check_ways_back(slow, fast)
    check_added_tokens(slow, fast)


def test_the_auto_class_gives_the_kind_that_is_asked_for(vocabulary: Path, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(vocabulary / name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    assert type(AutoTokenizer.from_pretrained(tmp_path)) is RobertaTokenizerFast
    assert type(AutoTokenizer.from_pretrained(tmp_path, use_fast=False)) is RobertaTokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_missing(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"`vocab\.json`.*`merges\.txt`"):
        kind.from_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match=f"`{kind.__name__}` is made of a `vocab_file`"):
        kind()
