"""Classes of characters that decide where words end, the same on every Python.

The established WordPiece implementation (`tokenizers`, its `unicode_categories`) reads tables of Unicode 8; Python's
`unicodedata` grows with Python. What came later therefore counts as an ordinary character here, whatever its category is
now. Only characters that this Python does not know at all (no category yet) can still differ.
"""

from __future__ import annotations

import functools
import unicodedata

__all__ = [
    "WHITE_SPACE",
    "combining_class",
    "compatibly_decomposed",
    "decomposed",
    "is_control",
    "is_mark",
    "is_nonspacing_mark",
    "is_punctuation",
    "is_white_space",
    "is_word",
]

WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
"""Unicode's White_Space. Python's `str.isspace` also counts the separators U+001C to U+001F."""


def _characters(ranges: str) -> frozenset[str]:
    bounds = ([int(end, 16) for end in each.split("-")] for each in ranges.split())
    return frozenset(chr(code) for ends in bounds for code in range(ends[0], ends[-1] + 1))


_LATER_PUNCTUATION = _characters(
    "61D 9FD A76 C77 C84 1B4E-1B4F 1B7D-1B7F 2E43-2E4F 2E52-2E5D 2E60-2E63 10D6E 10EAD 10ED0 10F55-10F59 10F86-10F89 "
    "113D4-113D5 113D7-113D8 1144B-1144F 1145A-1145B 1145D 11660-1166C 116B9 1183B 11944-11946 119E2 11A3F-11A46 "
    "11A9A-11A9C 11A9E-11AA2 11B00-11B09 11BE1 11C41-11C45 11C70-11C71 11EF7-11EF8 11F43-11F4F 11FFF 12FF1-12FF2 "
    "16D6D-16D6F 16E97-16E9A 16FE2 1E5FF 1E95E-1E95F"
)
_ONCE_PUNCTUATION = frozenset("\u166d\U000111c9")
_LATER_MARKS = _characters(
    "5C8-5C9 7FD 897-89F 8CA-8E1 9FE AFA-AFF B53-B55 C04 C3C D00 D3B-D3C D81 EBA ECE 180F 1885-1886 1ABF-1AF0 "
    "1DF6-1DFB A82C A8C5 A8FF A9BD 10D24-10D27 10D69-10D6D 10EAB-10EAC 10ECB-10ECF 10EF0-10EFF 10F46-10F50 10F82-10F85 "
    "11070 11073-11074 110C2 111C9 111CF 1123E 11241 1133B 113BB-113C0 113CE 113D0 113D2 113E1-113E2 11438-1143F "
    "11442-11444 11446 1145E 1182F-11837 11839-1183A 1193B-1193C 1193E 11943 119D4-119D7 119DA-119DB 119E0 "
    "11A01-11A0A 11A33-11A38 11A3B-11A3E 11A47 11A51-11A56 11A59-11A5B 11A8A-11A96 11A98-11A99 11B60 11B62-11B64 11B66 "
    "11C30-11C36 11C38-11C3D 11C3F 11C92-11CA7 11CAA-11CB0 11CB2-11CB3 11CB5-11CB6 11D31-11D36 11D3A 11D3C-11D3D "
    "11D3F-11D45 11D47 11D90-11D91 11D95 11D97 11DF0 11EF3-11EF4 11F00-11F01 11F36-11F3A 11F40 11F42 11F5A 13440 "
    "13447-13455 1611E-16129 1612D-1612F 16F4F 16FE4 1CF00-1CF2D 1CF30-1CF46 1D127-1D128 1D25B-1D25C 1E000-1E006 "
    "1E008-1E018 1E01B-1E021 1E023-1E024 1E026-1E02A 1E08F 1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF 1E6E3 "
    "1E6E6 1E6EE-1E6EF 1E6F5 1E944-1E94A"
)
_ONCE_MARKS = frozenset("\u1734\U0001171e")
_LATER_CONTROLS = _characters("890-891 8E2 110CD 13430-1343F")
_LATER_COMPOSED = _characters("105C9 105E4 11383 11385 1138E 11391 113C5 113C7-113C8 11938 16121-16128 16D68-16D6A")
_SYMBOLS = frozenset("$+<=>^`|~")  # of ASCII, all that is no letter, digit or space counts as punctuation


def is_white_space(character: str) -> bool:
    """White_Space of Unicode."""
    return character in WHITE_SPACE


