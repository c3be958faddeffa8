"""Collators that leave nothing to chance give what the peer's give, for its tokenizers and ours, as tensors and arrays."""

import numpy as np
import pytest
import torch
import transformers

import transept

KINDS = pytest.mark.parametrize("kind", ["pt", "np"])
SIDES = pytest.mark.parametrize("side", ["left", "right"])


def both(name, tokenizer, peers_tokenizer, **settings):
    return getattr(transept, name)(tokenizer, **settings), getattr(transformers, name)(peers_tokenizer, **settings)


@pytest.fixture(autouse=True)
def on_a_side(request, tokenizer, peers_tokenizer):
    side = request.node.callspec.params.get("side", "right")
    tokenizer.padding_side = peers_tokenizer.padding_side = side


@KINDS
@SIDES
@pytest.mark.parametrize(
    "settings",
    [{}, {"pad_to_multiple_of": 8}, {"padding": "max_length", "max_length": 24}, {"padding": "longest"}],
    ids=lambda settings: ",".join(settings) or "plain",
)
@pytest.mark.parametrize("label", [{}, {"label": 1}, {"label": 0.5}, {"label_ids": [1, 0]}, {"labels": 2}], ids=str)
def test_inputs_are_filled(tokenizer, peers_tokenizer, examples, same, kind, side, settings, label):
    ours, theirs = both("DataCollatorWithPadding", tokenizer, peers_tokenizer, return_tensors=kind, **settings)
    examples = [{**example, **label} for example in examples]
    same(dict(ours(examples)), dict(theirs(examples)))


@KINDS
@SIDES
@pytest.mark.parametrize("name", ["label", "labels"])
def test_labels_of_tokens_are_filled(tokenizer, peers_tokenizer, examples, same, kind, side, name):
    settings = {"return_tensors": kind, "pad_to_multiple_of": 8}
    ours, theirs = both("DataCollatorForTokenClassification", tokenizer, peers_tokenizer, **settings)
    labelled = [{**example, name: [7] * len(example["input_ids"])} for example in examples]
    same(dict(ours(labelled)), dict(theirs(labelled)))
    same(dict(ours(examples)), dict(theirs(examples)))
    if kind == "pt":
        tensors = [{key: torch.tensor(value) for key, value in example.items()} for example in labelled]
        same(dict(ours(tensors)), dict(theirs(labelled)))


@KINDS
@SIDES
@pytest.mark.parametrize(
    "settings",
    [{}, {"pad_to_multiple_of": 8}, {"padding": "max_length", "max_length": 24}, {"label_pad_token_id": 0}],
    ids=lambda settings: ",".join(settings) or "plain",
)
def test_labels_of_another_length_are_filled(tokenizer, peers_tokenizer, examples, same, kind, side, settings):
    ours, theirs = both("DataCollatorForSeq2Seq", tokenizer, peers_tokenizer, return_tensors=kind, **settings)
    labelled = [{**example, "labels": list(range(3 + 2 * i))} for i, example in enumerate(examples)]
    same(dict(ours(labelled)), dict(theirs(labelled)))
    same(dict(ours(examples)), dict(theirs(examples)))
    same(dict(ours([{**e, "labels": None} for e in examples])), dict(theirs([{**e, "labels": None} for e in examples])))
    arrays = [{**example, "labels": np.array(example["labels"])} for example in labelled]
    same(dict(ours(arrays)), dict(theirs(labelled)))


def test_even_rows_may_stay_unfilled(tokenizer, peers_tokenizer, examples, same):
    ours, theirs = both("DataCollatorForSeq2Seq", tokenizer, peers_tokenizer, padding=False)
    even = [{**examples[0], "labels": [1, 2]}] * 2
    same(dict(ours(even)), dict(theirs(even)))


def test_a_models_decoder_inputs_are_made_of_the_labels(tokenizer, peers_tokenizer, examples, same):
    class Model:
        def prepare_decoder_input_ids_from_labels(self, labels):
            return labels.roll(1, 1).clamp(min=0)

    ours, theirs = both("DataCollatorForSeq2Seq", tokenizer, peers_tokenizer, model=Model())
    labelled = [{**example, "labels": [5, 6, 7][:length]} for example, length in zip(examples, (1, 2, 3, 2), strict=True)]
    same(dict(ours(labelled)), dict(theirs(labelled)))


@SIDES
def test_choices_are_filled_together(tokenizer, peers_tokenizer, examples, same, side):
    ours, theirs = both("DataCollatorForMultipleChoice", tokenizer, peers_tokenizer)
    first, second, third, fourth = examples
    choices = [
        {key: [first[key], second[key]] for key in first} | {"label": 1},
        {key: [third[key], fourth[key]] for key in third} | {"label": 0},
    ]
    same(ours(choices), theirs(choices))
    assert ours(choices)["input_ids"].shape == (2, 2, len(third["input_ids"]))
    unlabelled = [{key: value for key, value in each.items() if key != "label"} for each in choices]
    assert "labels" not in ours(unlabelled)
    arrays = transept.DataCollatorForMultipleChoice(tokenizer, return_tensors="np")(choices)
    np.testing.assert_array_equal(arrays["input_ids"], theirs(choices)["input_ids"])


@KINDS
@SIDES
def test_the_next_token_is_the_label(tokenizer, peers_tokenizer, examples, same, kind, side):
    settings = {"mlm": False, "return_tensors": kind, "pad_to_multiple_of": 4}
    ours, theirs = both("DataCollatorForLanguageModeling", tokenizer, peers_tokenizer, **settings)
    same(dict(ours(examples)), dict(theirs(examples)))
    rows = [example["input_ids"] for example in examples]
    same(ours(rows), theirs(rows))
    if kind == "pt":
        same(ours([torch.tensor(row) for row in rows]), theirs(rows))


