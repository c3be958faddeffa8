"""Small checkpoints that the peer makes with random weights, each opened by both libraries' pipelines."""

import json

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "Anna Schmidt works for the river bank in Hamburg, near the old town hall.",
    "The quick brown fox jumps over the lazy dog and runs away to London.",
    "My name is Wolfgang and I live in Berlin; Maria lives in Rome.",
    "Unbelievable! The committee's unanimous decision surprised everybody in Brussels yesterday.",
    "We measured temperature, pressure and humidity every morning for seventeen years.",
    "This example is about sports. This example is about politics. What is it about?",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}{% if not (loop.last and continue_final_message) %}"
    "{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
NER_LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}


def wordpiece():
    """A lower-casing WordPiece tokenizer with BERT's special tokens."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=160, special_tokens=special, show_progress=False))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def byte_bpe():
    """A byte-level BPE with a chat template, as decoders have."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=128,
    )


BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}


def _saved(folder, model, tokenizer, spread=1.0):
    """Random weights far enough from zero that scores differ, in one folder with the tokenizer."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 or "classifier" in name:
                parameter.mul_(spread)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    stored = json.loads(settings.read_text())
    assert stored["tokenizer_class"] in ("TokenizersBackend", "PreTrainedTokenizerFast")
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """Folder of a random BERT with a head: `bert("ForTokenClassification", num_labels=…)`."""
    tokenizer, made = wordpiece(), {}

    def make(head, **settings):
        key = (head, json.dumps(settings, sort_keys=True))
        if key not in made:
            torch.manual_seed(7)
            config = transformers.BertConfig(vocab_size=len(tokenizer), pad_token_id=0, **BERT, **settings)
            model = getattr(transformers, f"Bert{head}")(config)
            made[key] = _saved(tmp_path_factory.mktemp("bert"), model, tokenizer, spread=6.0)
        return made[key]

    return make


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """Folder of a random Llama with a language-model head, or another."""
    tokenizer, made = byte_bpe(), {}

    def make(head="ForCausalLM", **settings):
        key = (head, json.dumps(settings, sort_keys=True))
        if key not in made:
            torch.manual_seed(3)
            ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
            config = transformers.LlamaConfig(vocab_size=len(tokenizer), **ids, **LLAMA, **settings)
            model = getattr(transformers, f"Llama{head}")(config)
            made[key] = _saved(tmp_path_factory.mktemp("llama"), model, tokenizer, spread=8.0)
        return made[key]

    return make


@pytest.fixture(scope="session")
def ner(bert):
    return bert("ForTokenClassification", id2label=NER_LABELS, label2id={name: i for i, name in NER_LABELS.items()})


@pytest.fixture(scope="session")
def classifier(bert):
    return bert("ForSequenceClassification", num_labels=3)


@pytest.fixture(scope="session")
def texts():
    return TEXTS


@pytest.fixture(scope="session")
def both():
    """The peer's pipeline and ours over one checkpoint."""
    import transept

    def make(task, folder, **settings):
        theirs = transformers.pipeline(task, model=str(folder), device="cpu", **settings)
        return theirs, transept.pipeline(task, model=str(folder), device="cpu", **settings)

    return make


def check_alike(ours, theirs, path="result"):
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), path
        for key in theirs:
            check_alike(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), path
        for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            check_alike(mine, other, f"{path}[{place}]")
    elif isinstance(theirs, str) or theirs is None:
        assert ours == theirs, path
    else:
        assert isinstance(ours, int | float), f"{path} is a {type(ours).__name__}"
        assert ours == pytest.approx(float(theirs), abs=1e-4), path


@pytest.fixture(scope="session")
def assert_alike():
    """Equal, keys in the same order, numbers to 1e-4."""
    return check_alike
