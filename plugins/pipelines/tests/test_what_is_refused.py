"""Each wrong request gets one error that says what, where and what to do."""

import json
import shutil

import pytest
from transept_pipelines import Pipeline

import transept


@pytest.fixture(scope="module")
def classify(classifier):
    return transept.pipeline("text-classification", model=str(classifier), device="cpu")


def test_an_unknown_task_names_the_near_and_the_installed():
    with pytest.raises(transept.PluginNotFoundError, match="Did you mean `text-classification`") as refused:
        transept.pipeline("text-clasification", model="anywhere")
    assert "Installed tasks: " in str(refused.value)
    assert "`zero-shot-classification`" in str(refused.value)
    with pytest.raises(transept.InputError, match="goes into `model=`"):
        transept.pipeline(3)


def test_no_model_says_which_kind_to_pass():
    with pytest.raises(transept.InputError, match="AutoModelForSequenceClassification"):
        transept.pipeline("sentiment-analysis")
    with pytest.raises(transept.InputError, match="AutoModelForSeq2SeqLM"):
        transept.pipeline("translation_en_to_de")
    with pytest.raises(transept.InputError, match="needs a model"):
        transept.pipeline()


def test_an_architecture_without_the_head(llama):
    with pytest.raises(transept.UnsupportedTaskError, match=r"AutoModelForMaskedLM.*It has `AutoModel`"):
        transept.pipeline("fill-mask", model=str(llama()))


def test_a_loaded_model_with_another_head(classifier, llama):
    model = transept.AutoModelForSequenceClassification.from_pretrained(classifier)
    with pytest.raises(transept.UnsupportedTaskError, match="it needs `BertForTokenClassification`"):
        transept.pipeline("ner", model=model)
    with pytest.raises(
        transept.UnsupportedTaskError, match=r"`bert` has no head for it; it has .*`BertForMaskedLM`"
    ) as refused:
        transept.pipeline("summarization", model=model)
    assert str(refused.value).count("`BertModel`") == 1  # a class may serve several tasks


@pytest.mark.filterwarnings("ignore:`BertForSequenceClassification`")
def test_a_checkpoint_without_the_heads_weights(bert, texts):
    with pytest.raises(transept.UnsupportedTaskError, match=r"classifier.weight.*would be random"):
        transept.pipeline("text-classification", model=str(bert("Model")))
    model = transept.AutoModelForSequenceClassification.from_pretrained(bert("Model"))
    assert transept.pipeline("text-classification", model=model)(texts[0])


