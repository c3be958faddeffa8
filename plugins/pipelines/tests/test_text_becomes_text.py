"""Encoder–decoders: text out of text, with the settings that a checkpoint has for a task. The peer has no such pipelines any more:
its model and tokenizer, called by hand, say what must come out."""

import json
import shutil

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import transept

SPECIFIC = {
    "summarization": {"prefix": "summarize: ", "max_length": 9, "min_length": 4},
    "translation_en_to_de": {"prefix": "translate English to German: ", "max_length": 7},
    "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 5},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, texts):
    """A random T5, with a tokenizer that ends each text with `</s>`."""
    path = tmp_path_factory.mktemp("t5")
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator(
        [*texts, *(each["prefix"] for each in SPECIFIC.values())],
        trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=128
    )
    torch.manual_seed(5)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0,
        task_specific_params=SPECIFIC,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1.5)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    assert json.loads((path / "config.json").read_text())["task_specific_params"] == SPECIFIC
    return path


@pytest.fixture(scope="module")
def by_hand(folder):
    """The text that the peer's model makes of one."""
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def generate(text, **arguments):
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        output = model.generate(**inputs, do_sample=False, **arguments)
        return tokenizer.decode(output[0], skip_special_tokens=True)

    return generate


def pipe_of(task, folder, **settings):
    return transept.pipeline(task, model=str(folder), device="cpu", **settings)


def test_text2text(folder, by_hand, texts):
    pipe = pipe_of("text2text-generation", folder)
    expected = [by_hand(text, max_new_tokens=10) for text in texts[:3]]
    assert len(set(expected)) > 1, "the texts make a difference, or nothing is compared"
    assert pipe(texts[0], max_new_tokens=10) == [{"generated_text": expected[0]}]
    assert pipe(texts[:3], max_new_tokens=10) == [{"generated_text": text} for text in expected]
    assert pipe(texts[:3], max_new_tokens=10, batch_size=3) == [{"generated_text": text} for text in expected]
    ids = pipe(texts[0], max_new_tokens=10, return_tensors=True)[0]["generated_token_ids"]
    assert pipe.tokenizer.decode(ids, skip_special_tokens=True) == expected[0]


def test_summaries_follow_the_checkpoints_settings(folder, by_hand, texts):
    pipe = pipe_of("summarization", folder)
    assert pipe(texts[0]) == [{"summary_text": by_hand("summarize: " + texts[0], max_length=9, min_length=4)}]
    longer = by_hand("summarize: " + texts[0], max_new_tokens=14, min_length=4)
    assert pipe(texts[0], max_new_tokens=14) == [{"summary_text": longer}]
    assert pipe(texts[0], max_new_tokens=2) == [{"summary_text": by_hand("summarize: " + texts[0], max_new_tokens=2)}]
    assert pipe(texts[0], prefix="", max_new_tokens=9) == [{"summary_text": by_hand(texts[0], max_new_tokens=9, min_length=4)}]


@pytest.mark.parametrize(("target", "language", "length"), [("de", "German", 7), ("fr", "French", 5)])
def test_translations_by_name_and_by_language(folder, by_hand, texts, target, language, length):
    expected = [{"translation_text": by_hand(f"translate English to {language}: " + texts[1], max_length=length)}]
    named = pipe_of(f"translation_en_to_{target}", folder)
    assert named.task == f"translation_en_to_{target}"
    assert named(texts[1]) == expected
    given = pipe_of("translation", folder)
    assert given(texts[1], src_lang="en", tgt_lang=target) == expected
    assert given([texts[1]] * 2, src_lang="en", tgt_lang=target, batch_size=2) == expected * 2
    assert pipe_of("translation", folder, src_lang="en", tgt_lang=target)(texts[1]) == expected


def test_languages_that_the_checkpoint_lacks(folder):
    with pytest.raises(transept.InputError, match="translation_en_to_de"):
        pipe_of("translation_en_to_it", folder)("Hello")
    with pytest.raises(transept.InputError, match="both `src_lang` and `tgt_lang`"):
        pipe_of("translation", folder)("Hello", tgt_lang="de")


def test_a_checkpoint_for_one_pair_needs_no_settings(folder, by_hand, texts, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["task_specific_params"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    pipe = pipe_of("translation_en_to_de", tmp_path)
    assert pipe(texts[0], max_new_tokens=6) == [{"translation_text": by_hand(texts[0], max_new_tokens=6)}]
    with pytest.raises(transept.InputError, match="names no languages"):
        pipe(texts[0], src_lang="en", tgt_lang="de")


def test_a_tokenizer_with_language_codes_gets_the_languages(folder, texts):
    """As the peer's multilingual tokenizers do it: ids with the source's code, and the target's code as the first token."""
    pipe = pipe_of("translation", folder)
    asked = []

    def build(text, *, src_lang, tgt_lang, **options):
        asked.append((src_lang, tgt_lang))
        return {**pipe.tokenizer(text, **options), "forced_bos_token_id": 50}

    pipe.tokenizer._build_translation_inputs = build
    found = pipe([texts[0], texts[1]], src_lang="en_XX", tgt_lang="de_DE", max_new_tokens=4, return_tensors=True, batch_size=2)
    assert asked == [("en_XX", "de_DE")] * 2
    assert [each["translation_token_ids"][1] for each in found] == [50, 50]


def test_the_head_alone_chooses_text_to_text(folder):
    assert transept.pipeline(model=str(folder), device="cpu").task == "text2text-generation"


def test_features_of_an_encoder_decoder_are_its_encoders(folder, texts):
    pipe = pipe_of("feature-extraction", folder)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        expected = model.encoder(**tokenizer(texts[0], return_tensors="pt", return_token_type_ids=False)).last_hidden_state
    torch.testing.assert_close(pipe(texts[0], return_tensors=True), expected, atol=1e-4, rtol=1e-4)


def test_beams_are_the_generators_affair(folder, texts):
    pytest.importorskip("transept_beam")
    pipe = pipe_of("text2text-generation", folder)
    found = pipe(texts[:2], num_beams=3, num_return_sequences=2, max_new_tokens=6)
    assert [len(each) for each in found] == [2, 2]
