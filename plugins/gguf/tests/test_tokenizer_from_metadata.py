"""The tokenizer that a GGUF file carries gives the ids that the model was trained on."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from transept_gguf.splitting import SPLITTINGS
from transept_gguf.tokenization import GGUFTokenizer

from transept.errors import TokenizerError, TranseptError, UnknownArgumentError

GOLDEN = json.loads((Path(__file__).parent / "smollm2_golden.json").read_text())


@pytest.fixture(scope="module")
def smollm2_tokenizer(smollm2: Path) -> Any:
    return GGUFTokenizer.from_pretrained(smollm2)


# -- SmolLM2 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: repr(case["text"])[:30])
def test_ids_and_text_equal_the_peers(case: dict[str, Any], smollm2_tokenizer: Any) -> None:
    ids = smollm2_tokenizer(case["text"])["input_ids"]
    assert ids == case["ids"]
    assert smollm2_tokenizer.decode(ids) == case.get("decoded", case["text"])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (" 1 2  3   4", ["Ġ", "1", "Ġ", "2", "ĠĠ", "3", "ĠĠĠ", "4"]),
        ("½ ² Ⅷ", ["Â½", "Ġ", "Â²", "Ġ", "â", "ħ", "§"]),
        ("x²+1024", ["x", "Â²", "+", "1", "0", "2", "4"]),
    ],
)
def test_digits_stand_alone_as_in_training(text: str, tokens: list[str], smollm2_tokenizer: Any) -> None:
    # the model's own tokenizer.json: digits one by one, then GPT-2's pattern. The peer's GGUF tokenizer leaves out the first step
    original = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend = Tokenizer(smollm2_tokenizer.backend_tokenizer.model)
    backend.pre_tokenizer = original
    assert smollm2_tokenizer.tokenize(text) == tokens == backend.encode(text).tokens


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_comes_back(text: str, smollm2_tokenizer: Any) -> None:
    # this vocabulary has no token for some control characters: the model's own tokenizer drops them as well
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    known = smollm2_tokenizer.backend_tokenizer.token_to_id
    text = "".join(letter for letter in text if all(known(byte) is not None for byte in spell(letter)[0][0]))
    assert smollm2_tokenizer.decode(smollm2_tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("chat", GOLDEN["chats"], ids=["question", "mixed"])
def test_chat_template_equals_the_peers(chat: dict[str, Any], smollm2_tokenizer: Any) -> None:
    render = smollm2_tokenizer.apply_chat_template
    assert render(chat["messages"], tokenize=False, add_generation_prompt=True) == chat["prompt"]
    assert render(chat["messages"], tokenize=False, add_generation_prompt=False) == chat["closed"]


def test_special_tokens_and_limits(smollm2_tokenizer: Any) -> None:
    tokenizer = smollm2_tokenizer
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert (len(tokenizer), tokenizer.model_max_length) == (49152, 8192)
    assert tokenizer.decode([1, 19556, 2], skip_special_tokens=True) == "Hello"
    assert tokenizer("<repo_name>")["input_ids"] == [3]


def test_saved_and_opened_by_the_peer_it_is_the_same(smollm2_tokenizer: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    smollm2_tokenizer.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for case in GOLDEN["cases"]:
        assert theirs(case["text"])["input_ids"] == case["ids"]
    chat = GOLDEN["chats"][1]
    assert theirs.apply_chat_template(chat["messages"], tokenize=False) == chat["closed"]


def test_keywords_go_before_the_file(smollm2: Path) -> None:
    tokenizer = GGUFTokenizer.from_pretrained(smollm2, padding_side="left", model_max_length=5, add_bos_token=True)
    assert (tokenizer.padding_side, tokenizer.model_max_length) == ("left", 5)
    assert tokenizer("Hello")["input_ids"] == [1, 19556]
    with pytest.raises(UnknownArgumentError):
        GGUFTokenizer.from_pretrained(smollm2, pading_side="left")


# -- byte-level vocabularies -------------------------------------------------------------------------------------------

Write = Callable[..., Path]
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(
        model: str | None,
        tokens: list[str],
        *,
        types: list[int] | None = None,
        scores: list[float] | None = None,
        merges: list[str] | None = None,
        more: Callable[[gguf.GGUFWriter], None] = lambda _: None,
    ) -> Path:
        path = tmp_path / "vocabulary.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if model is not None:
            writer.add_tokenizer_model(model)
        writer.add_token_list(tokens)
        if types is not None:
            writer.add_token_types(types)
        if scores is not None:
            writer.add_token_scores(scores)
        if merges is not None:
            writer.add_token_merges(merges)
        more(writer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        return path

    return save


def pieces(name: str, text: str) -> list[str]:
    """How a splitting cuts a text, in plain letters."""
    spelled = SPLITTINGS[name].build().pre_tokenize_str(text)
    return [decoders.ByteLevel().decode([piece]) for piece, _ in spelled]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gpt-2", "I'm 1234  ok", ["I", "'m", " 1234", " ", " ok"]),
        ("smollm", "I'm 1234  ok", ["I", "'m", " ", "1", "2", "3", "4", " ", " ok"]),
        ("llama-bpe", "I'M 1234\n\nok", ["I", "'M", " ", "123", "4", "\n\n", "ok"]),
        ("qwen2", "I'M 123\n\nok", ["I", "'M", " ", "1", "2", "3", "\n\n", "ok"]),
        ("tekken", "camelCase 12/\n", ["camel", "Case", " ", "1", "2", "/\n"]),
        ("gpt-4o", "It's HTTPServer's 1234", ["It's", " HTTPServer's", " ", "123", "4"]),
        ("bloom", "un, deux", ["un", ",", " deux"]),
        ("falcon", "a+b=12345", ["a", "+", "b", "=", "123", "45"]),
        ("default", "a+b=12345", ["a", "+", "b", "=", "123", "45"]),
        ("deepseek-coder", "ab 12中文!", ["ab", " ", "1", "2", "中文", "!"]),
        ("deepseek-v3", "ab 1234中文.x", ["ab", " ", "123", "4", "中文", ".x"]),
    ],
)
def test_text_is_split_as_the_name_says(name: str, text: str, expected: list[str]) -> None:
    assert pieces(name, text) == expected


@pytest.mark.parametrize("name", SPLITTINGS)
def test_no_splitting_loses_a_character(name: str) -> None:
    text = "Ab'LL 12345 中文ひらがな\r\n\t x++;  €5, ٣٤٥ e\u0301\u00a0🙂 end  "
    assert "".join(pieces(name, text)) == text


def test_an_unknown_splitting_warns_and_splits_as_gpt2(write: Write) -> None:
    path = write("gpt2", [*LETTERS, "Ġ1"], merges=["Ġ 1"], more=lambda w: w.add_tokenizer_pre("tomorrow"))
    with pytest.warns(UserWarning, match=r"split as `tomorrow`.*tokenizer\.json"):
        assert GGUFTokenizer.from_pretrained(path).tokenize(" 12") == ["Ġ1", "2"]
    with pytest.warns(UserWarning, match="does not say how text is split"):
        GGUFTokenizer.from_pretrained(write("gpt2", [*LETTERS, "Ġ1"], merges=["Ġ 1"]))


def test_whole_tokens_go_before_merges_where_the_model_was_trained_so(write: Write) -> None:
    tokens = [*LETTERS, "ab", "bc", "abc"]
    merges = ["b c", "a b"]  # by merges alone `abc` can only be a + bc

    def named(name: str) -> Callable[[gguf.GGUFWriter], None]:
        return lambda writer: writer.add_tokenizer_pre(name)

    assert GGUFTokenizer.from_pretrained(write("gpt2", tokens, merges=merges, more=named("qwen2"))).tokenize("abc") == [
        "a",
        "bc",
    ]
    assert GGUFTokenizer.from_pretrained(write("gpt2", tokens, merges=merges, more=named("llama3"))).tokenize("abc") == ["abc"]


def test_added_tokens_by_type_and_bos_by_name(write: Write) -> None:
    tokens = [*LETTERS, "<s>", "</s>", "ab", "<think>", "  "]
    types = [1] * len(LETTERS) + [3, 3, 1, 4, 4]

    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_bos_token_id(256)
        writer.add_eos_token_id(257)
        writer.add_add_eos_token(True)

    tokenizer = GGUFTokenizer.from_pretrained(write("gpt2", tokens, types=types, merges=["a b"], more=more))
    assert tokenizer("ab<think>  </s>")["input_ids"] == [256, 258, 259, 260, 257, 257]
    assert tokenizer("ab", "ab")["input_ids"] == [256, 258, 257, 256, 258, 257]
    assert tokenizer.decode([256, 258, 259, 260, 257], skip_special_tokens=True) == "ab<think>  "


def test_named_chat_templates_are_kept(write: Write) -> None:
    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_pre("gpt-2")
        writer.add_chat_template([{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}])

    tokenizer = GGUFTokenizer.from_pretrained(write("gpt2", [*LETTERS, "ab"], merges=["a b"], more=more))
    assert tokenizer.chat_template == {"default": "A", "tool_use": "B"}


# -- SentencePiece vocabularies ------------------------------------------------------------------------------------------

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PLAIN = ["▁", "a", "b", "c", "d", "e", "f"]


def sentencepiece(write: Write, joined: dict[str, float], **options: Any) -> Any:
    """A tokenizer with single letters, all bytes, and these longer tokens with their scores."""
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *PLAIN, *joined]
    types = [2, 3, 3, *[6] * 256, *[1] * (len(PLAIN) + len(joined))]
    scores = [0.0] * (3 + 256) + [-1000.0 - index for index in range(len(PLAIN))] + list(joined.values())
    return GGUFTokenizer.from_pretrained(write("llama", tokens, types=types, scores=scores, **options))


def joined_by_score(text: str, scores: dict[str, float]) -> list[str]:
    """SentencePiece's BPE: join the neighbours whose join scores highest, the leftmost of equals, until none is a token."""
    symbols = list("▁" + text.replace(" ", "▁"))
    while True:
        pairs = [(-scores[a + b], place) for place, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in scores]
        if not pairs:
            return symbols
        place = min(pairs)[1]
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


