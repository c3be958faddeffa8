"""A small word tokenizer as a folder that both libraries open, and texts of different lengths."""

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

TEXTS = ["the quick brown fox jumps", "unbelievable", "a fox is quicker than a dog, isn't it?", "the dog"]


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(TEXTS * 3, trainers.WordPieceTrainer(vocab_size=60, special_tokens=special))
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    folder = tmp_path_factory.mktemp("tokenizer")
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    return folder


@pytest.fixture(params=["ours", "the peer's"])
def tokenizer(request, tokenizer_folder):
    """Our tokenizer, and the peer's: a collator takes either."""
    if request.param == "the peer's":
        return transformers.AutoTokenizer.from_pretrained(tokenizer_folder)
    pytest.importorskip("transept_tokenizers")
    from transept import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture
def peers_tokenizer(tokenizer_folder):
    return transformers.AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture
def examples(peers_tokenizer):
    """Dicts of lists, as a dataset gives them."""
    return [dict(peers_tokenizer(text)) for text in TEXTS]


@pytest.fixture
def same():
    """Whether two batches have the same keys, kinds, dtypes and values."""

    def check(got, expected):
        assert list(got) == list(expected)
        for name, value in expected.items():
            assert type(got[name]) is type(value), name
            if isinstance(value, torch.Tensor):
                assert got[name].dtype == value.dtype, name
                assert torch.equal(got[name], value), name
            elif isinstance(value, np.ndarray):
                assert got[name].dtype == value.dtype, name
                np.testing.assert_array_equal(got[name], value)
            else:
                assert got[name] == value, name

    return check
