"""Lines of many scripts: what tokenizers get wrong, and what people write."""

from __future__ import annotations

import argparse
import difflib
import random
import textwrap
import typing
import unicodedata
import unittest.mock
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["SENTENCES", "mixed_lines", "source_lines"]

# Article 1 of the Universal Declaration of Human Rights, and sentences of everyday
SENTENCES = (
    "All human beings are born free and equal in dignity and rights.",
    "They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Всі люди народжуються вільними і рівними у своїй гідності та правах.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "人人生而自由，在尊严和权利上一律平等。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
    "I can't say whether we've paid $1,234.56 (42%) — they'll know; it's 3/4 of what you'd expect.",
    "def encode(text: str) -> list[int]:\n    return [ids[token] for token in cut(text)]  # a tab:\there",
    "https://example.org/a?b=c&d=%20e#f <b>bold</b> user@example.org C:\\path\\file.txt",
)

# first and last code point of stretches whose characters are mixed into words
STRETCHES = {
    "latin": [(0x61, 0x7A), (0x41, 0x5A), (0xC0, 0x24F), (0x1E00, 0x1EFF)],
    "greek and cyrillic": [(0x370, 0x3FF), (0x400, 0x52F)],
    "hebrew and arabic": [(0x5D0, 0x5EA), (0x591, 0x5BD), (0x600, 0x6FF), (0x750, 0x77F)],
    "indic": [(0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xC00, 0xC7F)],
    "south-east asian": [(0xE01, 0xE5B), (0xE80, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF)],
    "east asian": [(0x4E00, 0x9FFF), (0x3041, 0x30FF), (0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x20000, 0x2A6D6)],
    "others": [(0x10A0, 0x10FF), (0x1200, 0x137F), (0x13A0, 0x13F5), (0x1400, 0x167F), (0x1800, 0x18AA), (0xA000, 0xA48C)],
    "digits": [(0x30, 0x39), (0x660, 0x669), (0x966, 0x96F), (0x2150, 0x2189), (0x2460, 0x24FF), (0xB2, 0xB3)],
    "punctuation": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x2010, 0x2027), (0x3001, 0x301F)],
    "symbols": [(0x20A0, 0x20BF), (0x2190, 0x23FF), (0x2500, 0x27BF), (0x1D400, 0x1D7FF), (0xA1, 0xBF)],
    "wide and composed": [(0xFF01, 0xFFEE), (0xFB00, 0xFB4F), (0xFE70, 0xFEFC), (0x3300, 0x33FF), (0xF900, 0xFAD9)],
    "combining": [(0x300, 0x36F), (0x1AB0, 0x1ABE), (0x20D0, 0x20F0), (0xFE20, 0xFE2F)],
    "emoji": [(0x1F300, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF)],
    "controls": [(0x0, 0x1F), (0x7F, 0x9F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064), (0xFEFF, 0xFEFF)],
    "private": [(0xE000, 0xE0FF), (0xFFFC, 0xFFFD)],
}
SPACES = (" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "   ", "\u0085")
EMOJI = ("👩‍👩‍👧‍👦", "👍🏽", "🇫🇷🇺🇦", "☺️", "❤️‍🔥", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🧑🏿‍💻")


@cache
def mixed_lines(count: int = 10_000, seed: int = 0) -> tuple[str, ...]:
    """The same lines on every machine: sentences, words of one script, words of several, sequences of emoji, and characters by name.

    Characters without a category in this Python's Unicode are left out.
    """
    generator = random.Random(seed)
    makers = (_sentence, _sentence, _words, _words, _soup, _named)
    lines = []
    while len(lines) < count:
        line = generator.choice(makers)(generator)
        lines.append(line)
    return tuple(lines)


@cache
def source_lines(count: int = 2_000) -> tuple[str, ...]:
    """Lines of English and code out of Python's own library: real text, with its indents."""
    lines: list[str] = []
    for module in (argparse, difflib, textwrap, unittest.mock, typing):
        lines += Path(str(module.__file__)).read_text(encoding="utf-8").split("\n")
    return tuple(line for line in dict.fromkeys(lines) if line.strip())[:count]


def _sentence(generator: random.Random) -> str:
    sentence = generator.choice(SENTENCES)
    change = generator.randrange(6)
    if change == 0:
        sentence = sentence.upper()
    elif change == 1:
        sentence = unicodedata.normalize("NFD", sentence)
    elif change == 2:
        start = generator.randrange(len(sentence))
        sentence = sentence[start:] + generator.choice(SPACES) + generator.choice(SENTENCES)[: start + 1]
    elif change == 3:
        place = generator.randrange(len(sentence))
        sentence = sentence[:place] + generator.choice(EMOJI + SPACES) + sentence[place:]
    return sentence


def _words(generator: random.Random) -> str:
    script = generator.choice(list(STRETCHES))
    words = ("".join(_characters(generator, script, generator.randint(1, 12))) for _ in range(generator.randint(1, 9)))
    return "".join(word + generator.choice(SPACES) for word in words)


def _soup(generator: random.Random) -> str:
    parts = []
    for _ in range(generator.randint(1, 16)):
        parts += _characters(generator, generator.choice(list(STRETCHES)), generator.randint(1, 4))
        parts.append(generator.choice(("", "", generator.choice(SPACES), generator.choice(EMOJI), "'s", "'ll", "▁", "##")))
    return "".join(parts)


def _named(generator: random.Random) -> str:
    (character,) = _characters(generator, generator.choice(list(STRETCHES)), 1)
    return f"{character}: {unicodedata.name(character, 'no name').capitalize()}, U+{ord(character):04X}."


def _characters(generator: random.Random, script: str, count: int) -> Iterator[str]:
    while count:
        character = chr(generator.randint(*generator.choice(STRETCHES[script])))
        if unicodedata.category(character) != "Cn":
            count -= 1
            yield character
