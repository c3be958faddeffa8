"""What the base class gives to every backend."""

import copy
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from transept_tokenizers.tokenization import AddedToken, BatchEncoding

from transept.errors import SaveError, TokenizerError, UnknownArgumentError


def test_importing_brings_no_backend() -> None:
    code = (
        "import sys, transept_tokenizers.tokenization\n"
        "print([name for name in ('torch', 'numpy', 'tokenizers', 'jinja2', 'pydantic') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_rows_and_fields(tokenizer: Any) -> None:
    encoded = tokenizer("abc")
    assert dict(encoded) == {"input_ids": [0, 2, 3, 4, 1], "attention_mask": [1] * 5}
    encoded = tokenizer(["abc", "a"], padding=True, padding_side="left", return_length=True, return_special_tokens_mask=True)
    assert encoded["input_ids"] == [[0, 2, 3, 4, 1], [10, 10, 0, 2, 1]]
    assert encoded["attention_mask"] == [[1] * 5, [0, 0, 1, 1, 1]]
    assert encoded["special_tokens_mask"] == [[1, 0, 0, 0, 1], [1, 1, 1, 0, 1]]
    assert encoded["length"] == [5, 5]
    assert encoded.tokens(1) == [" ", " ", "<", "a", ">"]
    pair = tokenizer("a", "b", return_token_type_ids=True, return_attention_mask=False)
    assert dict(pair) == {"input_ids": [0, 2, 1, 0, 3, 1], "token_type_ids": [0, 0, 0, 0, 1, 0]}
    parts = tokenizer(["abcdef", "a"], truncation=True, max_length=4, return_overflowing_tokens=True)
    assert parts["input_ids"] == [[0, 2, 3, 4], [5, 6, 7, 1], [0, 2, 1]]
    assert parts["overflow_to_sample_mapping"] == [0, 0, 1]
    tensors = tokenizer(["abc", "a"], padding="max_length", max_length=6, return_tensors="pt")
    assert tensors["input_ids"].shape == (2, 6)
    assert tensors["input_ids"].dtype == torch.int64
    assert tokenizer("a", return_tensors="np")["input_ids"].shape == (1, 3)
    assert tokenizer.encode("a", return_tensors="pt").tolist() == [[0, 2, 1]]


def test_targets_are_labels(tokenizer: Any) -> None:
    both = tokenizer(["ab"], text_target=["cdefg"], truncation=True, max_length=6, max_target_length=4)
    assert both["input_ids"] == [[0, 2, 3, 1]]
    assert both["labels"] == [[0, 4, 5, 6]]
    assert tokenizer(text_target="a")["input_ids"] == [0, 2, 1]


def test_pad_fills_what_it_knows_and_passes_the_rest(tokenizer: Any) -> None:
    rows = [{"input_ids": [2, 3], "labels": 1}, {"input_ids": [4], "labels": 0}]
    padded = tokenizer.pad(rows, pad_to_multiple_of=4, return_tensors="pt")
    assert padded["input_ids"].tolist() == [[2, 3, 10, 10], [4, 10, 10, 10]]
    assert padded["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert padded["labels"].tolist() == [1, 0]
    assert rows == [{"input_ids": [2, 3], "labels": 1}, {"input_ids": [4], "labels": 0}]
    single = tokenizer.pad({"input_ids": [2]}, padding="max_length", max_length=3)
    assert dict(single) == {"input_ids": [2, 10, 10], "attention_mask": [1, 0, 0]}
    again = tokenizer.pad([{"input_ids": torch.tensor([2, 3])}, {"input_ids": torch.tensor([4])}])
    assert torch.equal(again["input_ids"], torch.tensor([[2, 3], [4, 10]]))
    for wrong, words in (
        ({"labels": [1]}, "no `input_ids`"),
        ([3], "list of mappings"),
        ({"input_ids": [[1], [2]], "attention_mask": [[1]]}, "rows"),
    ):
        with pytest.raises(TokenizerError, match=words):
            tokenizer.pad(wrong)


def test_padding_needs_a_token(make: Any) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.pad_token = tokenizer\.eos_token"):
        make()("a", padding=True)
    absent = make(pad_token="<pad>")
    with pytest.raises(TokenizerError, match="not in the vocabulary"):
        absent("a", padding=True)
    assert absent.add_special_tokens({"pad_token": "<pad>"}) == 1
    assert absent(["a", "ab"], padding=True)["input_ids"][0][-1] == absent.pad_token_id == 11


def test_what_has_no_effect_is_said(make: Any, tokenizer: Any) -> None:
    endless = make(pad_token=" ")
    for options in (
        {"truncation": True},
        {"padding": "max_length"},
        {"padding": True, "max_length": 3},
        {"truncation": False, "max_length": 3},
    ):
        with pytest.warns(UserWarning, match="changes nothing"):
            endless("abc", **options)
    with pytest.warns(UserWarning, match="15 tokens and the model takes 12"):
        tokenizer("a" * 13)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer("a" * 13)
    assert len(tokenizer("a" * 30, truncation=True)["input_ids"]) == 12


def test_special_tokens_by_name(make: Any) -> None:
    ours = make(bos_token="a", eos_token=AddedToken("b", lstrip=True), extra_special_tokens={"image_token": "c"}, boi_token="d")
    assert (ours.bos_token, ours.bos_token_id, ours.sep_token, ours.sep_token_id) == ("a", 2, None, None)
    assert (ours.image_token, ours.image_token_id, ours.boi_token_id) == ("c", 4, 5)
    assert ours.special_tokens_map == {"bos_token": "a", "eos_token": "b", "boi_token": "d", "image_token": "c"}
    ours.image_token = "e"
    ours.bos_token_id = 7
    ours.additional_special_tokens = ["g", "g", "a"]
    assert (ours.image_token_id, ours.bos_token) == (6, "f")
    assert ours.all_special_tokens == ["f", "b", "d", "e", "g", "a"]
    assert ours.all_special_ids == [7, 3, 5, 6, 8, 2]
    assert ours.extra_special_tokens_ids == ours.additional_special_tokens_ids == [8, 8, 2]
    ours.unk_token = "h"
    assert ours.convert_tokens_to_ids(["a", "nothing"]) == [2, 9]
    assert ours.convert_ids_to_tokens([2, 99]) == ["a", None]
    assert ours.convert_ids_to_tokens(torch.tensor([2, 8, 4]), skip_special_tokens=True) == ["c"]
    assert not hasattr(ours, "nothing_at_all")
    with pytest.raises(AttributeError, match="`eos_token`"):
        _ = ours.eos_tokn
    with pytest.raises(TokenizerError, match="`pad_token`"):
        ours.add_special_tokens({"pad_tokn": "x"})
    for name, value in (("eos_token", 3), ("extra_special_tokens", "x"), ("bos_token_id", 999)):
        with pytest.raises(TokenizerError, match=name):
            setattr(ours, name, value)


def test_tokens_are_added_once(tokenizer: Any) -> None:
    assert tokenizer.add_tokens(["xx", "a", AddedToken("yy")]) == 2
    assert tokenizer.add_tokens("xx") == 0
    assert tokenizer.add_tokens([]) == 0
    assert (len(tokenizer), tokenizer.vocab_size) == (13, 11)
    assert tokenizer.get_added_vocab() == {"xx": 11, "yy": 12}
    assert tokenizer.add_special_tokens({"extra_special_tokens": ["zz"]}) == 1
    tokenizer.add_special_tokens({"extra_special_tokens": ["zz", "ww"]}, replace_extra_special_tokens=False)
    assert tokenizer.extra_special_tokens == ["zz", "ww"]
    assert bool(tokenizer) is True


def test_decode_takes_any_shape(tokenizer: Any) -> None:
    for ids in ([0, 2, 3, 1], torch.tensor([0, 2, 3, 1]), {"input_ids": [0, 2, 3, 1]}, (0, 2, 3, 1)):
        assert tokenizer.decode(ids) == "<ab>"
        assert tokenizer.decode(ids, skip_special_tokens=True) == "ab"
    assert tokenizer.decode(2) == "a"
    assert tokenizer.decode(torch.tensor(2)) == "a"
    assert tokenizer.decode(torch.tensor([[2], [3]])) == tokenizer.batch_decode([[2], [3]]) == ["a", "b"]
    assert tokenizer.batch_decode(torch.tensor([[2, 3]])) == ["ab"]
    assert tokenizer.batch_decode([torch.tensor([2]), torch.tensor([3, 4])]) == ["a", "bc"]
    assert tokenizer.clean_up_tokenization("it 's . do n't , ok ?") == "it's. don't, ok?"


def test_keywords(make: Any, tokenizer: Any) -> None:
    for call, words in (
        (lambda: make(pading_side="left"), "`padding_side`"),
        (lambda: tokenizer("a", trunction=True), "`truncation`"),
        (lambda: tokenizer.encode("a", add_special_token=False), "`add_special_tokens`"),
    ):
        with pytest.raises(UnknownArgumentError, match=words):
            call()


def test_files(make: Any, tmp_path: Path) -> None:
    ours = make(eos_token=">", model_max_length=9, padding_side="left", other_settings={"kept": [1]}, image_token="a")
    ours.chat_template = {"default": "D", "rag": "R"}
    ours.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "CharacterTokenizer"
    again = make.from_pretrained(tmp_path, bos_token="<")
    assert (again.eos_token, again.bos_token, again.image_token) == (">", "<", "a")
    assert (again.model_max_length, again.padding_side, again.chat_template) == (9, "left", {"default": "D", "rag": "R"})
    assert again.other_settings == {"kept": [1]}
    assert again.name_or_path == str(tmp_path)
    for other in (copy.deepcopy(again), pickle.loads(pickle.dumps(again))):
        assert other.special_tokens_map == again.special_tokens_map
    (tmp_path / "file").write_text("")
    with pytest.raises(TokenizerError, match="give a folder"):
        ours.save_pretrained(tmp_path / "file")


def test_a_failing_disk_leaves_the_old_files(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = make(eos_token=">", chat_template="old")
    ours.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ours.eos_token, ours.chat_template = "a", "new"

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SaveError, match="No space left"):
        ours.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class TestBatchEncoding:
    def test_is_a_mapping(self) -> None:
        encoded = BatchEncoding({"input_ids": [[1, 2]], "attention_mask": [[1, 1]]})

        def forward(input_ids: Any, attention_mask: Any) -> Any:
            return input_ids, attention_mask

        assert forward(**encoded) == ([[1, 2]], [[1, 1]])
        assert encoded.input_ids is encoded["input_ids"]
        assert list(encoded) == ["input_ids", "attention_mask"]
        assert encoded[0:1] == {"input_ids": [[1, 2]], "attention_mask": [[1, 1]]}
        assert "labels" not in encoded
        encoded["labels"] = [3]
        assert encoded.labels == [3]
        assert type(encoded)(dict(encoded)) == encoded
        with pytest.raises(KeyError, match="slice"):
            encoded[0]
        with pytest.raises(AttributeError, match="`input_ids`"):
            _ = encoded.input_id
        with pytest.raises(TokenizerError, match="no encodings"):
            encoded.word_ids(0)
        assert (encoded.is_fast, encoded.n_sequences, encoded.encodings) == (False, None, None)

    def test_moves_tensors_and_no_dtypes(self) -> None:
        encoded = BatchEncoding({"input_ids": [1], "name": "x"}).convert_to_tensors(None)
        encoded = BatchEncoding({"input_ids": [1]}, tensor_type="pt", prepend_batch_axis=True)
        encoded["name"] = "x"
        moved = encoded.to("meta")
        assert moved is encoded
        assert moved["input_ids"].device.type == "meta"
        assert moved["input_ids"].shape == (1, 1)
        with pytest.raises(TokenizerError, match="ids stay integers"):
            encoded.to(torch.float16)

    def test_says_which_rows_are_ragged(self) -> None:
        for kind in ("pt", "np"):
            with pytest.raises(TokenizerError, match="`labels`: its rows have 1 to 3 entries"):
                BatchEncoding({"input_ids": [[1], [2]], "labels": [[1], [1, 2, 3]]}, tensor_type=kind)
        assert BatchEncoding({"input_ids": [[]]}, tensor_type="pt")["input_ids"].dtype == torch.int64

    def test_knows_words_and_characters(self, tokenizer: Any) -> None:
        encoded = tokenizer(["abc", "de"])
        assert encoded[0].ids == [0, 2, 3, 4, 1]
        assert encoded[1:][0].ids == [0, 5, 6, 1]
        assert encoded.char_to_token(1, 1) == encoded[1].char_to_token(1) == 2
        assert encoded.token_to_chars(1) == (0, 1)
        assert encoded.token_to_chars(1, -2) == (1, 2)
        assert encoded.token_to_chars(0) is None
        assert encoded.sequence_ids(1) == [None, 0, 0, None]
        again = pickle.loads(pickle.dumps(encoded))
        assert again == encoded
        assert again.word_ids(1) == encoded.word_ids(1) == [None, 0, 1, None]
