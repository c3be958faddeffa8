"""Small checkpoints with random weights, and texts."""

import json

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import transept

TEXTS = [
    "Anna Schmidt works for the river bank in Hamburg, near the old town hall.",
    "The quick brown fox jumps over the lazy dog and runs away to London.",
    "My name is Wolfgang and I live in Berlin; Maria lives in Rome.",
    "We measured temperature, pressure and humidity every morning for seventeen years.",
    "Unbelievable! The committee's unanimous decision surprised everybody in Brussels yesterday.",
]
CHAT_TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "initializer_range": 0.5}
NER = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}


def wordpiece():
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=160, special_tokens=special, show_progress=False))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, model_input_names=inputs, **names)


def byte_bpe():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=128,
    )


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Makes folders, each once: `checkpoints("llama")`."""
    root = tmp_path_factory.mktemp("evaluated")

    def make(name):
        folder = root / name
        if folder.exists():
            return str(folder)
        torch.manual_seed(0)
        if name == "llama":
            tokenizer = byte_bpe()
            pytest.importorskip("transept_llama")
            config = transept.LlamaConfig(
                vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=128, **SMALL
            )
            model = transept.AutoModelForCausalLM.from_config(config)
        elif name == "bart":
            tokenizer = byte_bpe()
            pytest.importorskip("transept_bart")
            sizes = {f"{side}_{field}": 2 for side in ("encoder", "decoder") for field in ("layers", "attention_heads")}
            sizes |= {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "d_model": 32, "max_position_embeddings": 128}
            ids = {
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "decoder_start_token_id": 2,
                "forced_eos_token_id": 2,
            }
            model = transept.AutoModelForSeq2SeqLM.from_config(
                transept.BartConfig(vocab_size=len(tokenizer), init_std=0.5, **sizes, **ids)
            )
        else:
            tokenizer = wordpiece()
            pytest.importorskip("transept_bert")
            kinds = {
                "two": ("AutoModelForSequenceClassification", {"id2label": {0: "ham", 1: "spam"}}),
                "three": ("AutoModelForSequenceClassification", {"id2label": {0: "low", 1: "mid", 2: "high"}}),
                "several": (
                    "AutoModelForSequenceClassification",
                    {"id2label": {0: "a", 1: "b", 2: "c"}, "problem_type": "multi_label_classification"},
                ),
                "number": ("AutoModelForSequenceClassification", {"num_labels": 1}),
                "ner": ("AutoModelForTokenClassification", {"id2label": NER}),
                "qa": ("AutoModelForQuestionAnswering", {}),
            }
            door, settings = kinds[name]
            config = transept.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **SMALL, **settings)
            model = getattr(transept, door).from_config(config)
        model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture
def write(tmp_path):
    """`write("name.jsonl", rows)`; other names take text."""

    def written(name, content):
        file = tmp_path / name
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        file.write_text(text, encoding="utf-8")
        return file

    return written
