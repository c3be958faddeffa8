"""Classification and question answering: the peer's names, logits, losses and gradients."""

import pytest
import torch

HEADS = {
    "LlamaForSequenceClassification": ("score.weight",),
    "LlamaForTokenClassification": ("score.weight", "score.bias"),
    "LlamaForQuestionAnswering": ("qa_outputs.weight", "qa_outputs.bias"),
}


def inputs_for(name, tokens, num_labels=3):
    random = torch.Generator().manual_seed(5)
    if name == "LlamaForQuestionAnswering":
        return {"start_positions": torch.tensor([1, 30]), "end_positions": torch.tensor([4, 8])}
    shape = tokens.shape if name == "LlamaForTokenClassification" else tokens.shape[:1]
    return {"labels": torch.randint(0, num_labels, shape, generator=random)}


@pytest.mark.parametrize("name", HEADS)
def test_logits_loss_and_gradients(pair, ids, assert_equal_to_scale, name):
    models = pair(name, num_labels=3)
    assert set(HEADS[name]) <= set(models.ours.state_dict())
    tokens, mask = ids(), torch.ones(2, 11, dtype=torch.long)
    tokens[0, 8:], mask[0, 8:] = 0, 0
    found, expected = models.both(tokens, attention_mask=mask, output_hidden_states=True, **inputs_for(name, tokens))
    assert set(found.keys()) == set(expected.keys())
    kept = mask.bool() if found[1].shape == mask.shape else slice(None)
    if name == "LlamaForTokenClassification":
        kept = mask.bool()
    for key in [key for key in expected if key.endswith("logits")]:
        assert_equal_to_scale(found[key][kept], expected[key][kept])
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-5)
    found.loss.backward()
    expected.loss.backward()
    theirs = dict(models.peer.named_parameters())
    for parameter_name, parameter in models.ours.named_parameters():
        assert_equal_to_scale(parameter.grad, theirs[parameter_name].grad, 5e-5)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_sequence_is_scored_at_its_last_token(pair, ids, assert_equal_to_scale, side):
    models = pair("LlamaForSequenceClassification", num_labels=4)
    tokens, mask = ids(2, 12), torch.ones(2, 12, dtype=torch.long)
    padding = slice(0, 4) if side == "left" else slice(8, 12)
    tokens[0, padding], mask[0, padding] = 0, 0
    found, expected = models.both(tokens, attention_mask=mask)
    assert_equal_to_scale(found.logits, expected.logits)
    assert_equal_to_scale(found.logits[:1], models.ours(tokens[:1, mask[0].bool()]).logits)


@torch.no_grad()
def test_embeddings_are_scored_where_the_mask_ends(pair, ids, assert_equal_to_scale):
    model = pair("LlamaForSequenceClassification").ours
    tokens, mask = ids(), torch.ones(2, 11, dtype=torch.long)
    tokens[0, 8:], mask[0, 8:] = 0, 0
    embeds = model.get_input_embeddings()(tokens)
    assert_equal_to_scale(model(inputs_embeds=embeds, attention_mask=mask).logits, model(tokens, attention_mask=mask).logits)


@torch.no_grad()
def test_several_sequences_need_a_padding_token(pair, ids, assert_equal_to_scale):
    models = pair("LlamaForSequenceClassification", pad_token_id=None)
    found, expected = models.both(ids(1))
    assert_equal_to_scale(found.logits, expected.logits)
    with pytest.raises(ValueError, match=r"set `config\.pad_token_id`"):
        models.ours(ids(2))


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({"num_labels": 1}, torch.tensor([0.5, 1.5])),
        ({"num_labels": 3}, torch.tensor([[0.0, 1, 1], [1, 0, 0]])),
        ({"num_labels": 3, "problem_type": "regression"}, torch.tensor([[0.0, 1, 1], [1, 0, 0]])),
    ],
    ids=["number", "sets", "numbers"],
)
def test_problem_types(pair, ids, settings, labels):
    models = pair("LlamaForSequenceClassification", **settings)
    found, expected = models.both(ids(), labels=labels)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-5)
    assert models.ours.config.problem_type == settings.get("problem_type")


def test_an_answer_has_both_ends(pair, ids):
    with pytest.raises(ValueError, match="Give both"):
        pair("LlamaForQuestionAnswering").ours(ids(), start_positions=torch.tensor([1, 2]))


def test_base_model_and_embeddings_are_found(pair):
    for name in HEADS:
        model = pair(name).ours
        prefix = "transformer" if name == "LlamaForQuestionAnswering" else "model"
        assert model.base_model_prefix == prefix
        assert model.base_model is getattr(model, prefix)
        assert model.get_input_embeddings() is model.base_model.embed_tokens
