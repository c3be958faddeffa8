"""A checkpoint folder is all that pipelines need."""

import pytest
import torch

import transept

pipelines = pytest.importorskip("transept_pipelines", reason="transept-pipelines is not installed")


@pytest.fixture
def folder(tmp_path, bart_config, write_small_vocabulary):
    size = write_small_vocabulary(tmp_path)
    torch.manual_seed(0)
    model = transept.BartForConditionalGeneration(
        bart_config(vocab_size=size, tie_word_embeddings=False, max_position_embeddings=80)
    )
    model.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("task", "name"), [("summarization", "summary_text"), ("text2text-generation", "generated_text")])
def test_a_text_becomes_a_text(folder, task, name):
    text = "hello world, hello word"
    found = transept.pipeline(task, model=str(folder))(text, max_new_tokens=6)
    model, tokenizer = (
        transept.BartForConditionalGeneration.from_pretrained(folder),
        transept.BartTokenizer.from_pretrained(folder),
    )
    written = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=6)[0]
    assert found == [{name: tokenizer.decode(written, skip_special_tokens=True)}]
    assert found[0][name]


def test_a_mask_is_filled(folder):
    text = "hello <mask>"
    found = transept.pipeline("fill-mask", model=str(folder))(text, top_k=3)
    model, tokenizer = (
        transept.BartForConditionalGeneration.from_pretrained(folder),
        transept.BartTokenizer.from_pretrained(folder),
    )
    inputs = tokenizer(text, return_tensors="pt")
    place = inputs["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.no_grad():
        expected = model(**inputs).logits[0, place].softmax(-1).topk(3)
    assert [each["token"] for each in found] == expected.indices.tolist()
    assert [each["score"] for each in found] == pytest.approx(expected.values.tolist(), rel=1e-4)