@functools.lru_cache(maxsize=1 << 16)
def is_punctuation(character: str) -> bool:
    """Punctuation (categories P), and the symbols of ASCII."""
    if character in _SYMBOLS or character in _ONCE_PUNCTUATION:
        return True
    return unicodedata.category(character).startswith("P") and character not in _LATER_PUNCTUATION


def is_control(character: str) -> bool:
    """Control, format and private use characters (Cc, Cf, Co) that are no white space."""
    if character in "\t\n\r" or character in _LATER_CONTROLS:
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Co")


def is_nonspacing_mark(character: str) -> bool:
    """Accents that stand on the character before (Mn)."""
    return character in _ONCE_MARKS or (unicodedata.category(character) == "Mn" and character not in _LATER_MARKS)


def decomposed(character: str) -> str:
    """Canonical decomposition (NFD) of one character."""
    return character if character in _LATER_COMPOSED else unicodedata.normalize("NFD", character)


def is_word(character: str) -> bool:
    r"""What `\w` means in Unicode's regular expressions (UTS 18): letters, marks, decimal digits, connectors, joiners."""
    category = unicodedata.category(character)
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or character in _OTHER_WORD


_OTHER_WORD = _characters("200C-200D 24B6-24E9 1F130-1F149 1F150-1F169 1F170-1F189")


# The library's `NFKD` and `StripAccents` read tables of Unicode 9.
_MARKS_AFTER_9 = _characters(
    "5C8-5C9 7FD 897-89F 8CA-8D3 9FE AFA-AFF B53-B55 C04 C3C CF3 D00 D3B-D3C D81 EBA ECE 1715 180F 1ABF-1AF0 1CF7 1DF6-1DFA "
    "A82C A8FF 10D24-10D27 10D69-10D6D 10EAB-10EAC 10ECB-10ECF 10EF0-10EFF 10F46-10F50 10F82-10F85 11070 11073-11074 110C2 "
    "11145-11146 111C9 111CE-111CF 11241 1133B 113B8-113C0 113C2 113C5 113C7-113CA 113CC-113D0 113D2 113E1-113E2 1145E "
    "1182C-1183A 11930-11935 11937-11938 1193B-1193E 11940 11942-11943 119D1-119D7 119DA-119E0 119E4 11A01-11A0A 11A33-11A39 "
    "11A3B-11A3E 11A47 11A51-11A5B 11A8A-11A99 11B60-11B67 11D31-11D36 11D3A 11D3C-11D3D 11D3F-11D45 11D47 11D8A-11D8E "
    "11D90-11D91 11D93-11D97 11DF0 11EF3-11EF6 11F00-11F01 11F03 11F34-11F3A 11F3E-11F42 11F5A 13440 13447-13455 1611E-1612F "
    "16F4F 16F7F-16F87 16FE4 16FF0-16FF1 1CF00-1CF2D 1CF30-1CF46 1D127-1D128 1D250-1D252 1D25B-1D25C 1D25F 1D280-1D281 1E08F "
    "1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF 1E6E3 1E6E6 1E6EE-1E6EF 1E6F5"
)
_ONCE_ANY_MARKS = frozenset("\u1cf2\u1cf3")
_COMPOSED_AFTER_9 = _LATER_COMPOSED | _characters(
    "32FF A7F1-A7F4 AB69 10781-10785 10787-107B0 107B2-107BA 11938 1CCD6-1CCF9 1E030-1E06D 1F16C 1FBF0-1FBF9"
)


def is_mark(character: str) -> bool:
    """Marks of any kind (M) in Unicode 9."""
    if character in _ONCE_ANY_MARKS:
        return True
    return unicodedata.category(character)[0] == "M" and character not in _MARKS_AFTER_9


def combining_class(character: str) -> int:
    """Canonical combining class in Unicode 9."""
    return 0 if character in _MARKS_AFTER_9 else unicodedata.combining(character)


def compatibly_decomposed(text: str) -> list[tuple[str, int]]:
    """Compatibility decomposition (NFKD) in Unicode 9, marks in canonical order: each character with 0 if it is the first that an
    old one became, 1 if it is a further one (as `AlignedText.rewritten` takes them)."""
    found: list[tuple[str, int]] = []
    for character in text:
        parts = character if character in _COMPOSED_AFTER_9 else unicodedata.normalize("NFKD", character)
        found += [(part, min(place, 1)) for place, part in enumerate(parts)]
    start = 0
    for place in range(len(found) + 1):
        if place == len(found) or not combining_class(found[place][0]):
            found[start:place] = sorted(found[start:place], key=lambda each: combining_class(each[0]))
            start = place + 1
    return found
