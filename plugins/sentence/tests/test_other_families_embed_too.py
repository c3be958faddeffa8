"""Decoders that are read at their last token, filled on the left, and encoders out of an encoder–decoder."""

import shutil

import pytest
import torch
import transformers

from transept import SentenceEncoder


@pytest.fixture(scope="module")
def families(transformer, tmp_path_factory):
    """Folder, and the peer's hidden states of a text, of a random Llama and a random T5 with the tokenizer of the BERT."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(transformer)
    size = {"vocab_size": len(tokenizer)}
    torch.manual_seed(4)
    configs = {
        "llama": transformers.LlamaConfig(
            **size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64
        ),
        "t5": transformers.T5Config(**size, d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4),
    }
    made = {}
    for name, config in configs.items():
        model = (transformers.LlamaModel if name == "llama" else transformers.T5Model)(config).eval()
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(transformer / file, folder)
        encoder = model if name == "llama" else model.encoder

        def states(text, encoder=encoder):
            ids = tokenizer(text.strip(), return_tensors="pt")["input_ids"]
            with torch.no_grad():
                return encoder(input_ids=ids).last_hidden_state[0]

        made[name] = (folder, states)
    return made


def test_a_decoder_is_read_at_its_last_token(checkpoint, families, texts):
    source, states = families["llama"]
    folder = checkpoint(pooling={"pooling_mode_lasttoken": True})
    shutil.copytree(source, folder, dirs_exist_ok=True)
    encoder = SentenceEncoder.from_pretrained(folder)
    expected = torch.stack([states(text)[-1] for text in texts])
    for side in ("left", "right"):
        encoder.tokenizer.padding_side = side
        torch.testing.assert_close(encoder.encode(texts, convert_to_tensor=True), expected, atol=1e-4, rtol=1e-4)


def test_the_encoder_of_an_encoder_decoder(checkpoint, families, texts):
    source, states = families["t5"]
    folder = checkpoint()
    shutil.copytree(source, folder, dirs_exist_ok=True)
    encoder = SentenceEncoder.from_pretrained(folder)
    expected = torch.stack([states(text).mean(0) for text in texts])
    torch.testing.assert_close(encoder.encode(texts, convert_to_tensor=True), expected, atol=1e-4, rtol=1e-4)
    assert not hasattr(encoder.transformer, "decoder"), "the decoder is not loaded"
