"""One thing, lists, datasets and generators; batches that change nothing; work that is done when it is asked for."""

import io
import sys

import pytest
import torch
from transept_pipelines import KeyDataset, KeyPairDataset, Results

import transept


@pytest.fixture(scope="module")
def classify(classifier):
    return transept.pipeline("text-classification", model=str(classifier), device="cpu")


class Rows:
    """A dataset as `datasets.Dataset` looks from outside: a length, and rows that are mappings."""

    def __init__(self, texts):
        self.texts, self.read = texts, []

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, place):
        if place >= len(self.texts):
            raise IndexError(place)
        self.read.append(place)
        return {"text": self.texts[place], "other": "the river bank", "label": place}


def rounded(results):
    return [(each["label"], round(each["score"], 4)) for each in results]


def test_a_list_a_tuple_a_dataset_and_a_generator_give_the_same(classify, texts):
    expected = rounded(classify(texts))
    assert rounded(classify(tuple(texts))) == expected
    assert rounded(classify(KeyDataset(Rows(texts), "text"))) == expected
    assert rounded(classify(text for text in texts)) == expected
    assert rounded(classify(iter(texts))) == expected
    assert rounded(classify(dict.fromkeys(texts).keys())) == expected
    assert rounded([classify(text)[0] for text in texts]) == expected


@pytest.mark.parametrize("batch_size", [2, 4, 100])
def test_a_batch_changes_no_result(classify, texts, batch_size):
    assert rounded(classify(texts, batch_size=batch_size)) == rounded(classify(texts))
    assert rounded(classify(iter(texts), batch_size=batch_size)) == rounded(classify(texts))


