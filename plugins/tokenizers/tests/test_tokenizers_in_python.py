"""The base of tokenizers in plain Python: one that was written for the established library works unchanged."""

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from transept_tokenizers.slow import PreTrainedTokenizer
from transept_tokenizers.tokenization import AddedToken

import transept
from transept.errors import CorruptFileError, TokenizerError, UnknownArgumentError

VOCAB = {
    token: place for place, token in enumerate(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a", "b", "c", "hello", "world", "!", "ab"])
}


def characters(base: Any) -> Any:
    """A tokenizer of characters, as people write one, over either library's base."""

    class CharacterTokenizer(base):
        vocab_files_names = {"vocab_file": "characters.json"}  # noqa: RUF012
        model_input_names = ["input_ids", "token_type_ids", "attention_mask"]  # noqa: RUF012

        def __init__(self, vocab_file: Any = None, **kwargs: Any) -> None:
            self.vocab = dict(VOCAB) if vocab_file is None else json.loads(Path(vocab_file).read_text())
            self.ids_to_tokens = {place: token for token, place in self.vocab.items()}
            settings = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
            super().__init__(**{**settings, **kwargs})

        @property
        def vocab_size(self) -> int:
            return len(self.ids_to_tokens)

        def get_vocab(self) -> dict[str, int]:
            return {**{token: place for place, token in self.ids_to_tokens.items()}, **self.added_tokens_encoder}

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return [each for word in text.split() for each in ([word] if word in self.vocab else word)]

        def _convert_token_to_id(self, token: str) -> int:
            return self.vocab.get(token, self.vocab["[UNK]"])

        def _convert_id_to_token(self, index: int) -> str:
            return self.ids_to_tokens.get(index, "[UNK]")

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return "".join(tokens)

        def build_inputs_with_special_tokens(self, token_ids_0: Any, token_ids_1: Any = None) -> Any:
            around = [self.cls_token_id, *token_ids_0, self.sep_token_id]
            return around if token_ids_1 is None else [*around, *token_ids_1, self.sep_token_id]

        def create_token_type_ids_from_sequences(self, token_ids_0: Any, token_ids_1: Any = None) -> Any:
            return [0] * (len(token_ids_0) + 2) + [1] * (0 if token_ids_1 is None else len(token_ids_1) + 1)

        def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
            path = os.path.join(save_directory, f"{filename_prefix or ''}characters.json")
            with open(path, "w") as file:
                json.dump(self.vocab, file)
            return (path,)

    return CharacterTokenizer


Ours = characters(PreTrainedTokenizer)
TEXTS = ["hello world!", "abc ab [SEP] a", "", "  b   z ", "[PAD]hello[UNK]"]


@pytest.fixture(scope="module")
def theirs() -> Any:
    return characters(pytest.importorskip("transformers").PreTrainedTokenizer)()


def test_the_public_name() -> None:
    assert transept.PreTrainedTokenizer is PreTrainedTokenizer


def test_a_tokenizer_of_the_peers_kind_gives_the_same(theirs: Any) -> None:
    ours = Ours()
    assert (len(ours), ours.vocab_size, ours.get_vocab()) == (len(theirs), theirs.vocab_size, theirs.get_vocab())
    for text in TEXTS:
        for special in (True, False):
            assert dict(ours(text, add_special_tokens=special)) == dict(theirs(text, add_special_tokens=special)), text
        assert ours.tokenize(text) == theirs.tokenize(text)
        assert ours.encode(text, "ab") == theirs.encode(text, "ab")
        ids = ours(text)["input_ids"]
        for skip in (True, False):
            expected = theirs.decode(ids, skip_special_tokens=skip, spaces_between_special_tokens=False)
            assert ours.decode(ids, skip_special_tokens=skip) == expected
    for options in (
        {"padding": True},
        {"padding": "max_length", "max_length": 9, "truncation": True},
        {"truncation": True, "max_length": 5},
    ):
        assert dict(ours(TEXTS, **options)) == dict(theirs(TEXTS, **options))
        assert dict(ours(TEXTS, TEXTS[::-1], **options)) == dict(theirs(TEXTS, TEXTS[::-1], **options))
    assert ours.get_special_tokens_mask([4, 5]) == [1, 0, 0, 1]
    assert ours.num_special_tokens_to_add() == 2
    assert ours.num_special_tokens_to_add(pair=True) == 3
    assert (
        ours(["a", "hello"], is_split_into_words=True)["input_ids"]
        == theirs(["a", "hello"], is_split_into_words=True)["input_ids"]
    )


def test_what_the_tokenizer_cannot_know_is_refused() -> None:
    encoded = Ours()("hello ab")
    with pytest.raises(TokenizerError, match="use_fast=True"):
        Ours()("hello ab", return_offsets_mapping=True)
    with pytest.raises(TokenizerError, match="_pre_tokenize"):
        encoded.token_to_chars(1)
    assert encoded.sequence_ids() == [None, 0, 0, None]


def test_overflowing_parts() -> None:
    cut = Ours()("a b c a b c", truncation=True, max_length=5, stride=1, return_overflowing_tokens=True, padding=True)
    assert cut["input_ids"] == [[1, 4, 5, 6, 2], [1, 6, 4, 5, 2], [1, 5, 6, 2, 3]]
    assert cut["attention_mask"][-1] == [1, 1, 1, 1, 0]
    assert cut["overflow_to_sample_mapping"] == [0, 0, 0]


def test_added_tokens_are_kept(tmp_path: Path) -> None:
    ours = Ours(model_max_length=12, chat_template="{{ messages[0].content }}")
    assert ours.add_tokens([AddedToken("<x>", rstrip=True), "hello", "<y>"]) == 3
    assert ours.add_tokens("<y>") == 0
    assert ours.add_special_tokens({"mask_token": "[MASK]", "additional_special_tokens": ["<z>"]}) == 2
    assert ours.convert_tokens_to_ids(["<x>", "hello", "<y>", "[MASK]", "<z>", "?"]) == [11, 7, 12, 13, 14, 0]
    assert ours.tokenize("a<x>  b<y><z>hello") == ["a", "<x>  ", "b", "<y>", "<z>", "hello"]
    assert len(ours) == 15
    ours.save_pretrained(tmp_path)
    for again in (Ours.from_pretrained(tmp_path), copy.deepcopy(ours)):
        assert again.added_tokens_decoder == ours.added_tokens_decoder
        assert again.special_tokens_map == ours.special_tokens_map
        assert again.get_vocab() == ours.get_vocab()
        assert again("a<x>  b<y><z>hello")["input_ids"] == ours("a<x>  b<y><z>hello")["input_ids"]
        assert (again.model_max_length, again.is_fast) == (12, False)
        assert again.apply_chat_template([{"role": "user", "content": "ab"}], add_special_tokens=False, tokenize=False) == "ab"


def test_encodings_are_pickled() -> None:
    encoded = pickle.loads(pickle.dumps(Ours()(["hello", "ab"])))
    assert encoded.tokens(1) == ["[CLS]", "ab", "[SEP]"]


def test_bad_input(tmp_path: Path) -> None:
    ours = Ours()
    with pytest.raises(TokenizerError, match=r"no `characters\.json`"):
        Ours.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="AutoTokenizer"):
        Ours.from_pretrained(tmp_path)
    with pytest.raises(UnknownArgumentError, match="do_lower"):
        Ours(do_lower=True)
    with pytest.raises(TokenizerError, match="different tokenizers"):
        Ours(added_tokens_decoder={3: "hello"})
    with pytest.raises(TokenizerError, match="text_pair"):
        ours("hello", truncation="only_second", max_length=4)
    with pytest.raises(TokenizerError, match="max_length"):
        ours("hello", truncation=True, max_length=1)
    with pytest.raises(TokenizerError, match="only_first"):
        ours("a", "a b c a b c", truncation="only_first", max_length=5)
    with pytest.raises(TokenizerError, match="stride"):
        ours("a b c", "a b c", truncation=True, max_length=6, stride=2)
    with pytest.raises(TokenizerError, match="lone surrogate"):
        ours(["a", "\ud800"])
    with pytest.raises(TokenizerError, match="no token has that id"):
        type("Strict", (Ours,), {"_convert_id_to_token": lambda self, index: self.ids_to_tokens.get(index)})().decode([99])