@KINDS
@SIDES
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mlm_probability": 0.5, "mask_replace_prob": 0.5, "random_replace_prob": 0.4},
        {"mask_replace_prob": 1.0, "random_replace_prob": 0.0},
        {"mask_replace_prob": 0.0, "random_replace_prob": 1.0, "mlm_probability": 1.0},
    ],
    ids=lambda settings: ",".join(settings) or "plain",
)
def test_a_seed_gives_the_peers_masks(tokenizer, peers_tokenizer, examples, same, kind, side, settings):
    settings = {"return_tensors": kind, "seed": 11, **settings}
    ours, theirs = both("DataCollatorForLanguageModeling", tokenizer, peers_tokenizer, **settings)
    for batch in (examples, examples[:2], examples * 3):
        same(dict(ours(batch)), dict(theirs(batch)))
    known = [{**example, "special_tokens_mask": [1] + [0] * (len(example["input_ids"]) - 1)} for example in examples]
    same(dict(ours(known)), dict(theirs(known)))


@KINDS
def test_the_processes_chance_gives_the_peers_masks(tokenizer, peers_tokenizer, examples, same, kind):
    batches = []
    for collator in both("DataCollatorForLanguageModeling", tokenizer, peers_tokenizer, return_tensors=kind):
        torch.manual_seed(3)
        np.random.seed(3)
        batches.append(dict(collator(examples * 4)))
    same(*batches)


@KINDS
def test_a_seed_gives_the_peers_masked_words(tokenizer, peers_tokenizer, same, kind):
    settings = {"return_tensors": kind, "seed": 4, "mlm_probability": 0.4, "whole_word_mask": True, "mask_replace_prob": 1.0}
    settings["random_replace_prob"] = 0.0
    ours, theirs = both("DataCollatorForLanguageModeling", tokenizer, peers_tokenizer, **settings)
    # of one length: the peer does not fill offsets
    text = "unbelievable foxes jumping quickly over doggedness"
    options = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    examples = [dict(peers_tokenizer(text, **options))] * 5
    got = ours(examples)
    same(dict(got), dict(theirs(examples)))
    shorthand = transept.DataCollatorForWholeWordMask(tokenizer, return_tensors=kind, seed=4, mlm_probability=0.4)
    same(dict(shorthand(examples)), dict(got))


FEATURES = [
    [{"input_ids": [1, 2], "label": 1}, {"input_ids": [3, 4], "label": 0}],
    [{"x": [1.5, 2.0], "label": 0.5}, {"x": [3.0, 4.0], "label": 1.5}],
    [{"x": 1, "label_ids": [1, 2]}, {"x": 2, "label_ids": [3, 4]}],
    [{"x": 1, "label_ids": [0.5]}, {"x": 2, "label_ids": [1.5]}],
    [{"x": 1, "text": "a", "none": None, "label": None}, {"x": 2, "text": "b", "none": None, "label": None}],
    [
        {"x": np.ones((2, 3), dtype=np.float32), "label": np.int64(1)},
        {"x": np.zeros((2, 3), dtype=np.float32), "label": np.int64(2)},
    ],
    [{"x": True, "label": True}, {"x": False, "label": False}],
    [{"x": [[1, 2], [3, 4]], "labels": [1, 2]}, {"x": [[1, 2], [3, 4]], "labels": [1, 2]}],
]


@KINDS
@pytest.mark.parametrize("features", FEATURES, ids=lambda features: ",".join(features[0]))
def test_values_are_stacked(same, kind, features):
    same(transept.default_data_collator(features, kind), transformers.default_data_collator(features, kind))
    same(transept.DefaultDataCollator(return_tensors=kind)(features), transformers.DefaultDataCollator(kind)(features))


def test_tensors_and_objects_are_stacked(same):
    class Example:
        def __init__(self, x, label):
            self.x, self.label = x, label

    features = [Example([1, 2], 0), Example([3, 4], 1)]
    same(transept.default_data_collator(features), transformers.default_data_collator(features))
    tensors = [{"x": torch.tensor([1, 2]), "label": torch.tensor(1)}, {"x": torch.tensor([3, 4]), "label": torch.tensor(2)}]
    same(transept.default_data_collator(tensors), transformers.default_data_collator(tensors))
    rows = [{"label_ids": torch.tensor([1, 2])}, {"label_ids": torch.tensor([3, 4])}]
    same(transept.default_data_collator(rows), transformers.default_data_collator(rows))


@KINDS
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"return_flash_attn_kwargs": True, "return_seq_idx": True},
        {"return_position_ids": False, "separator_id": 9},
        {"position_ids_start": 2},
    ],
    ids=lambda settings: ",".join(settings) or "plain",
)
def test_examples_are_packed(examples, same, kind, settings):
    ours = transept.DataCollatorWithFlattening(return_tensors=kind, **settings)
    theirs = transformers.DataCollatorWithFlattening(return_tensors=kind, **settings)
    rows = [{"input_ids": example["input_ids"]} for example in examples]
    same(ours(rows), theirs(rows))
    labelled = [{**row, "labels": [2 * i for i in row["input_ids"]]} for row in rows]
    same(ours(labelled), theirs(labelled))
    same(ours([{k: torch.tensor(v) for k, v in row.items()} for row in labelled]), theirs(labelled))
    same(ours(labelled, separator_id=5), theirs(labelled, separator_id=5))
