"""The kit passes a tokenizer that keeps its promises, and finds those that a sibling breaks."""

import inspect

import pytest
from _pytest.outcomes import Failed
from transept_testing import TokenizerConformance

tokenizers = pytest.importorskip("tokenizers")
fast = pytest.importorskip("transept_tokenizers.fast")

WORDS = ["<unk>", "<pad>", "<s>", "hello", "world", "the", "quick", "fox", ",", "!", ".", "it", "'", "s"]


class Base(TokenizerConformance):
    fast = fast.PreTrainedTokenizerFast
    settings = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>"}  # noqa: RUF012

    def write_files(self, folder):
        backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
        backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 2)]
        )
        backend.save(str(folder / "tokenizer.json"))


class TestWords(Base):
    """Keeps them all."""


class DropsATokenOfABatch(fast.PreTrainedTokenizerFast):
    def _encode_batch(self, texts, **options):
        found = super()._encode_batch(texts, **options)
        return [*found[:-1], *super()._encode_batch([texts[-1]] if len(texts) == 1 else ["fox"], **options)]


class KeepsTheLastCall(fast.PreTrainedTokenizerFast):
    def _encode_batch(self, texts, *, truncation=None, **options):
        if truncation is not None:
            self.last = truncation
        return super()._encode_batch(texts, truncation=getattr(self, "last", None), **options)


class PadsOnTheRight(fast.PreTrainedTokenizerFast):
    def __call__(self, *args, padding_side=None, **kwargs):
        return super().__call__(*args, **kwargs)


class ShiftsOffsets(fast.PreTrainedTokenizerFast):
    def __call__(self, *args, **kwargs):
        found = super().__call__(*args, **kwargs)
        if "offset_mapping" in found:
            found["offset_mapping"] = [(start, end + 1) for start, end in found["offset_mapping"]]
        return found


class CountsItsSpecialTokensWrong(fast.PreTrainedTokenizerFast):
    def num_special_tokens_to_add(self, pair=False):
        return 0


class SavesNoSettings(fast.PreTrainedTokenizerFast):
    def _saved_settings(self):
        return {"tokenizer_class": type(self).__name__}


class SwallowsKeywords(fast.PreTrainedTokenizerFast):
    def __call__(self, *args, max_lenght=None, **kwargs):
        return super().__call__(*args, **kwargs)


BROKEN = [
    (DropsATokenOfABatch, "test_a_batch_is_its_texts", {}),
    (KeepsTheLastCall, "test_truncation_cuts_from_its_side", {"side": "right"}),
    (KeepsTheLastCall, "test_threads_share_one", {}),
    (PadsOnTheRight, "test_padding_fills_a_batch", {"side": "left"}),
    (ShiftsOffsets, "test_offsets_say_where_tokens_stand", {}),
    (CountsItsSpecialTokensWrong, "test_special_tokens_are_marked_and_left_out", {}),
    (SavesNoSettings, "test_saved_and_loaded_gives_the_same_ids", {}),
    (SwallowsKeywords, "test_what_is_no_text_is_refused", {}),
]


@pytest.mark.parametrize(("sibling", "test", "arguments"), BROKEN, ids=[f"{s.__name__}-{t}" for s, t, _ in BROKEN])
def test_the_check_fails(sibling, test, arguments, tmp_path):
    class Suite(Base):
        fast = sibling

    folder = tmp_path / "files"
    folder.mkdir()
    suite = Suite()
    suite.write_files(folder)
    given = {"kind": "fast", "folder": folder, "tmp_path": tmp_path, **arguments}
    check = getattr(suite, test)
    with pytest.raises((AssertionError, Failed)):
        check(**{name: given[name] for name in inspect.signature(check).parameters})
