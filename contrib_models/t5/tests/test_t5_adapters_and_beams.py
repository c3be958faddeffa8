"""What other packages do with T5: peft's adapters, and beams, beside the same on the peer's model."""

import pytest
import torch

from transept.discovery import registry


@pytest.fixture
def inputs(ids):
    tokens = ids(2, 9)
    tokens[0, 6:] = 0
    return {"input_ids": tokens, "attention_mask": (tokens != 0).long()}


@pytest.mark.parametrize("method", ["LoraConfig", "PrefixTuningConfig"])
def test_an_adapter_learns_and_generates_as_on_the_peers_model(t5_pair, inputs, ids, assert_equal_to_scale, method):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    own = {"r": 4, "target_modules": ["q", "v", "wo"]} if method == "LoraConfig" else {"num_virtual_tokens": 3}
    losses, gradients, texts = [], [], []
    for model in t5_pair("T5ForConditionalGeneration"):
        adapted = peft.get_peft_model(model, getattr(peft, method)(task_type="SEQ_2_SEQ_LM", **own)).eval()
        learned = {name: one for name, one in adapted.named_parameters() if one.requires_grad}
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in learned.values():
                parameter.normal_(0.0, 0.3)
        losses.append(adapted(**inputs, labels=ids(length=5, seed=1)).loss)
        losses[-1].backward()
        gradients.append({name: one.grad for name, one in learned.items()})
        texts.append(adapted.generate(**inputs, max_new_tokens=6))
    assert_equal_to_scale(*losses)
    assert gradients[0]
    for name, expected in gradients[1].items():
        assert_equal_to_scale(gradients[0][name], expected, 1e-3)
    assert torch.equal(*texts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_beams_find_the_peers_texts(generators, version, inputs, cache):
    if registry.find("decoding", "beam_search") is None:
        pytest.skip("transept-beam is not installed")
    asked = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 8, "length_penalty": 0.7}
    ours, peer = generators[version]
    found = ours.generate(**inputs, **asked, cache_implementation=cache)
    assert torch.equal(found, peer.generate(**inputs, **asked))