@pytest.mark.parametrize("strategy", ["none", "first"])
def test_batches_are_filled_across_the_parts_of_long_texts(ner, texts, strategy):
    pipe = transept.pipeline("ner", model=str(ner), device="cpu", aggregation_strategy=strategy)
    stride = {} if strategy == "none" else {"stride": 4}
    inputs = [texts[0], " ".join(texts) if stride else texts[1], texts[2]]
    sizes = []
    hook = pipe.model.register_forward_hook(lambda *_: sizes.append(1))
    expected, single = pipe(inputs, **stride), len(sizes)
    found = pipe(inputs, batch_size=3, **stride)
    hook.remove()
    assert len(sizes) - single == -(-single // 3)
    assert [[e["word"] for e in each] for each in found] == [[e["word"] for e in each] for each in expected]
    for mine, other in zip(found, expected, strict=True):
        assert [e["score"] for e in mine] == pytest.approx([e["score"] for e in other], abs=1e-5)


def test_generated_texts_of_a_batch_equal_singles(llama, texts):
    pipe = transept.pipeline("text-generation", model=str(llama()), device="cpu", do_sample=False, max_new_tokens=10)
    prompts = [texts[0], "A", texts[1] + texts[2], ""]
    assert pipe.tokenizer.padding_side == "right"
    singles = [pipe(prompt) for prompt in prompts]
    assert pipe(prompts, batch_size=4) == singles
    assert pipe(prompts, batch_size=3, return_tensors=True) == [pipe(prompt, return_tensors=True) for prompt in prompts]
    assert pipe.tokenizer.padding_side == "right", "a pipeline changes no setting of the tokenizer"


def test_features_of_a_batch_have_no_padding(bert, texts):
    pipe = transept.pipeline("feature-extraction", model=str(bert("Model")), device="cpu", return_tensors=True)
    for mine, other in zip(pipe(texts, batch_size=6), pipe(texts), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_masks_in_a_batch(bert, assert_alike):
    pipe = transept.pipeline("fill-mask", model=str(bert("ForMaskedLM")), device="cpu")
    inputs = ["Anna works in [MASK].", "[MASK] runs, and the lazy dog jumps over [MASK]."]
    assert_alike(pipe(inputs, batch_size=2), pipe(inputs))


def test_a_stream_is_worked_on_as_it_is_asked(classify, texts):
    rows = Rows(texts)
    results = classify(KeyDataset(rows, "text"), batch_size=2)
    assert isinstance(results, Results)
    assert len(results) == len(texts)
    assert rows.read == []
    next(results)
    assert rows.read == [0, 1]
    assert len(list(results)) == len(texts) - 1

    def endless():
        while True:
            yield texts[0]

    stream = classify(endless())
    assert next(stream)["label"] == next(stream)["label"]
    with pytest.raises(TypeError, match="no"):
        len(stream)
    assert list(classify(iter([]))) == []


def test_columns_of_a_dataset(classify, texts):
    rows = Rows(texts)
    column = KeyDataset(rows, "text")
    assert column[:2] == texts[:2]
    assert column[-1:] == texts[-1:]
    pairs = KeyPairDataset(rows, "other", "other")
    assert pairs[0] == {"text": "the river bank", "text_pair": "the river bank"}
    assert len(list(classify(pairs))) == len(texts)
    with pytest.raises(transept.InputError, match=r"no column `txt`\. Did you mean `text`"):
        KeyDataset(rows, "txt")[0]
    with pytest.raises(transept.InputError, match="KeyDataset"):
        next(classify(rows))


def test_a_bar_only_on_a_terminal(classify, texts, monkeypatch):
    def shown(is_terminal, inputs, **arguments):
        screen = io.StringIO()
        screen.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", screen)
        list(classify(inputs, **arguments))
        monkeypatch.undo()
        return screen.getvalue()

    assert "6/6" in shown(True, texts, progress_bar=True)
    assert "6/6" in shown(True, KeyDataset(Rows(texts), "text"), progress_bar=True)
    assert shown(False, texts, progress_bar=True) == ""
    assert shown(True, texts, progress_bar=False) == ""
    assert shown(True, texts) == "", "a list that is done in a moment needs none"


def test_a_model_in_training_predicts_without_dropout_and_goes_on_training(classifier, texts):
    model = transept.AutoModelForSequenceClassification.from_pretrained(classifier)
    pipe = transept.pipeline("text-classification", model=model)
    expected = rounded(pipe(texts))
    model.train()
    assert rounded(pipe(texts)) == expected
    assert model.training
    assert model.bert.embeddings.dropout.training


def test_no_gradients_are_kept(bert, texts):
    pipe = transept.pipeline("feature-extraction", model=str(bert("Model")), device="cpu", return_tensors=True)
    assert not pipe(texts[0]).requires_grad


def test_settings_of_a_call_do_not_stay(classify, texts):
    before = classify(texts[0])
    assert len(classify(texts[0], top_k=None)) == 3
    assert classify(texts[0]) == before


def test_a_streamer_hears_the_text(llama, texts):
    pipe = transept.pipeline("text-generation", model=str(llama()), device="cpu", do_sample=False, max_new_tokens=8)
    streamer = transept.TextIteratorStreamer(pipe.tokenizer, skip_prompt=True, skip_special_tokens=True)
    expected = pipe(texts[0], return_full_text=False, streamer=streamer)[0]["generated_text"]
    assert "".join(streamer) == expected


def test_scores_of_the_generator_come_along(llama, texts):
    pipe = transept.pipeline("text-generation", model=str(llama()), device="cpu", do_sample=False, max_new_tokens=3)
    given = {"return_dict_in_generate": True, "output_scores": True}
    (found,) = pipe(texts[0], **given)
    assert len(found["scores"]) == 3
    assert len(found["scores"][0]) == pipe.model.config.vocab_size


def test_a_generation_config_and_what_comes_before_it(llama, texts):
    pipe = transept.pipeline("text-generation", model=str(llama()), device="cpu", return_tensors=True, return_full_text=True)
    prompt = len(pipe.tokenizer(texts[0])["input_ids"])

    def length(**given):
        return len(pipe(texts[0], eos_token_id=None, **given)[0]["generated_token_ids"]) - prompt

    config = transept.GenerationConfig(max_new_tokens=4, do_sample=False)
    assert length(generation_config=config) == 4
    assert length(generation_config=config, max_new_tokens=2) == 2
    assert config.max_new_tokens == 4
    pipe.model.generation_config.max_new_tokens = 5
    assert length() == 5


def test_saved_and_loaded_again(classify, texts, tmp_path):
    classify.save_pretrained(tmp_path)
    again = transept.pipeline("text-classification", model=str(tmp_path))
    assert rounded(again(texts)) == rounded(classify(texts))
    assert "text-classification" in repr(again)
    assert (again.device, again.dtype) == (torch.device("cpu"), torch.float32)
    assert again.predict(texts) == again.transform(texts) == again(texts)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_half_the_size(classifier, texts, dtype):
    pipe = transept.pipeline("text-classification", model=str(classifier), dtype=dtype, device="cpu")
    assert pipe.dtype == getattr(torch, dtype)
    assert sum(each["score"] for each in pipe(texts[0], top_k=None)) == pytest.approx(1, abs=1e-3)