def test_a_base_that_says_nothing_says_so() -> None:
    class Nothing(PreTrainedTokenizer):
        pass

    with pytest.raises(NotImplementedError, match="_pre_tokenize"):
        Nothing(unk_token=None)("a")


def test_words_and_pieces_alone_make_a_tokenizer(tmp_path: Path) -> None:
    class Letters(PreTrainedTokenizer):
        def __init__(self, **settings: Any) -> None:
            self.vocab = {letter: place for place, letter in enumerate("abc")}
            super().__init__(**settings)

        def _pre_tokenize(self, text: Any) -> Any:
            return text.words(str.isspace)

        def _word_pieces(self, word: str) -> list[tuple[str, int, int]]:
            return [(letter, place, place + 1) for place, letter in enumerate(word)]

    ours = Letters()
    encoded = ours("ab  c", return_offsets_mapping=True)
    assert dict(encoded) == {"input_ids": [0, 1, 2], "attention_mask": [1, 1, 1], "offset_mapping": [(0, 1), (1, 2), (4, 5)]}
    assert encoded.word_ids() == [0, 0, 1]
    assert ours._tokenize("ab c") == ["a", "b", "c"]
    assert ours.decode([0, 2]) == "a c"
    with pytest.raises(TokenizerError, match="no `unk_token`"):
        ours("abd")
    with pytest.raises(NotImplementedError, match="save_vocabulary"):
        ours.save_pretrained(tmp_path)


def test_vocabularies_that_contradict_themselves(tmp_path: Path) -> None:
    from transept_tokenizers.charsmap import Charsmap
    from transept_tokenizers.unigram import Unigram
    from transept_tokenizers.vocabulary_files import write_vocabulary_lines

    with pytest.raises(TokenizerError, match="gaps"):
        write_vocabulary_lines(tmp_path / "vocab.txt", {"a": 0, "b": 2})
    with pytest.raises(TokenizerError, match="line end"):
        write_vocabulary_lines(tmp_path / "vocab.txt", {"a": 0, "b\n": 1})
    for unk_id in (-1, 1):
        with pytest.raises(TokenizerError, match="unknown piece"):
            Unigram([("a", 0.0)], unk_id)
    for compiled in (b"", b"\x04", b"\x00" * 8, b"\xff" * 8, b"\x03\x00\x00\x00abc"):
        with pytest.raises(CorruptFileError, match="damaged"):
            Charsmap(compiled)
