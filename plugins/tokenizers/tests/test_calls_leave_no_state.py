"""No call changes what the next one does, in one thread or in many, and nothing of the backend changes by encoding."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import pre_tokenizers
from transept_tokenizers.fast import PreTrainedTokenizerFast

from transept.errors import TokenizerError

TEXT = "The quick brown fox jumps over the lazy dog. It's 1999 <s> 你好"


@pytest.fixture
def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(folder)


def test_a_call_with_lengths_changes_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    before, state = dict(tokenizer(TEXT)), tokenizer.backend_tokenizer.to_str()
    tokenizer([TEXT, "a"], truncation=True, max_length=5, padding="max_length", return_overflowing_tokens=True, stride=1)
    tokenizer(TEXT, split_special_tokens=True)
    tokenizer.pad({"input_ids": [[1], [1, 2]]})
    assert dict(tokenizer(TEXT)) == before
    assert tokenizer.backend_tokenizer.to_str() == state


def test_threads_share_a_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    calls: list[dict[str, Any]] = [
        {},
        {"truncation": True, "max_length": 6},
        {"padding": "max_length", "max_length": 90, "padding_side": "left"},
        {"split_special_tokens": True},
        {"truncation": True, "max_length": 9, "return_overflowing_tokens": True, "stride": 1},
    ]
    expected = [dict(tokenizer([TEXT, "a"], **call)) for call in calls]
    wrong: list[object] = []

    def work(start: int) -> None:
        for turn in range(40):
            which = (start + turn) % len(calls)
            try:
                found = dict(tokenizer([TEXT, "a"], **calls[which]))
                if found != expected[which]:
                    wrong.append((calls[which], found))
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_part_that_is_replaced_counts_at_once(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer(TEXT, truncation=True, max_length=6)
    tokenizer.add_tokens(["quick brown"])
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    whole = tokenizer(TEXT, add_special_tokens=False, verbose=False)["input_ids"]
    assert tokenizer.convert_tokens_to_ids("quick brown") in whole
    cut = tokenizer(TEXT, add_special_tokens=False, truncation=True, max_length=6)["input_ids"]
    assert cut == (whole[:6] if tokenizer.truncation_side == "right" else whole[-6:])


def test_copies_are_apart(tokenizer: PreTrainedTokenizerFast) -> None:
    expected = dict(tokenizer(TEXT))
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert dict(other(TEXT)) == expected
        other.add_tokens(["no such word"])
        other.eos_token = "quick"
        assert tokenizer.eos_token != "quick"
        assert len(other) == len(tokenizer) + 1
    assert dict(tokenizer(TEXT)) == expected


def test_a_backend_that_was_given_is_not_changed(make_folder: Callable[..., Path]) -> None:
    backend = tokenizers.Tokenizer.from_file(str(make_folder("word_piece") / "tokenizer.json"))
    state = backend.to_str()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    assert backend.to_str() == state
    assert backend.truncation is not None
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.pad_token == "[PAD]"
    shared = PreTrainedTokenizerFast(tokenizer_object=backend, copy_tokenizer=False)
    assert shared.backend_tokenizer is backend


def test_added_ids_with_gaps_survive_a_cut(make_folder: Callable[..., Path]) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(make_folder("byte_bpe"))
    tokenizer.add_tokens([f"<new_{number}>" for number in range(300)])
    text = " ".join(f"<new_{number}> word" for number in range(300))
    whole = tokenizer(text)["input_ids"]
    assert tokenizer(text, truncation=True, max_length=50)["input_ids"] == whole[:50]


def test_what_cannot_be_encoded_is_said_in_words(tokenizer: PreTrainedTokenizerFast) -> None:
    refused: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((["fine", "half \ud83d"],), {}, r"text\[1\]` has half a character"),
        (([["fine", "half \udc00"]],), {"is_split_into_words": True}, "half a character"),
        ((["a", None],), {}, r"text\[1\]` is a NoneType"),
        ((3,), {}, "is a int"),
        (([["a", "b", "c"]],), {}, r"text\[0\]` is a list"),
        (("a b",), {"is_split_into_words": True}, "list of strings"),
        ((["a"], ["b", "c"]), {}, "same length"),
        ((["a"], "b"), {}, "same length"),
        ((), {}, "nothing to encode"),
        (("a",), {"truncation": "only_second", "max_length": 8}, "needs pairs"),
        (("a",), {"truncation": "first", "max_length": 8}, "one of"),
        (("a",), {"padding": "long"}, "one of"),
        (("a",), {"max_length": -1}, "0 or more"),
        (("a",), {"truncation": True, "max_length": 8, "stride": 8}, "stride"),
        (("a",), {"padding": True, "padding_side": "up"}, "left"),
        (("a",), {"padding": True, "pad_to_multiple_of": 0}, "1 or more"),
        (("a",), {"padding": True, "truncation": True, "max_length": 9, "pad_to_multiple_of": 8}, "multiple"),
        ((["a", "b c d e"],), {"return_tensors": "pt"}, "padding=True"),
        ((["a", "b c d e"],), {"return_tensors": "np"}, "padding=True"),
        (("a",), {"return_tensors": "jax"}, "return_tensors"),
    ]
    for texts, options, words in refused:
        with pytest.raises(TokenizerError, match=words):
            tokenizer(*texts, **options)
    for ids in ([1, -100], [1.5], [1 << 40], ["a"]):
        with pytest.raises(TokenizerError, match="token_ids"):
            tokenizer.decode(ids)
    assert tokenizer([])["input_ids"] == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode([10**6]) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_one_text_says_nothing(folder: Path) -> None:
    code = (
        "import os, sys\n"
        "from transept_tokenizers.fast import PreTrainedTokenizerFast\n"
        "tokenizer = PreTrainedTokenizerFast.from_pretrained(sys.argv[1])\n"
        "tokenizer('one text'); tokenizer('one', 'pair', truncation=True, max_length=6)\n"
        "child = os.fork()\n"
        "tokenizer(['two', 'texts'])\n"
        "os._exit(0) if child == 0 else os.waitpid(child, 0)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr == ""
