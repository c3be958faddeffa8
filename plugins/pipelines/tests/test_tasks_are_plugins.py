"""`pipeline` asks the registry: a stranger's task is one as ours are. And the task of a model is read from its class."""

import pytest
import torch
from transept_pipelines import ChunkPipeline, Pipeline
from transept_pipelines.tasks import class_of

import transept
from transept_hookspecs import PipelineSpec, hookimpl


class LengthPipeline(Pipeline):
    """How sure the model is of a text's first label, and how long the text is."""

    def preprocess(self, item, *, lower=False):
        text = self.check_text(item)
        return {**self.tokenizer(text.lower() if lower else text, return_tensors="pt"), "length": len(text)}

    def _forward(self, inputs):
        length = inputs.pop("length")
        return {"logits": self.model(**inputs).logits, "length": length}

    def postprocess(self, outputs, *, unit="characters"):
        return {unit: outputs["length"], "first": float(outputs["logits"][0, 0])}


class PeersWay(ChunkPipeline):
    """A pipeline as code written for the peer has it: `_sanitize_parameters` deals the keywords out."""

    def _sanitize_parameters(self, pieces=None, shout=None):
        before = {} if pieces is None else {"pieces": pieces}
        return before, {}, {} if shout is None else {"shout": shout}

    def preprocess(self, text, pieces=2):
        step = -(-len(text) // pieces)
        for start in range(0, len(text), step):
            yield {**self.tokenizer(text[start : start + step], return_tensors="pt"), "part": text[start : start + step]}

    def _forward(self, model_inputs):
        part = model_inputs.pop("part")
        self.model(**model_inputs)
        return {"part": part}

    def postprocess(self, model_outputs, shout=False):
        joined = "|".join(each["part"] for each in model_outputs)
        return joined.upper() if shout else joined


class Stranger:
    @hookimpl
    def provide_pipelines(self):
        module = __name__
        return [
            PipelineSpec(
                key="text-length",
                pipeline=f"{module}:LengthPipeline",
                task="sequence_classification",
                aliases=("how-long", "length_in_*"),
            ),
            PipelineSpec(key="peers-way", pipeline=f"{module}:PeersWay", task="base"),
            PipelineSpec(key="odd-head", pipeline=f"{module}:LengthPipeline", task="odd_head"),
        ]


@pytest.fixture
def stranger(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[LengthPipeline.__module__])
    with transept.registry.register(Stranger(), "stranger"):
        yield


def test_a_strangers_task(stranger, classifier, texts):
    pipe = transept.pipeline("text-length", model=str(classifier), device="cpu")
    assert isinstance(pipe, LengthPipeline)
    assert [each["characters"] for each in pipe(texts, batch_size=4)] == [len(text) for text in texts]
    one = pipe(texts[0], unit="letters", lower=True)
    assert one == {"letters": len(texts[0]), "first": pytest.approx(pipe(texts[0])["first"], abs=1e-5)}
    with pytest.raises(transept.UnknownArgumentError, match=r"no argument `lowr`. Did you mean `lower`"):
        pipe(texts[0], lowr=True)


@pytest.mark.parametrize("task", ["how-long", "length_in_words"])
def test_a_strangers_other_names(stranger, classifier, task):
    pipe = transept.pipeline(task, model=str(classifier), device="cpu")
    assert isinstance(pipe, LengthPipeline)
    assert pipe.task == task


def test_a_pipeline_that_was_written_for_the_peer(stranger, bert):
    pipe = transept.pipeline("peers-way", model=str(bert("Model")), device="cpu")
    assert pipe("abcdef") == "abc|def"
    assert pipe(["abcdef", "ghij"], pieces=3, batch_size=2) == ["ab|cd|ef", "gh|ij"]
    assert transept.pipeline("peers-way", model=str(bert("Model")), shout=True)("abcd") == "AB|CD"
    with pytest.raises(transept.UnknownArgumentError, match="`shut`"):
        pipe("abc", shut=True)


def test_a_class_in_place_of_the_tasks(classifier):
    pipe = transept.pipeline("text-classification", model=str(classifier), pipeline_class=LengthPipeline, device="cpu")
    assert pipe("abc")["characters"] == 3


def test_a_strangers_task_is_unknown_without_it():
    with pytest.raises(transept.PluginNotFoundError, match="text-length"):
        transept.pipeline("text-length", model="anywhere")


@pytest.mark.parametrize(
    ("head", "task"),
    [
        ("Model", "feature-extraction"),
        ("ForMaskedLM", "fill-mask"),
        ("ForSequenceClassification", "text-classification"),
        ("ForTokenClassification", "token-classification"),
        ("ForQuestionAnswering", "question-answering"),
    ],
)
def test_the_task_is_read_from_the_checkpoint_or_the_model(bert, head, task):
    folder = bert(head)
    pipe = transept.pipeline(model=str(folder), device="cpu")
    assert pipe.task == task
    again = transept.pipeline(model=pipe.model, tokenizer=pipe.tokenizer)
    assert (again.task, type(again), again.model) == (task, type(pipe), pipe.model)


def test_the_task_of_a_decoder(llama):
    assert transept.pipeline(model=str(llama()), device="cpu").task == "text-generation"


def test_a_subclass_is_known_by_its_base(classifier):
    from transept import BertForSequenceClassification

    class Mine(BertForSequenceClassification):
        pass

    model = Mine.from_pretrained(classifier)
    assert transept.pipeline(model=model).task == "text-classification"


def test_each_task_of_ours_has_its_class():
    keys = [entry.key for entry in transept.registry.entries("pipelines") if entry.dist == "transept-pipelines"]
    assert len(keys) == 12
    for key in keys:
        assert issubclass(class_of(transept.registry.get("pipelines", key)), Pipeline), key


def test_what_a_model_was_loaded_from_gives_the_tokenizer(classifier, texts):
    model = transept.AutoModelForSequenceClassification.from_pretrained(classifier, dtype=torch.float32)
    assert transept.pipeline("sentiment-analysis", model=model)(texts[0])[0]["label"].startswith("LABEL_")
    elsewhere = transept.pipeline(
        "text-classification", model=str(classifier), tokenizer=(str(classifier), {"model_max_length": 9})
    )
    assert elsewhere.tokenizer.model_max_length == 9


@pytest.mark.filterwarnings("ignore:`BertModel`")
def test_features_need_no_pooler(bert, texts):
    """A checkpoint for masks has no pooler, which a model without a head has and its features don't use."""
    pipe = transept.pipeline("feature-extraction", model=str(bert("ForMaskedLM")), device="cpu", return_tensors=True)
    masked = transept.AutoModelForMaskedLM.from_pretrained(bert("ForMaskedLM"))
    again = transept.pipeline("feature-extraction", model=masked, tokenizer=pipe.tokenizer, return_tensors=True)
    torch.testing.assert_close(again(texts[0]), pipe(texts[0]))


def test_a_head_that_only_the_stranger_knows(stranger, classifier):
    with pytest.raises(transept.UnsupportedTaskError, match=r"LengthPipeline\.load_model"):
        transept.pipeline("odd-head", model=str(classifier))
    with pytest.raises(transept.InputError, match="odd_head"):
        transept.pipeline("odd-head")
    model = transept.AutoModelForSequenceClassification.from_pretrained(classifier)
    with pytest.raises(transept.UnsupportedTaskError, match="has no head for it"):
        transept.pipeline("odd-head", model=model)