@settings(max_examples=60, deadline=None)
@given(
    longer=st.lists(
        st.lists(st.sampled_from(PLAIN), min_size=2, max_size=5, unique=True).map("".join), unique=True, max_size=25
    ),
    text=st.text("abcdef ", min_size=1, max_size=30),
)
def test_scores_join_as_sentencepiece_does(longer: list[str], text: str, tmp_path_factory: Any) -> None:
    scores = {token: -float(index) for index, token in enumerate(longer)}
    tokens = ["<unk>", "<s>", "</s>", *PLAIN, *scores]
    path = tmp_path_factory.getbasetemp() / "sentencepiece.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3] + [1] * (len(PLAIN) + len(scores)))
    writer.add_token_scores([0.0] * 3 + [-1000.0 - index for index in range(len(PLAIN))] + list(scores.values()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = GGUFTokenizer.from_pretrained(path)
    assert tokenizer.tokenize(text) == joined_by_score(text, scores)


def test_bytes_stand_in_for_unknown_letters_and_decode_again(write: Write) -> None:
    tokenizer = sentencepiece(write, {"ab": -1.0, "▁ab": -2.0})
    ids = tokenizer("ab é😀")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        *("<s>", "▁ab", "▁", "<0xC3>", "<0xA9>", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>"),
    ]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ab é😀"
    assert tokenizer("<unk>", add_special_tokens=False)["input_ids"] == [0]


def test_the_spelled_byte_is_no_byte(write: Write) -> None:
    # "<0x61>" in a text are six letters, not the byte token of that name
    assert "<0x61>" not in sentencepiece(write, {}).tokenize("<0x61>")


def test_space_prefix_bos_and_eos_as_the_file_says(write: Write) -> None:
    def without(writer: gguf.GGUFWriter) -> None:
        writer.add_add_space_prefix(False)
        writer.add_add_bos_token(False)
        writer.add_add_eos_token(True)

    assert sentencepiece(write, {}).tokenize("a  b", add_special_tokens=True) == ["<s>", "▁", "a", "▁", "▁", "b"]
    tokenizer = sentencepiece(write, {}, more=without)
    assert tokenizer.tokenize("a  b", add_special_tokens=True) == ["a", "▁", "▁", "b", "</s>"]
    assert tokenizer.decode(tokenizer(" a")["input_ids"], skip_special_tokens=True) == " a"


def test_sentencepiece_ids_equal_the_peers(write: Write) -> None:
    transformers = pytest.importorskip("transformers")

    def more(writer: gguf.GGUFWriter) -> None:
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        for key in ("block_count", "context_length", "embedding_length", "feed_forward_length"):
            writer.add_uint32(f"llama.{key}", 64)

    joined = {"ab": -1.0, "▁a": -2.0, "▁ab": -3.0, "cd": -4.0, "abcd": -5.0, "▁▁": -6.0, "▁▁▁▁": -7.0}
    ours = sentencepiece(write, joined, more=more)
    path = Path(ours.name_or_path)
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in ("ab cd", "abcd  ab", "a    b é", "cab </s>", "", "ab\n\tcd😀"):
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    # llama.cpp and Llama 2's own tokenizer.json put the space before each stretch of text; the peer before the first alone,
    # and none where there is one already
    assert ours.tokenize("ab</s>ab") == ["▁ab", "</s>", "▁ab"]
    assert ours.tokenize(" ab") == ["▁", "▁ab"]


# -- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": None, "tokens": ["a"]}, "has no tokenizer"),
        ({"model": "bert", "tokens": ["a"]}, "`bert`; `gpt2` and `llama` are known"),
        ({"model": "gpt2", "tokens": LETTERS}, "`merges` is missing"),
        ({"model": "gpt2", "tokens": LETTERS, "merges": ["a b"]}, "merges do not fit"),
        ({"model": "gpt2", "tokens": LETTERS, "merges": ["ab"]}, "merges do not fit"),
        ({"model": "gpt2", "tokens": LETTERS, "types": [1], "merges": ["a b"]}, "1 entries for 256 tokens"),
        ({"model": "llama", "tokens": ["a", "b"]}, "scores"),
        ({"model": "llama", "tokens": ["a", "b"], "scores": [1.0]}, "scores"),
        ({"model": "llama", "tokens": ["a", "b" * 5000], "scores": [1.0, 2.0]}, "5000 characters"),
        ({"model": "gpt2", "tokens": [*LETTERS, "ab"], "merges": ["a b"], "more": lambda w: w.add_eos_token_id(257)}, "257"),
        (
            {
                "model": "gpt2",
                "tokens": [*LETTERS, "ab"],
                "merges": ["a b"],
                "more": lambda w: w.add_string("tokenizer.ggml.bos_token_id", "x"),
            },
            "bos_token_id",
        ),
    ],
)
def test_what_is_no_tokenizer_is_refused(arguments: dict[str, Any], words: str, write: Write) -> None:
    path = write(**arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TokenizerError, match=words) as caught:
            GGUFTokenizer.from_pretrained(path)
    assert isinstance(caught.value, TranseptError)
    assert str(path) in str(caught.value)
