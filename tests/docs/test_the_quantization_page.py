"""The quantizer that docs/quantization.md writes quantizes, saves, and comes back."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import transept
from transept.rewrite import saved_tensors

PAGE = Path(__file__).parents[2] / "docs" / "quantization.md"


def test_the_quantizer_of_the_page_works(peer_llama) -> None:
    code = re.search(r"## Write one\n.*?```python\n(.*?)```", PAGE.read_text(), re.S)[1]
    names: dict = {"__name__": "page"}
    exec(code, names)
    folder = peer_llama()
    ids = torch.tensor([[5, 6, 7, 8]])
    rewrites = [names["Sign"](names["SignConfig"]())]
    model = transept.AutoModelForCausalLM.from_pretrained(folder, rewrites=rewrites)
    weight = transept.AutoModelForCausalLM.from_pretrained(folder).model.layers[0].mlp.up_proj.weight
    packed = model.model.layers[0].mlp.up_proj
    torch.testing.assert_close(packed.dequantize(), weight.sign() * weight.abs().mean(1, keepdim=True))
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        state, names_packed = saved_tensors(model)
        assert {"model.layers.0.mlp.up_proj.signs", "model.layers.0.mlp.up_proj.scale"} <= names_packed <= set(state)
        back = model.dequantize()
        torch.testing.assert_close(back(input_ids=ids).logits, logits)
    assert isinstance(back.model.layers[0].mlp.up_proj, torch.nn.Linear)


def test_every_quantizer_is_on_the_page() -> None:
    page = PAGE.read_text()
    missing = [key for key in transept.registry.keys("quantizers") if f"`{key}`" not in page]
    assert missing == []
