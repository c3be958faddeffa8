"""BART's tokenizers, slow and fast, give the peer's ids from `vocab.json` and `merges.txt`, and take the peer's files."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transept_bart.tokenization import BartTokenizer, BartTokenizerFast
from transept_testing import TokenizerConformance
from transept_testing.mixed_scripts import SENTENCES, mixed_lines
from transept_testing.tokenizer_kinds import check_added_tokens, check_encodings, check_lengths, check_ways_back

from transept import AutoTokenizer
from transept.errors import TokenizerError

KINDS = (BartTokenizer, BartTokenizerFast)


@pytest.fixture
def small(tmp_path: Path, write_small_vocabulary: Any) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    write_small_vocabulary(folder)
    return folder


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


class TestBartTokenizers(TokenizerConformance):
    slow = BartTokenizer
    fast = BartTokenizerFast
    peer = "BartTokenizer"
    restored: ClassVar[Any] = ("hello world", "  two\tspaces \n and 你好 🙂 naïve ")

    @pytest.fixture(autouse=True)
    def _files(self, write_small_vocabulary: Any) -> None:
        self.write = write_small_vocabulary

    def write_files(self, folder: Path) -> None:
        self.write(folder)


@pytest.mark.parametrize("settings", [{}, {"add_prefix_space": True}, {"trim_offsets": False}], ids=str)
def test_settings(small: Path, transformers: Any, settings: dict[str, Any]) -> None:
    slow, fast = (each.from_pretrained(small, **settings) for each in KINDS)
    theirs = transformers.BartTokenizer.from_pretrained(small, **settings)
    lines = [*SENTENCES, "", " ", "  ", " a  b ", "hello <mask> world<mask>.", "</s>a </s> b", *mixed_lines(300, seed=2)]
    check_encodings(slow, fast, lines, theirs)
    check_lengths(slow, fast, pairs_have_types=False)
    check_ways_back(slow, fast)
    check_added_tokens(slow, fast)
    pairs = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    expected = dict(theirs(lines, lines[::-1], **pairs))
    assert {name: [list(row) for row in values] for name, values in fast(lines, lines[::-1], **pairs).items()} == {
        name: [list(row) for row in values] for name, values in expected.items()
    }
    assert slow(lines, lines[::-1], **pairs) == fast(lines, lines[::-1], **pairs)


def test_what_stands_around_texts(small: Path) -> None:
    for kind in KINDS:
        tokenizer = kind.from_pretrained(small)
        one, two = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("hello", " world"))
        assert tokenizer("hello")["input_ids"] == [0, *one, 2]
        both = tokenizer("hello", " world", return_token_type_ids=True)
        assert both["input_ids"] == [0, *one, 2, 2, *two, 2]
        assert not any(both["token_type_ids"])
        assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id) == (1, 3, len(tokenizer) - 1)


def test_a_mask_that_takes_the_space_before_it(small: Path, transformers: Any) -> None:
    """As hub checkpoints have it, in their settings."""
    mask = {"content": "<mask>", "lstrip": True, "normalized": False, "special": True, "__type": "AddedToken"}
    (small / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BartTokenizer", "mask_token": mask}))
    theirs = transformers.BartTokenizer.from_pretrained(small)
    lines = ["hello <mask> world", "<mask>", "a  <mask>b"]
    assert theirs(lines)["input_ids"][0].count(theirs.mask_token_id) == 1
    for kind in KINDS:
        assert kind.from_pretrained(small)(lines)["input_ids"] == theirs(lines)["input_ids"]


def test_what_is_saved_here_opens_in_the_peer_and_the_reverse(small: Path, transformers: Any, tmp_path: Path) -> None:
    lines = [*SENTENCES, "<new>x  <left> y</s> <mask>"]
    for kind in KINDS:
        ours = kind.from_pretrained(small, add_prefix_space=True, model_max_length=1000)
        ours.add_tokens(["<new>"])
        ours.add_special_tokens({"additional_special_tokens": ["<left>"]})
        ours.save_pretrained(tmp_path / kind.__name__)
        theirs = transformers.BartTokenizer.from_pretrained(tmp_path / kind.__name__)
        assert theirs(lines)["input_ids"] == ours(lines)["input_ids"]
        assert (len(theirs), theirs.model_max_length, theirs.pad_token_id) == (len(ours), 1000, ours.pad_token_id)
        theirs.save_pretrained(tmp_path / f"peer-{kind.__name__}")
        for again in KINDS:
            opened = again.from_pretrained(tmp_path / f"peer-{kind.__name__}")
            assert opened(lines)["input_ids"] == ours(lines)["input_ids"]
            assert opened.added_tokens_encoder == ours.added_tokens_encoder
            assert (opened.add_prefix_space, opened.trim_offsets) == (True, True)


def test_a_tokenizer_json_with_another_frame(small: Path, tmp_path: Path) -> None:
    BartTokenizerFast.from_pretrained(small).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    value["post_processor"] = None
    file.write_text(json.dumps(value), encoding="utf-8")
    assert BartTokenizerFast.from_pretrained(tmp_path)("hello")["input_ids"][0] != 0, "the file decides"
    with pytest.raises(TokenizerError, match="trim_offsets"):
        BartTokenizerFast.from_pretrained(tmp_path, trim_offsets=False)
    with pytest.raises(TokenizerError, match="use_fast=False"):
        BartTokenizer.from_pretrained(tmp_path)


def test_a_frame_needs_its_tokens(small: Path) -> None:
    with pytest.raises(TokenizerError, match="cls_token"):
        BartTokenizer.from_pretrained(small, cls_token=None)("hello")
    with pytest.raises(TokenizerError, match="sep_token"):
        BartTokenizerFast.from_pretrained(small, sep_token=None)


def test_the_auto_class_gives_the_kind_that_is_asked_for(small: Path) -> None:
    (small / "config.json").write_text(json.dumps({"model_type": "bart"}))
    assert type(AutoTokenizer.from_pretrained(small)) is BartTokenizerFast
    assert type(AutoTokenizer.from_pretrained(small, use_fast=False)) is BartTokenizer
