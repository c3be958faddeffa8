"""Small sentence encoders: a random BERT of the peer's with the files of a sentence-transformers checkpoint around it."""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "A man is eating food.",
    "The girl is carrying a small baby across the river.",
    "Prices rose.",
    "Anna works for the bank in Hamburg, near the old town hall, and lives in Berlin.",
    "",
]


@pytest.fixture(scope="session")
def texts():
    return TEXTS


@pytest.fixture(scope="session")
def transformer(tmp_path_factory):
    """Folder of a random BERT and its tokenizer."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=140, special_tokens=special, show_progress=False)
    made.train_from_iterator([*TEXTS, *(text.lower() for text in TEXTS), "query: passage: "], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=48, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    torch.manual_seed(11)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(transformer, tmp_path):
    """A sentence-transformers checkpoint: `checkpoint(pooling={…}, dense={…}, inner="0_Transformer", …)`."""

    def write(name, value):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def make(*, pooling=None, dense=None, normalize=False, inner="", modules=None, settings=None, prompts=None):
        where = tmp_path / inner if inner else tmp_path
        where.mkdir(parents=True, exist_ok=True)
        for file in transformer.iterdir():
            (where / file.name).write_bytes(file.read_bytes())
        kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), *(["Normalize"] if normalize else [])]
        paths = [inner if kind == "Transformer" else f"{place}_{kind}" for place, kind in enumerate(kinds)]
        listed = [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (kind, path) in enumerate(zip(kinds, paths, strict=True))
        ]
        write("modules.json", listed if modules is None else modules)
        write("1_Pooling/config.json", {"word_embedding_dimension": 32, **(pooling or {"pooling_mode_mean_tokens": True})})
        if dense:
            tensors = {name: value for name, value in dense.items() if isinstance(value, torch.Tensor)}
            write("2_Dense/config.json", {name: value for name, value in dense.items() if name not in tensors})
            save_file(tensors, tmp_path / "2_Dense" / "model.safetensors")
        if settings is not None:
            write(f"{inner}/sentence_bert_config.json" if inner else "sentence_bert_config.json", settings)
        if prompts is not None:
            write("config_sentence_transformers.json", prompts)
        return tmp_path

    return make


@pytest.fixture(scope="session")
def hidden_states(transformer):
    """The peer's hidden states of one text, without padding: (seq, 32), and the ids."""
    model = transformers.BertModel.from_pretrained(transformer).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(transformer)

    def run(text, longest=48):
        encoded = tokenizer(text.strip(), truncation=True, max_length=longest, return_tensors="pt")
        with torch.no_grad():
            return model(**encoded).last_hidden_state[0], encoded["input_ids"][0]

    return run
