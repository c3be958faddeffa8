"""The caches that are plugins: bytes, perplexity and speed of SmolLM2, against a dynamic cache.

The text is news from the package `gensim` where that is installed (`lee_background.cor`), else the Python reference that the
standard library carries for `help()`.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from . import smollm2
from .runs import Row, alternate, median, paired_ratio, run

PASSAGES = 6


def rows(runs: int = 3) -> list[Row]:
    return [*memory(), *perplexity(), *speed(max(3, runs - 2))]


def text() -> tuple[str, str]:
    """Real text, some hundred thousand letters of it, and where it is from."""
    try:
        files = importlib.metadata.distribution("gensim").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "lee_background.cor":
            return Path(str(file.locate())).read_text(encoding="utf-8"), "news, from gensim"
    from pydoc_data import topics

    return "\n\n".join(value for _, value in sorted(topics.topics.items())), "the Python reference"


_MEMORY = """
import json, torch
from torch.utils import _pytree
from transept import AutoConfig
from transept.discovery import load_object, registry
config = AutoConfig.from_pretrained({folder!r})
cache = load_object(registry.get("caches", "quantized").cache, owner="")(config, nbits={nbits})
shape = (1, config.num_key_value_heads, 1, config.head_dim)
worst, plain, length = 0.0, 0, 0
with torch.no_grad():
    while length < {most}:
        count = {least} if not length else 1
        new = torch.randn(*shape[:2], count, shape[3], dtype=torch.float16)
        for layer_idx in range(config.num_hidden_layers):
            cache.update(new, new, layer_idx)
        length += count
        held = sum(leaf.untyped_storage().nbytes() for leaf in _pytree.tree_leaves(cache))
        plain = 2 * config.num_hidden_layers * shape[1] * length * shape[3] * 2
        if held / plain > worst:
            worst, bytes_held, bytes_plain = held / plain, held, plain
print(json.dumps({{"ratio": worst, "ours": bytes_held, "other": bytes_plain}}))
"""


def memory() -> list[Row]:
    """Storage that is allocated, room to spare included, at the worst length of the first hundred and fifty from 2,048 on."""
    result = []
    for nbits, target in ((4, 0.33), (8, 0.6)):
        found = run(_MEMORY.format(folder=str(smollm2.folder()), nbits=nbits, least=2048, most=2200))
        what = f"SmolLM2 quantized cache, int{nbits}: bytes from 2,048 tokens on, at the worst length"
        ours, other, ratio = found["ours"] / 1e6, found["other"] / 1e6, found["ratio"]
        result.append(Row(what, ours, other, "MB", "float16", ratio, f"≤ {target}", ratio <= target, 1))
    return result


_PERPLEXITY = """
import json, math, torch
from benchmarks.caches import text
from transept import AutoModelForCausalLM, AutoTokenizer
from transept.discovery import load_object, registry
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype={dtype!r})
make = load_object(registry.get("caches", {key!r}).cache, owner="")
ids = torch.tensor([AutoTokenizer.from_pretrained({folder!r})(text()[0][:80_000]).input_ids])
total = count = 0
with torch.inference_mode():
    for start in range(0, {passages} * 2560, 2560):
        passage, cache = ids[:, start : start + 2560], make(model.config, **{options!r})
        assert passage.shape[1] == 2560
        for at in range(0, 2560, 32):  # each piece meets what was rounded before it
            logits = model(passage[:, at : at + 32], past_key_values=cache).logits[0].float()
            target = passage[0, at + 1 : at + 33]
            losses = torch.nn.functional.cross_entropy(logits[: len(target)], target, reduction="none")
            if at >= 512:
                total, count = total + float(losses.sum()), count + len(target)
print(json.dumps({{"perplexity": math.exp(total / count)}}))
"""


def perplexity() -> list[Row]:
    """Passages of 2,560 tokens in pieces of 32, scored from the 513th on; steps in bfloat16, as half-precision models have them."""
    folder, origin = str(smollm2.folder()), text()[1]

    def measured(key: str, options: dict[str, int]) -> float:
        code = _PERPLEXITY.format(folder=folder, dtype="bfloat16", key=key, options=options, passages=PASSAGES)
        return float(run(code)["perplexity"])

    plain, result = measured("dynamic", {}), []
    for nbits, target in ((4, 1.01), (8, 1.001)):
        found = measured("quantized", {"nbits": nbits})
        what = f"SmolLM2 quantized cache, int{nbits}: perplexity of {origin}"
        result.append(Row(what, found, plain, "", "a dynamic cache", found / plain, f"≤ {target}", found / plain <= target, 1))
    return result


_SPEED = """
import json, time, torch
from transept import AutoModelForCausalLM
from transept.discovery import load_object, registry
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype="float32")
cache = load_object(registry.get("caches", {key!r}).cache, owner="")(model.config, **{options!r})
generator = torch.Generator().manual_seed(0)
with torch.inference_mode():
    ids = torch.randint(0, 49000, (1, 2048), generator=generator)
    for part in ids.split(256, 1):
        model(part, past_key_values=cache, logits_to_keep=1)
    token = ids[:, :1]
    for _ in range(4):
        model(token, past_key_values=cache)
    started = time.perf_counter()
    for _ in range(48):
        model(token, past_key_values=cache)
print(json.dumps({{"speed": 48 / (time.perf_counter() - started)}}))
"""


def speed(runs: int) -> list[Row]:
    """Decoding after 2,048 tokens, on the CPU. There, an offloaded cache has nothing to copy."""
    folder = str(smollm2.folder())
    kinds: dict[str, tuple[str, dict[str, int], str, float]] = {
        "quantized, int4": ("quantized", {"nbits": 4}, "reported", 0.0),
        "quantized, int8": ("quantized", {"nbits": 8}, "reported", 0.0),
        "offloaded, on the model's own device": ("offloaded", {}, "≥ 0.95", 0.95),
        "sink, window of 1,024": ("sink", {"window_length": 1024}, "≥ 1", 1.0),
    }
    programs = {"dynamic": _SPEED.format(folder=folder, key="dynamic", options={})}
    programs |= {name: _SPEED.format(folder=folder, key=key, options=options) for name, (key, options, _, _) in kinds.items()}
    found = alternate(programs, runs=runs, warmup=0)
    result = []
    for name, (_, _, target, least) in kinds.items():
        ratio = paired_ratio(found[name], found["dynamic"], "speed")
        ours, other = median(found[name], "speed"), median(found["dynamic"], "speed")
        what = f"SmolLM2 fp32 decode after 2,048 tokens: {name}"
        result.append(Row(what, ours, other, "tokens/s", "a dynamic cache", ratio, target, ratio >= least, runs))
    return result
