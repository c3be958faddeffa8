"""Every character that this Python's Unicode knows is classed as the `tokenizers` library does, whatever came to Unicode when."""

import unicodedata
from collections.abc import Iterator

import pytest
from tokenizers import normalizers, pre_tokenizers
from transept_tokenizers.aligned_text import AlignedText
from transept_tokenizers.byte_bpe import byte_words, in_byte_characters
from transept_tokenizers.wordpiece import BasicTokenizer


def lines(template: str) -> Iterator[str]:
    """All characters in lines of 256, each in a frame of its own."""
    for start in range(0, 0x110000, 256):
        known = [chr(code) for code in range(start, start + 256) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
        if known:
            yield "".join(template.format(character) for character in known)


@pytest.mark.slow
@pytest.mark.parametrize(("lowercase", "strip"), [(True, None), (True, False), (False, True), (False, False)])
def test_basic_tokenization(lowercase: bool, strip: bool | None) -> None:
    ours = BasicTokenizer(do_lower_case=lowercase, strip_accents=strip)
    normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip, lowercase=lowercase
    )
    words = pre_tokenizers.BertPreTokenizer()
    for line in lines("x{}y"):
        normalized = ours.normalized(AlignedText.of(line))
        assert normalized.text == normalizer.normalize_str(line)
        assert len(normalized.spans) == len(normalized.text)
        assert [word.text for word in ours.words(normalized)] == [word for word, _ in words.pre_tokenize_str(normalized.text)]


@pytest.mark.slow
@pytest.mark.parametrize("template", ["{}", "a{}", " {} ", "1{}1", "'{}s", "!{}"])
def test_byte_level_words(template: str) -> None:
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for line in lines(template):
        ours = [word.mapped(in_byte_characters).text for word in byte_words(AlignedText.of(line))]
        assert ours == [word for word, _ in words.pre_tokenize_str(line)]
