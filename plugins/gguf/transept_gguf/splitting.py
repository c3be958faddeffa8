"""How byte-level vocabularies split text before they merge bytes, by the name in `tokenizer.ggml.pre`.

The names are llama.cpp's (`llama-vocab.cpp`); the patterns are those of the models' own tokenizer.json files where the two
differ in form only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Regex, pre_tokenizers

__all__ = ["SPLITTINGS", "Splitting", "pattern_of"]

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"
_LLAMA3 = _CONTRACTIONS + (r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_CASED_START = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_CASED_END = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = rf"{_CASED_START}*{_CASED_END}+|{_CASED_START}+{_CASED_END}*|\p{{N}}|{_CASED_REST}"
_GPT4O = (
    rf"{_CASED_START}*{_CASED_END}+{_CONTRACTIONS}?|{_CASED_START}+{_CASED_END}*{_CONTRACTIONS}?|\p{{N}}{{1,3}}|{_CASED_REST}"
)
_BLOOM = " ?[^(\\s|.,!?…。\uff0c、।\u06d4،)]+"
_CJK = "[一-龥\u0800-一가-\ud7ff]+"
_ASCII_PUNCTUATION = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"


@dataclass(frozen=True, slots=True)
class Splitting:
    """What one name stands for."""

    patterns: tuple[str, ...]
    """Applied one after the other, each to the pieces that the one before left; a match is a piece, and so is what is between."""
    ignore_merges: bool = False
    """A piece that is a token as a whole is that token, whatever the merges say."""
    add_bos: bool = False
    """Where the file does not say whether a text begins with the BOS token."""

    def build(self) -> Any:
        """The `tokenizers` pre-tokenizer, which also spells bytes as the vocabulary does."""
        if self.patterns == (_GPT2,):  # the same pattern, without the regex engine
            return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in self.patterns]
        return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_WHOLE = Splitting((_GPT2,))
_DIGITS = Splitting((_DIGIT, _GPT2))
_THREES = Splitting((_LLAMA3,))
_ONES = Splitting((_QWEN2,))

_FAMILIES: tuple[tuple[str, Splitting], ...] = (
    ("gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert exaone4 mpt olmo jais", _WHOLE),
    ("smollm starcoder refact command-r codeshell exaone minerva-7b", _DIGITS),
    (
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        replace(_THREES, ignore_merges=True, add_bos=True),
    ),
    ("dbrx smaug-bpe glm4 chatglm-bpe", _THREES),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2", _ONES),
    ("tekken", Splitting((_TEKKEN,), ignore_merges=True, add_bos=True)),
    ("gpt-4o llama4 kanana2 talkie", Splitting((_GPT4O,))),
    ("bloom poro-chat gpt3-finnish", Splitting((_BLOOM,))),
    ("viking", Splitting((_BLOOM, _DIGIT))),
    ("falcon", Splitting((r"[\p{P}$+<=>\^~|`]+", _GPT2, "[0-9][0-9][0-9]"))),
    ("deepseek-coder", Splitting(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, _DIGIT))),
    (
        "deepseek-v3",
        Splitting(
            (
                r"\p{N}{1,3}",
                "[一-龥\u3040-ゟ\u30a0-ヿ]+",
                rf"{_ASCII_PUNCTUATION}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+",
            )
        ),
    ),
    ("default", Splitting((r"[\p{P}$+<=>\^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))),
)

SPLITTINGS: dict[str, Splitting] = {name: splitting for names, splitting in _FAMILIES for name in names.split()}
"""By the name in `tokenizer.ggml.pre`."""


def pattern_of(step: Mapping[str, Any]) -> str | None:
    """The pattern that a step of a `tokenizer.json`'s pre-tokenizer splits by; "" for one that splits nothing, None for others."""
    if step["type"] == "Split" and "Regex" in step["pattern"]:
        # what does not match is a piece too, or is dropped; patterns of today match everything
        whole = (step["behavior"], step["invert"]) in (("Isolated", False), ("Removed", True))
        return str(step["pattern"]["Regex"]) if whole else None
    if step["type"] == "Digits":
        return _DIGIT if step["individual_digits"] else rf"{_DIGIT}+"
    if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
        return _GPT2 if step["use_regex"] else ""
    return None
