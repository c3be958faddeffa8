"""One clear error each: nothing to make a batch of, nothing to fill with, values that do not fit."""

import pytest
import torch

from transept import (
    DataCollatorForLanguageModeling,
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorForWholeWordMask,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
    default_data_collator,
)
from transept.errors import InputError


def everyone(tokenizer):
    makers = (
        DataCollatorForLanguageModeling,
        DataCollatorForMultipleChoice,
        DataCollatorForSeq2Seq,
        DataCollatorForTokenClassification,
        DataCollatorForWholeWordMask,
        DataCollatorWithPadding,
    )
    return [*(make(tokenizer) for make in makers), DataCollatorWithFlattening(), default_data_collator]


def test_no_examples(tokenizer):
    for collator in everyone(tokenizer):
        with pytest.raises(InputError, match="There are no examples"):
            collator([])


def test_an_unknown_kind_of_tensor(tokenizer, examples):
    for collator in everyone(tokenizer):
        with pytest.raises(InputError, match="`return_tensors` is 'tf': give \"pt\""):
            collator(examples, return_tensors="tf")


def test_keys_that_differ(tokenizer, examples):
    del examples[2]["attention_mask"]
    for collator in everyone(tokenizer):
        with pytest.raises(InputError, match="Example 2 of the batch has no `attention_mask`"):
            collator(examples)


def test_no_padding_token(tokenizer, examples):
    tokenizer.pad_token = None
    with pytest.raises(InputError, match=r"4 to 24 tokens.*no padding token.*pad_token = tokenizer.eos_token"):
        DataCollatorWithPadding(tokenizer)(examples)
    with pytest.raises(InputError, match="no padding token"):
        DataCollatorForLanguageModeling(tokenizer, mlm=False)([example["input_ids"] for example in examples])
    with pytest.raises(InputError, match="no padding token"):
        DataCollatorWithPadding(tokenizer, pad_to_multiple_of=64)(examples[:1])
    even = DataCollatorForLanguageModeling(tokenizer, mlm=False)([[5, 6, 7], [8, 9, 10]])
    assert even["labels"].tolist() == [[5, 6, 7], [8, 9, 10]], "nothing is missing"


def test_labels_that_nobody_fills(tokenizer, examples):
    ragged = [{**example, "labels": example["input_ids"]} for example in examples]
    with pytest.raises(InputError, match=r"`labels` has 4 to 24 entries, and `DataCollatorWithPadding` fills only"):
        DataCollatorWithPadding(tokenizer)(ragged)
    with pytest.raises(InputError, match="`text` holds text"):
        DataCollatorWithPadding(tokenizer)([{**example, "text": "a"} for example in examples])


def test_labels_of_a_wrong_length(tokenizer, examples):
    wrong = [{**example, "labels": [1] * len(example["input_ids"])} for example in examples]
    wrong[1]["labels"].append(1)
    with pytest.raises(InputError, match="`labels` of example 1 has"):
        DataCollatorForTokenClassification(tokenizer)(wrong)
    with pytest.raises(InputError, match="`labels` of example 1 has"):
        DataCollatorWithFlattening()(wrong)
    with pytest.raises(InputError, match=r"labels of example 0 have 40 entries, and 30 is the most"):
        DataCollatorForSeq2Seq(tokenizer, padding="max_length", max_length=30)([{**examples[0], "labels": [1] * 40}])
    with pytest.raises(InputError, match="leaves them so"):
        DataCollatorForSeq2Seq(tokenizer, padding=False)([{**examples[0], "labels": [1]}, {**examples[0], "labels": [1, 2]}])


def test_choices_of_different_numbers(tokenizer):
    examples = [{"input_ids": [[5], [6]], "label": 0}, {"input_ids": [[5], [6], [7]], "label": 0}]
    with pytest.raises(InputError, match="`input_ids` of example 1 has 3 choices, and example 0 has 2"):
        DataCollatorForMultipleChoice(tokenizer)(examples)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1, 2], [3]], "pt"),
        ([[1, 2], [3]], "np"),
        ([torch.ones(2), torch.ones(3)], "pt"),
        ([torch.ones(2), torch.ones(3)], "np"),
        ([{"a": 1}, {"a": 2}], "pt"),
        ([{"a": 1}, {"a": 2}], "np"),
    ],
    ids=str,
)
def test_values_that_cannot_be_stacked(values, kind):
    with pytest.raises(InputError, match="`x` cannot be stacked"):
        default_data_collator([{"x": value} for value in values], kind)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mlm_probability": 1.5}, "`mlm_probability` has to be"),
        ({"mlm_probability": None}, "`mlm_probability` has to be"),
        ({"mask_replace_prob": -0.1}, "`mask_replace_prob` has to be"),
        ({"mask_replace_prob": 0.8, "random_replace_prob": 0.3}, "more than 1 together"),
        ({"mlm": False, "whole_word_mask": True}, "contradicts `mlm=False`"),
    ],
)
def test_settings_out_of_range(tokenizer, settings, message):
    with pytest.raises(InputError, match=message):
        DataCollatorForLanguageModeling(tokenizer, **settings)


def test_no_mask_token(tokenizer):
    tokenizer.mask_token = None
    with pytest.raises(InputError, match=r"no mask token.*`mlm=False`"):
        DataCollatorForLanguageModeling(tokenizer)
    DataCollatorForLanguageModeling(tokenizer, mlm=False)


def test_whole_words_without_offsets(tokenizer, examples):
    with pytest.raises(InputError, match="return_offsets_mapping=True"):
        DataCollatorForWholeWordMask(tokenizer)(examples)
    with pytest.warns(UserWarning, match="With whole words every chosen token"):
        DataCollatorForLanguageModeling(tokenizer, whole_word_mask=True, mask_replace_prob=0.5)