def test_a_task_that_cannot_be_told(bert, tmp_path):
    shutil.copytree(bert("Model"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    for architectures in ([], ["BertForDreaming"]):
        (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": architectures}))
        with pytest.raises(transept.InputError, match="Name it: "):
            transept.pipeline(model=str(tmp_path))


def test_settings_for_loading_beside_a_loaded_model(classify):
    for arguments in ({"dtype": "float16"}, {"revision": "main"}, {"device_map": "cpu"}, {"model_kwargs": {"mmap": False}}):
        with pytest.raises(transept.InputError, match="is loaded already"):
            transept.pipeline("text-classification", model=classify.model, **arguments)


def test_what_is_said_twice(classifier):
    with pytest.raises(transept.PlacementError, match="give one"):
        transept.pipeline(model=str(classifier), device="cpu", device_map="cpu")
    with pytest.raises(transept.InputError, match="given twice"):
        transept.pipeline(model=str(classifier), dtype="float32", model_kwargs={"dtype": "float16"})
    with pytest.raises(transept.InputError, match="differ"):
        transept.pipeline(model=str(classifier), dtype="float32", torch_dtype="float16")


def test_a_tokenizer_where_the_configuration_goes(classifier, classify):
    with pytest.raises(transept.InputError, match="Pass a tokenizer as `tokenizer=`"):
        transept.pipeline("text-classification", str(classifier), classify.tokenizer)


def test_code_of_a_checkpoint(classifier):
    with pytest.raises(transept.UnknownArgumentError, match="trust_remote_code"):
        transept.pipeline(model=str(classifier), trust_remote_code=True)


def test_a_device_that_is_not_here(classifier, classify):
    with pytest.raises(transept.PlacementError, match="nodevice"):
        transept.pipeline(model=str(classifier), device="nodevice")
    with pytest.raises(transept.PlacementError, match="nodevice"):
        transept.pipeline("text-classification", model=classify.model, device="nodevice")
    assert transept.pipeline("text-classification", model=classify.model, device=-1).device.type == "cpu"


def test_a_model_that_was_made_in_memory_has_no_tokenizer(classifier):
    config = transept.AutoConfig.from_pretrained(classifier)
    config.name_or_path = ""
    model = transept.AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(transept.InputError, match="pass `tokenizer=`"):
        transept.pipeline("text-classification", model=model)
    with pytest.raises(transept.InputError, match="pass `tokenizer=`"):
        Pipeline(model)


@pytest.mark.parametrize(
    "arguments", [{"topk": 2}, {"function_to_aply": "none"}, {"return_all_scores": True}, {"num_workers": 2}]
)
def test_unknown_keywords_at_the_making_and_in_a_call(classify, classifier, texts, arguments):
    (name,) = arguments
    with pytest.raises(transept.UnknownArgumentError, match=f"takes no argument `{name}`"):
        classify(texts[0], **arguments)
    with pytest.raises(transept.UnknownArgumentError, match=f"takes no argument `{name}`"):
        transept.pipeline("text-classification", model=str(classifier), **arguments)


def test_an_unknown_keyword_of_generate_is_refused_before_anything_runs(llama, texts):
    with pytest.raises(transept.UnknownArgumentError, match="Did you mean `return_full_text`"):
        transept.pipeline("text-generation", model=str(llama()), return_ful_text=True)
    pipe = transept.pipeline("text-generation", model=str(llama()))
    with pytest.raises(transept.UnknownArgumentError, match="Did you mean `max_new_tokens`"):
        pipe(texts[0], max_new_token=3)


@pytest.mark.parametrize(("given", "said"), [(None, "no input"), ([], "is empty"), (3, "an input is a `int`"), ([1, 2], "an input is a `int`"),
                                             (b"text", "an input is a `bytes`"), ([["a", "b"]], "text_pair"), ({"txt": "a"}, "KeyDataset")])  # fmt: skip
def test_inputs_that_are_no_text(classify, given, said):
    with pytest.raises(transept.InputError, match=said):
        classify(given)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "2"])
def test_a_batch_size_that_is_none(classify, texts, batch_size):
    with pytest.raises(transept.InputError, match="batch_size"):
        classify(texts, batch_size=batch_size)


def test_values_that_a_task_cannot_use(classify, bert, ner, texts):
    for top_k in (0, -1, 1.5, True):
        with pytest.raises(transept.InputError, match="top_k"):
            classify(texts[0], top_k=top_k)
    with pytest.raises(transept.InputError, match="Did you mean `softmax`"):
        classify(texts[0], function_to_apply="softmx")
    tokens = transept.pipeline("ner", model=str(ner), device="cpu")
    with pytest.raises(transept.InputError, match="Did you mean `average`"):
        tokens(texts[0], aggregation_strategy="averge")
    with pytest.raises(transept.InputError, match="aggregation_strategy"):
        tokens(texts[0], stride=3)
    with pytest.raises(transept.InputError, match="stride"):
        tokens(texts[0], stride=64, aggregation_strategy="simple")
    with pytest.raises(transept.InputError, match="list of words"):
        tokens("text", is_split_into_words=True)
    with pytest.warns(UserWarning, match="its end was cut off"):
        tokens(" ".join(texts))
    masks = transept.pipeline("fill-mask", model=str(bert("ForMaskedLM")), device="cpu")
    with pytest.raises(transept.InputError, match=r"no `\[MASK\]`"):
        masks(texts[0])
    with pytest.raises(transept.InputError, match="top_k"):
        masks("a [MASK]", top_k=0)


@pytest.mark.filterwarnings("ignore:The target")
def test_targets_that_are_no_words(bert):
    masks = transept.pipeline("fill-mask", model=str(bert("ForMaskedLM")), device="cpu")
    with pytest.raises(transept.InputError, match="targets"):
        masks("a [MASK]", targets=[""])


def test_a_tokenizer_without_a_mask(classifier, bert, llama):
    tokenizer = transept.AutoTokenizer.from_pretrained(llama())
    with pytest.raises(transept.InputError, match="mask_token"):
        transept.pipeline("fill-mask", model=str(bert("ForMaskedLM")), tokenizer=tokenizer)


@pytest.mark.filterwarnings("ignore:No label of the model")
def test_labels_for_zero_shot(classifier, texts):
    pipe = transept.pipeline("zero-shot-classification", model=str(classifier), device="cpu")
    for labels, said in (
        (None, "candidate_labels"),
        ([], "candidate_labels"),
        ("", "candidate_labels"),
        (["a", 3], "labels are texts"),
    ):
        with pytest.raises(transept.InputError, match=said):
            pipe(texts[0], labels)
    with pytest.raises(transept.InputError, match="no place for the label"):
        pipe(texts[0], ["a"], hypothesis_template="This is it.")
    with pytest.raises(transept.InputError, match="is empty"):
        pipe(" ", ["a"])
    with pytest.raises(transept.InputError, match="alone is longer"):
        pipe(texts[0], [" ".join(texts)])


def test_a_text_without_tokens(llama):
    pipe = transept.pipeline("feature-extraction", model=str(llama("Model")), device="cpu")
    with pytest.raises(transept.InputError, match="no tokens"):
        pipe("")


def test_tools_and_long_prompts(llama, texts):
    pipe = transept.pipeline("text-generation", model=str(llama()), device="cpu")
    with pytest.raises(transept.InputError, match="are for chats"):
        pipe(texts[0], tools=[])
    with pytest.raises(transept.InputError, match="'hole'"):
        pipe(texts[0], handle_long_generation="gap")
    with pytest.raises(transept.InputError, match="leave no room"):
        pipe(texts[0], handle_long_generation="hole", max_new_tokens=128)
