"""The languages that Whispers know, in the order of their tokens, and other names that people use for some."""

from __future__ import annotations

from transept.errors import InputError, did_you_mean

__all__ = ["LANGUAGES", "TASKS", "language_code"]

_TABLE = """
    en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese,
    tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi, fi finnish,
    vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish, hu hungarian, ta tamil,
    no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin, mi maori, ml malayalam, cy welsh,
    sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian, az azerbaijani, sl slovenian, kn kannada,
    et estonian, mk macedonian, br breton, eu basque, is icelandic, hy armenian, ne nepali, mn mongolian, bs bosnian,
    kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, pa punjabi, si sinhala, km khmer, sn shona, yo yoruba,
    so somali, af afrikaans, oc occitan, ka georgian, be belarusian, tg tajik, sd sindhi, gu gujarati, am amharic,
    yi yiddish, lo lao, uz uzbek, fo faroese, ht haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese,
    sa sanskrit, lb luxembourgish, my myanmar, bo tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw hawaiian,
    ln lingala, ha hausa, ba bashkir, jw javanese, su sundanese, yue cantonese
"""
_OTHER_NAMES = {
    "burmese": "my",
    "valencian": "ca",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "pushto": "ps",
    "panjabi": "pa",
    "moldavian": "ro",
    "moldovan": "ro",
    "sinhalese": "si",
    "castilian": "es",
    "mandarin": "zh",
}

LANGUAGES: dict[str, str] = dict(entry.split(" ", 1) for entry in " ".join(_TABLE.split()).split(", "))
"""English name by code; a code's token is `<|code|>`."""

TASKS = ("transcribe", "translate")

_CODES = {name: code for code, name in LANGUAGES.items()} | _OTHER_NAMES


def language_code(language: str) -> str:
    """The code of a language that is named by its code, its token or its English name.

    Raises:
        InputError: no Whisper knows such a language.
    """
    said = language.lower().removeprefix("<|").removesuffix("|>")
    code = said if said in LANGUAGES else _CODES.get(said)
    if code is None:
        raise InputError(f"No Whisper knows the language `{language}`.{did_you_mean(said, (*LANGUAGES, *_CODES))}")
    return code
