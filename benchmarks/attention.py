"""Attention kernels beside torch's sdpa called directly, what a call of ours costs over the bare kernel, and a prompt of 32,768 tokens.

Each measurement is a fresh process, in which kernel and sdpa take turns. Sdpa gets what it needs for the same result: `is_causal`
where that says it, else one mask made beforehand, which its time leaves out and its memory does not.
"""

from __future__ import annotations

import statistics

from .runs import Row, run

HEADS = {"MHA": (9, 9, None), "GQA": (9, 3, None), "window": (9, 3, 256)}
"""Query heads, key heads, window: SmolLM2-135M's heads of 64, with and without groups."""
REQUESTS = {"prefill": (128, 2048), "decode": (128, 2048)}
KERNELS = ("sdpa", "eager", "flex_attention", "paged")
DISPATCH = 5.0
"""Microseconds that a layer's call may cost over the bare kernel."""
LONG, GIB = 32768, 1 << 30


def rows(runs: int = 5) -> list[Row]:
    return [*kernels(runs), *dispatch(runs), *long_prompt()]


_KERNEL = """
import json, time, torch
from transept.attention import Attention, MaskSpec
from torch.nn.functional import scaled_dot_product_attention
torch.manual_seed(0)
heads, kv_heads, window, queries, keys, name = {case!r}
query, key, value = (torch.randn(1, n, c, 64).transpose(1, 2) for n, c in ((queries, heads), (keys, kv_heads), (keys, kv_heads)))
seen = None
if queries > 1 or window is not None:
    place, at = torch.arange(queries)[:, None] + keys - queries, torch.arange(keys)
    seen = (at <= place) & (at > place - (window or keys))
square = queries == keys and window is None
seen = None if square or seen is None or bool(seen.all()) else seen
attention = Attention(name)
def ours(mask):
    return attention(query, key, value, mask=mask)[0]
def theirs(_):
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=square and queries > 1, enable_gqa=heads != kv_heads)
def mask():
    return MaskSpec.causal(queries, keys, sliding_window=window)
times = {{"ours": [], "other": []}}
with torch.no_grad():
    shared = mask()
    difference = float((ours(shared) - theirs(None)).abs().max())
    assert difference < 1e-4, difference
    count = max(1, 20000 // (queries * keys // 64 + 64))
    ours(shared), theirs(None)
    for _ in range({turns}):
        for which, function in (("ours", ours), ("other", theirs)):
            started = time.perf_counter()
            shared = mask() if which == "ours" else None
            for _ in range(count):  # the layers of a pass share a mask
                function(shared)
            times[which].append((time.perf_counter() - started) / count)
print(json.dumps({{"times": times}}))
"""


def kernels(turns: int, names: tuple[str, ...] = KERNELS) -> list[Row]:
    """A row for each kernel, request and shape of heads; the mask of the first layer of a pass is in the kernel's time."""
    found = []
    for request, lengths in REQUESTS.items():
        for length in lengths:
            for shape, (heads, kv_heads, window) in HEADS.items():
                for name in names:
                    case = (heads, kv_heads, window, length if request == "prefill" else 1, length, name)
                    times = run(_KERNEL.format(case=case, turns=max(turns, 3)))["times"]
                    ratio = statistics.median(a / b for a, b in zip(times["ours"], times["other"], strict=True))
                    ours, other = (1e6 * statistics.median(times[which]) for which in ("ours", "other"))
                    held = name == "sdpa"
                    found.append(
                        Row(
                            f"{name}: {request} {length}, {shape}",
                            ours,
                            other,
                            "µs",
                            "torch's sdpa",
                            ratio,
                            f"≤ 1.1, or {DISPATCH:g} µs more" if held else "—",
                            not held or ratio <= 1.1 or ours - other <= DISPATCH,
                            max(turns, 3),
                        )
                    )
    return found


_DISPATCH = """
import json, time, torch
from transept.attention import Attention, MaskSpec
from transept.attention.sdpa import sdpa_attention
query, key = torch.randn(1, 9, 1, 64), torch.randn(1, 3, 128, 64)
attention, mask, options = Attention("sdpa"), MaskSpec.causal(1, 128), dict(scale=None, softcap=None, sinks=None, dropout=0.0, need_weights=False)
def bare():
    sdpa_attention(query, key, key, mask=mask, **options)
def bound():
    attention(query, key, key, mask=mask, scale=None, dropout=0.0, need_weights=False)
def made():
    MaskSpec.causal(1, 128)
best = {{}}
with torch.no_grad():
    for _ in range(30):
        for function in (bare, bound, made):
            started = time.perf_counter()
            for _ in range(300):
                function()
            best[function.__name__] = min(best.get(function.__name__, 1.0), (time.perf_counter() - started) / 300)
print(json.dumps(best))
"""


def dispatch(runs: int) -> list[Row]:
    """What a layer's call costs over its kernel's function: the mask is made once a pass, and the function is bound."""
    found = [run(_DISPATCH.format()) for _ in range(runs)]
    cost = 1e6 * statistics.median(one["bound"] - one["bare"] for one in found)
    bare = 1e6 * statistics.median(one["bare"] for one in found)
    detail = {"mask_us": 1e6 * statistics.median(one["made"] for one in found)}
    return [
        Row(
            "dispatch of a layer's call, decode", bare + cost, bare, "µs", "the bare kernel", 1 + cost / bare,
            f"≤ {DISPATCH:g} µs more", cost <= DISPATCH, runs, detail,
        )
    ]  # fmt: skip


_LONG = """
import json, resource, time, torch
from transept import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
    max_position_embeddings={length}, tie_word_embeddings=True,
)
model = LlamaForCausalLM(config).eval()
ids = torch.randint(0, 49152, (1, {length} - 1))
with torch.no_grad():
    model(input_ids=ids[:, :8], logits_to_keep=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cache = time.perf_counter(), None
    for piece in ids.split({piece}, 1):
        output = model(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
    took = time.perf_counter() - started
assert output.logits.shape == (1, 1, 49152) and bool(torch.isfinite(output.logits).all())
print(json.dumps({{"peak": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, "seconds": took}}))
"""


def long_prompt(length: int = LONG, piece: int = 4096) -> list[Row]:
    """A long prompt in pieces through a random model of SmolLM2's shape, in float32: memory over the weights."""
    found = run(_LONG.format(length=length, piece=piece))
    peak = found["peak"] / GIB
    what = f"prompt of {length:,} tokens in pieces of {piece:,}, memory over the weights"
    return [Row(what, peak, 4.0, "GiB", "the limit", peak / 4, "≤ 1", peak <= 4, 1, {"seconds": found["seconds"]})]
