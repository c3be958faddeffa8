"""Each pooling, dense layers, normalisation, lengths, case and prompts, against a computation by hand from the peer's hidden states."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transept_sentence.checkpoint import SentenceSettings
from transept_sentence.stages import Pooling

import transept
from transept import SentenceEncoder

BY_HAND = {
    "pooling_mode_cls_token": lambda h: h[0],
    "pooling_mode_max_tokens": lambda h: h.max(0).values,
    "pooling_mode_mean_tokens": lambda h: h.mean(0),
    "pooling_mode_mean_sqrt_len_tokens": lambda h: h.sum(0) / len(h) ** 0.5,
    "pooling_mode_weightedmean_tokens": lambda h: sum((i + 1) * row for i, row in enumerate(h)) / sum(range(1, len(h) + 1)),
    "pooling_mode_lasttoken": lambda h: h[-1],
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("mode", BY_HAND)
def test_each_pooling(checkpoint, hidden_states, texts, mode, side):
    encoder = SentenceEncoder.from_pretrained(checkpoint(pooling={mode: True}))
    encoder.tokenizer.padding_side = side
    found = encoder.encode(texts, batch_size=3, convert_to_tensor=True)
    if side == "left":  # positions are absolute: only rows without padding have the peer's states
        longest = max(range(len(texts)), key=lambda place: len(texts[place]))
        found, texts = found[longest : longest + 1], texts[longest : longest + 1]
    expected = torch.stack([BY_HAND[mode](hidden_states(text)[0]) for text in texts])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", Pooling.modes_known)
def test_padding_on_either_side_changes_no_pooling(mode):
    torch.manual_seed(0)
    states, filler = torch.randn(1, 5, 8), torch.randn(1, 3, 8) + 9
    pooling = Pooling(8, (mode,))
    alone = pooling(states, torch.ones(1, 5))
    right = pooling(torch.cat([states, filler], 1), torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]]))
    left = pooling(torch.cat([filler, states], 1), torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]]))
    torch.testing.assert_close(right, alone)
    torch.testing.assert_close(left, alone)
    assert pooling(states, torch.zeros(1, 5)).abs().max() == 0


def test_several_poolings_side_by_side(checkpoint, hidden_states, texts):
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    encoder = SentenceEncoder.from_pretrained(checkpoint(pooling=modes))
    states, _ = hidden_states(texts[0])
    torch.testing.assert_close(
        torch.tensor(encoder.encode(texts[0])), torch.cat([states[0], states.mean(0)]), atol=1e-5, rtol=1e-5
    )
    assert encoder.get_sentence_embedding_dimension() == 64


def test_the_newer_spelling_of_a_pooling():
    assert Pooling.from_config({"embedding_dimension": 4, "pooling_mode": "lasttoken"}).modes == ("lasttoken",)
    assert Pooling.from_config({"embedding_dimension": 4, "pooling_mode": ["mean", "cls"]}).modes == ("cls", "mean")


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("torch.nn.modules.activation.Tanh", torch.tanh),
        ("torch.nn.modules.linear.Identity", lambda x: x),
        ("torch.nn.modules.activation.GELU", F.gelu),
    ],
)
@pytest.mark.parametrize("inner", ["", "0_Transformer"])
def test_a_dense_layer_and_normalisation(checkpoint, hidden_states, texts, activation, function, inner):
    torch.manual_seed(2)
    weight, bias = torch.randn(10, 32), torch.randn(10)
    dense = {"in_features": 32, "out_features": 10, "bias": True, "activation_function": activation}
    folder = checkpoint(dense={**dense, "linear.weight": weight, "linear.bias": bias}, normalize=True, inner=inner)
    encoder = SentenceEncoder.from_pretrained(folder)
    found = encoder.encode(texts, convert_to_tensor=True)
    expected = [F.normalize(function(weight @ hidden_states(text)[0].mean(0) + bias), dim=0) for text in texts]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert encoder.get_sentence_embedding_dimension() == 10


def test_lengths_and_case(checkpoint, hidden_states, texts):
    encoder = SentenceEncoder.from_pretrained(checkpoint(settings={"max_seq_length": 7, "do_lower_case": True}))
    assert encoder.max_seq_length == 7
    expected = hidden_states(texts[3].lower(), longest=7)[0].mean(0)
    torch.testing.assert_close(torch.tensor(encoder.encode(texts[3])), expected, atol=1e-5, rtol=1e-5)
    encoder.max_seq_length = 12
    longer = hidden_states(texts[3].lower(), longest=12)[0].mean(0)
    torch.testing.assert_close(torch.tensor(encoder.encode(texts[3])), longer, atol=1e-5, rtol=1e-5)


def test_without_a_length_the_least_of_model_and_tokenizer_counts(checkpoint):
    assert SentenceEncoder.from_pretrained(checkpoint()).max_seq_length == 48


class TestPrompts:
    PROMPTS = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": None}  # noqa: RUF012

    def test_by_name_and_by_text(self, checkpoint, hidden_states, texts):
        encoder = SentenceEncoder.from_pretrained(checkpoint(prompts=self.PROMPTS))
        expected = hidden_states("query: " + texts[0])[0].mean(0)
        for arguments in ({"prompt_name": "query"}, {"prompt": "query: "}):
            torch.testing.assert_close(torch.tensor(encoder.encode(texts[0], **arguments)), expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_array_equal(encoder.encode_query(texts), encoder.encode(texts, prompt_name="query"))
        np.testing.assert_array_equal(encoder.encode_document(texts), encoder.encode(texts, prompt_name="passage"))
        assert not np.allclose(encoder.encode(texts[0]), encoder.encode_query(texts[0]))

    def test_the_default(self, checkpoint, texts):
        encoder = SentenceEncoder.from_pretrained(checkpoint(prompts={**self.PROMPTS, "default_prompt_name": "query"}))
        np.testing.assert_array_equal(encoder.encode(texts), encoder.encode(texts, prompt_name="query"))
        assert not np.allclose(encoder.encode(texts[0]), encoder.encode(texts[0], prompt=""))

    def test_a_pooling_that_leaves_prompts_out(self, checkpoint, hidden_states, texts):
        folder = checkpoint(pooling={"pooling_mode_mean_tokens": True, "include_prompt": False}, prompts=self.PROMPTS)
        encoder = SentenceEncoder.from_pretrained(folder)
        states, _ = hidden_states("query: " + texts[0])
        skipped = len(hidden_states("query: ")[1]) - 1
        assert skipped > 2
        found = encoder.encode([texts[0], texts[3]], prompt_name="query")
        torch.testing.assert_close(torch.tensor(found[0]), states[skipped:].mean(0), atol=1e-5, rtol=1e-5)

    def test_a_prompt_that_is_not_there(self, checkpoint, texts):
        encoder = SentenceEncoder.from_pretrained(checkpoint(prompts=self.PROMPTS))
        with pytest.raises(transept.InputError, match="Did you mean `query`"):
            encoder.encode(texts, prompt_name="qery")
        with pytest.raises(transept.InputError, match="give one"):
            encoder.encode(texts, prompt_name="query", prompt="x")


class TestEncode:
    @pytest.fixture
    def encoder(self, checkpoint):
        return SentenceEncoder.from_pretrained(checkpoint())

    def test_the_kinds_of_result(self, encoder, texts):
        array = encoder.encode(texts)
        assert isinstance(array, np.ndarray)
        assert (array.shape, array.dtype) == ((5, 32), np.float32)
        assert encoder.encode(texts[0]).shape == (32,)
        tensor = encoder.encode(texts, convert_to_tensor=True)
        assert isinstance(tensor, torch.Tensor)
        listed = encoder.encode(texts, convert_to_numpy=False)
        assert isinstance(listed, list)
        assert all(isinstance(each, torch.Tensor) for each in listed)
        torch.testing.assert_close(torch.stack(listed), tensor)
        assert encoder.encode([]).shape == (0, 32)
        assert encoder.encode(tuple(texts)).shape == (5, 32)

    @pytest.mark.parametrize("batch_size", [1, 2, 100])
    def test_the_order_is_kept_whatever_the_batches(self, encoder, texts, batch_size):
        singles = np.stack([encoder.encode(text) for text in texts])
        np.testing.assert_allclose(encoder.encode(texts, batch_size=batch_size), singles, atol=1e-5)

    def test_normalised(self, encoder, texts):
        lengths = np.linalg.norm(encoder.encode(texts, normalize_embeddings=True), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)

    def test_it_can_be_trained(self, encoder, texts):
        encoder.train()
        embeddings = encoder(**encoder.tokenize(texts))
        embeddings.sum().backward()
        assert encoder.transformer.embeddings.word_embeddings.weight.grad is not None
        first = encoder.encode(texts)
        assert encoder.training
        np.testing.assert_array_equal(encoder.encode(texts), first)

    @pytest.mark.parametrize(
        ("given", "said"), [(3, "`int`"), ({"a": 1}, "`dict`"), (b"a", "`bytes`"), (["a", None], r"sentences\[1\]")]
    )
    def test_what_is_no_text(self, encoder, given, said):
        with pytest.raises(transept.InputError, match=said):
            encoder.encode(given)

    def test_a_batch_size_that_is_none(self, encoder):
        with pytest.raises(transept.InputError, match="batch_size"):
            encoder.encode("a", batch_size=0)

    def test_half_precision(self, checkpoint, texts):
        encoder = SentenceEncoder.from_pretrained(checkpoint(), dtype="bfloat16")
        assert encoder.dtype == torch.bfloat16
        assert encoder.encode(texts).dtype == np.float32
        assert encoder.encode(texts, convert_to_tensor=True).dtype == torch.bfloat16


class TestSimilarity:
    @pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean", "manhattan"])
    def test_each_measure(self, checkpoint, measure):
        encoder = SentenceEncoder.from_pretrained(checkpoint(prompts={"similarity_fn_name": measure}))
        assert encoder.similarity_fn_name == measure
        torch.manual_seed(0)
        a, b = torch.randn(3, 32), torch.randn(4, 32)
        by_hand = {
            "cosine": lambda x, y: float(x @ y / x.norm() / y.norm()),
            "dot": lambda x, y: float(x @ y),
            "euclidean": lambda x, y: -float((x - y).norm()),
            "manhattan": lambda x, y: -float((x - y).abs().sum()),
        }[measure]
        expected = torch.tensor([[by_hand(x, y) for y in b] for x in a])
        torch.testing.assert_close(encoder.similarity(a, b.numpy()), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder.similarity(a[0], list(b)), expected[:1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder.similarity_pairwise(a, b[:3]), expected.diagonal(), atol=1e-4, rtol=1e-4)

    def test_vectors_that_do_not_fit(self, checkpoint):
        encoder = SentenceEncoder.from_pretrained(checkpoint())
        with pytest.raises(transept.InputError, match="cannot be compared"):
            encoder.similarity(torch.zeros(2, 32), torch.zeros(2, 31))
        with pytest.raises(transept.InputError, match="as many"):
            encoder.similarity_pairwise(torch.zeros(2, 32), torch.zeros(3, 32))
        with pytest.raises(transept.InputError, match="shape"):
            encoder.similarity(torch.zeros(2, 2, 32), torch.zeros(3, 32))
        with pytest.raises(transept.ConfigError, match="Did you mean `cosine`"):
            encoder.similarity_fn_name = "cosin"


@pytest.mark.parametrize("normalize", [True, False])
def test_saved_and_loaded_again(checkpoint, texts, tmp_path_factory, normalize):
    weights = {"linear.weight": torch.randn(6, 32), "linear.bias": torch.randn(6)}
    folder = checkpoint(
        pooling={"pooling_mode_max_tokens": True, "pooling_mode_cls_token": False},
        dense={"in_features": 32, "out_features": 6, "activation_function": "torch.nn.modules.activation.ReLU", **weights},
        normalize=normalize,
        settings={"max_seq_length": 9, "do_lower_case": True},
        prompts={"prompts": {"query": "query: "}, "default_prompt_name": "query", "similarity_fn_name": "dot"},
    )
    encoder = SentenceEncoder.from_pretrained(folder)
    copy = tmp_path_factory.mktemp("copy")
    encoder.save_pretrained(copy)
    again = SentenceEncoder.from_pretrained(copy)
    np.testing.assert_allclose(again.encode(texts), encoder.encode(texts), atol=1e-6)
    assert again.settings == encoder.settings


def test_a_model_and_a_tokenizer_of_ones_own(transformer, hidden_states, texts):
    model, tokenizer = transept.AutoModel.from_pretrained(transformer), transept.AutoTokenizer.from_pretrained(transformer)
    encoder = SentenceEncoder(model, tokenizer, settings=SentenceSettings(max_seq_length=20))
    torch.testing.assert_close(torch.tensor(encoder.encode(texts[0])), hidden_states(texts[0])[0].mean(0), atol=1e-5, rtol=1e-5)
    pipe = transept.pipeline("sentence-similarity", model=model, tokenizer=tokenizer)
    assert pipe(texts[0], [texts[0]]) == [pytest.approx(1, abs=1e-5)]
    assert transept.pipeline("sentence-similarity", model=encoder)(texts[0], texts[0]) == [pytest.approx(1, abs=1e-5)]


def test_a_plain_encoder_is_averaged_with_a_warning(transformer, hidden_states, texts):
    with pytest.warns(UserWarning, match=r"no `modules\.json`.*mean"):
        encoder = SentenceEncoder.from_pretrained(transformer)
    torch.testing.assert_close(torch.tensor(encoder.encode(texts[0])), hidden_states(texts[0])[0].mean(0), atol=1e-5, rtol=1e-5)
