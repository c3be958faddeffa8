"""Attention kernels beside torch's sdpa called directly, a model's call beside the peer's, and a prompt of 32,768 tokens.

Times: a fresh process for each row, in which the two take turns; the fastest of each count, as others may use the machine. With one
thread (`OMP_NUM_THREADS=1`) they are the thread's own time, which others hardly change. Memory: a fresh process for each figure, the highest resident size
of a second call over what was there before it. Sdpa gets what it needs for the same result: `is_causal` where that says it, else one
mask made beforehand, which its time leaves out and its memory does not.
"""

from __future__ import annotations

import statistics
from typing import Any

from .runs import Row, run

HEADS = {"MHA": (9, 9, None), "GQA": (9, 3, None), "window": (9, 3, 256)}
"""Query heads, key heads, window: SmolLM2-135M's heads of 64, with and without groups."""
LENGTHS = (128, 2048, 8192)
REQUESTS = ("prefill", "decode")
KERNELS = ("sdpa", "eager", "flex_attention", "paged")
LEFT_OUT = {("eager", "prefill", 8192)}
"""Eager holds the scores of 9 heads and all pairs a few times over: 2.4 GB each, beside what the machine has."""
DISPATCH = 5.0
"""Microseconds that a layer's call may cost over the bare kernel."""
SECONDS = 2.0
"""How long the two take turns, and at least as many turns as there are runs."""
LONG, GIB = 32768, 1 << 30

Case = tuple[int, int, int | None, str, int]
"""Query heads, key heads, window, request, length."""


def rows(runs: int = 5) -> list[Row]:
    return [*dispatch(runs), *kernels(min(runs, 3)), *squares(), *models(min(runs, 3))]


# memory that is let go goes back at once, so that a call's peak is its own
_EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

_RESIDENT = """
import ctypes
def resident(what="VmRSS"):
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith(what)).split()[1])
def settle():
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")  # the highest resident size counts from here on
    return resident()
"""

_REQUEST = """
import json, time, torch
from transept.attention import Attention, MaskSpec
from torch.nn.functional import scaled_dot_product_attention
torch.set_grad_enabled(False)
torch.manual_seed(0)
clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
heads, kv_heads, window, request, keys = {case!r}
queries = keys if request == "prefill" else 1
query, key, value = (torch.randn(1, n, c, 64).transpose(1, 2) for n, c in ((queries, heads), (keys, kv_heads), (keys, kv_heads)))
seen = None
if window is not None and keys > window:
    place, at = torch.arange(queries)[:, None] + keys - queries, torch.arange(keys)
    seen = at <= place
    seen &= at > place - window
causal = queries > 1 and seen is None
attention = Attention({name!r})
def mask():
    return MaskSpec.causal(queries, keys, sliding_window=window)
def ours(mask):
    return attention(query, key, value, mask=mask)[0]
def theirs(_):
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=causal, enable_gqa=heads != kv_heads)
"""

_TIME = """
times = {{"ours": [], "other": []}}
shared = mask()
difference = float((ours(shared) - theirs(None)).abs().max())
assert difference < 1e-4, difference
count = max(1, min(30, (1 << 22) // (queries * keys)))  # SmolLM2 has 30 layers
ours(shared), theirs(None)
deadline = time.perf_counter() + {seconds}
while len(times["ours"]) < {turns} or time.perf_counter() < deadline:
    for which, function in (("ours", ours), ("other", theirs)):
        started = clock()
        shared = mask() if which == "ours" else None
        for _ in range(count):  # the layers of a pass share a mask
            function(shared)
        times[which].append((clock() - started) / count)
print(json.dumps({{"times": times}}))
"""

_PEAK = """
function = ours if {which!r} == "ours" else theirs
function(mask())
before = settle()
output = function(mask())
held = 0 if {which!r} == "ours" or seen is None else seen.untyped_storage().nbytes()
print(json.dumps({{"peak": resident("VmHWM") - before + held, "output": output.untyped_storage().nbytes()}}))
"""


def _peak(case: Case, which: str, name: str = "sdpa") -> dict[str, Any]:
    return run(_RESIDENT + _REQUEST.format(case=case, name=name) + _PEAK.format(which=which), _EXACT)


def kernels(turns: int, names: tuple[str, ...] = KERNELS) -> list[Row]:
    """A row for each kernel, request and shape of heads; the mask of the first layer of a pass is in the kernel's time."""
    found = []
    for request in REQUESTS:
        for length in LENGTHS:
            for shape, heads in HEADS.items():
                case = (*heads, request, length)
                bare = _peak(case, "other")["peak"]
                found += [
                    _kernel(name, f"{request} {length:,}, {shape}", case, bare, turns)
                    for name in names
                    if (name, request, length) not in LEFT_OUT
                ]
    return found


def _kernel(name: str, what: str, case: Case, bare: int, turns: int) -> Row:
    times = run(_REQUEST.format(case=case, name=name) + _TIME.format(turns=turns, seconds=SECONDS))["times"]
    ours, other = (1e6 * min(times[which]) for which in ("ours", "other"))
    held, peak, ratio = name == "sdpa", _peak(case, "ours", name)["peak"], ours / other
    return Row(
        f"{name}: {what}", ours, other, "µs", "torch's sdpa", ratio,
        f"≤ 1.1, or {DISPATCH:g} µs more" if held else "—", not held or ratio <= 1.1 or ours - other <= DISPATCH, len(times["ours"]),
        memory=(peak, bare),
    )  # fmt: skip


_DISPATCH = """
import json, time, torch
from transept.attention import Attention, MaskSpec
from transept.attention.sdpa import sdpa_attention
from torch.nn.functional import scaled_dot_product_attention
clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
query, key = torch.randn(1, 9, 1, 64), torch.randn(1, 3, 128, 64)
attention, mask, options = Attention("sdpa"), MaskSpec.causal(1, 128), dict(scale=None, softcap=None, sinks=None, dropout=0.0, need_weights=False)
def torchs():
    scaled_dot_product_attention(query, key, key, enable_gqa=True)
def bare():
    sdpa_attention(query, key, key, mask=mask, **options)
def bound():
    attention(query, key, key, mask=mask, scale=None, dropout=0.0, need_weights=False)
def made():
    MaskSpec.causal(1, 128)
best = {{}}
with torch.no_grad():
    for _ in range(30):
        for function in (torchs, bare, bound, made):
            started = clock()
            for _ in range(300):
                function()
            best[function.__name__] = min(best.get(function.__name__, 1.0), (clock() - started) / 300)
print(json.dumps(best))
"""


def dispatch(runs: int) -> list[Row]:
    """What a layer's call costs over its kernel's function, and over torch's: the mask is made once a pass, the function bound."""
    found = [run(_DISPATCH.format()) for _ in range(runs)]
    bound, made = (1e6 * statistics.median(one[name] for one in found) for name in ("bound", "made"))
    result = []
    for name, against in (("bare", "the bare kernel"), ("torchs", "torch's sdpa")):
        cost = 1e6 * statistics.median(one["bound"] - one[name] for one in found)
        what = "a layer's call, decode after 128 tokens, GQA"
        result.append(
            Row(
                what, bound, bound - cost, "µs", against, bound / (bound - cost),
                f"≤ {DISPATCH:g} µs more", cost <= DISPATCH, runs, {"mask_us": made},
            )
        )  # fmt: skip
    return result


def squares(length: int = 8192) -> list[Row]:
    """What a long causal or windowed prompt takes beside its output, against a mask of all pairs in bytes."""
    result = []
    for shape in ("GQA", "window"):
        found = _peak((*HEADS[shape], "prefill", length), "ours")
        over, square = (found["peak"] - found["output"]) / (1 << 20), length**2 / (1 << 20)
        what = f"sdpa: prefill {length:,}, {shape}: memory beside the output"
        result.append(Row(what, over, square, "MiB", "a mask of all pairs", over / square, "< 1", over < square, 1))
    return result


_MODELS = """
import json, time, torch, transformers
import transept
torch.manual_seed(0)
torch.set_grad_enabled(False)
clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
heads, kv_heads, window, request, length = {case!r}
fields = dict(
    vocab_size=1024, hidden_size=576, intermediate_size=1536, num_hidden_layers=4, num_attention_heads=heads,
    num_key_value_heads=kv_heads, max_position_embeddings=16384, tie_word_embeddings=True,
)
family = "Llama" if window is None else "Mistral"
fields |= {{}} if window is None else dict(sliding_window=window)
def make(library):
    config = getattr(library, family + "Config")(**fields)
    return getattr(library, family + "ForCausalLM")(config).eval()
ids = torch.randint(0, 1024, (1, length))
token = ids[:, :1]
def fill(model):
    cache = None
    for piece in ids.split(1024, 1):
        cache = model(input_ids=piece, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
    return cache
def prefill(model, cache):
    return model(input_ids=ids, use_cache=True, logits_to_keep=1).logits
def decode(model, cache):
    return model(input_ids=token, past_key_values=cache, use_cache=True).logits
call = prefill if request == "prefill" else decode
"""

_MODELS_TIME = """
models = {{"other": make(transformers), "ours": make(transept)}}
models["ours"].load_state_dict(models["other"].state_dict())
caches = {{which: fill(model) if request == "decode" else None for which, model in models.items()}}
first = {{which: call(model, caches[which]) for which, model in models.items()}}
difference = float((first["ours"] - first["other"]).abs().max() / first["other"].abs().max())
assert difference < 1e-4, difference
times = {{"ours": [], "other": []}}
deadline = time.perf_counter() + {seconds}
while len(times["ours"]) < {turns} or time.perf_counter() < deadline:
    for which, model in models.items():
        started = clock()
        call(model, caches[which])
        times[which].append(clock() - started)
print(json.dumps({{"times": times}}))
"""

_MODELS_PEAK = """
model = make(transept if {which!r} == "ours" else transformers)
model(input_ids=ids[:, :8])
before = settle()
if request == "decode":
    cache = fill(model)
    call(model, cache), call(model, cache)
    settle()
else:
    cache = None
    call(model, cache)
    settle()
for _ in range(8 if request == "decode" else 1):
    call(model, cache)
print(json.dumps({{"peak": resident("VmHWM") - before}}))
"""


def models(turns: int) -> list[Row]:
    """A random model of SmolLM2's widths and four layers, in float32: ours beside the peer's, with the same weights."""
    found = []
    for request in REQUESTS:
        for length in LENGTHS:
            for shape, heads in HEADS.items():
                case = (*heads, request, length)
                program = _MODELS.format(case=case)
                times = run(program + _MODELS_TIME.format(turns=turns, seconds=SECONDS))["times"]
                ours, other = (1e3 * min(times[which]) for which in ("ours", "other"))
                peaks = [
                    run(_RESIDENT + program + _MODELS_PEAK.format(which=which), _EXACT)["peak"] for which in ("ours", "other")
                ]
                found.append(
                    Row(
                        f"a model of four layers: {request} {length:,}, {shape}", ours, other, "ms", "the peer", ours / other,
                        "≤ 1", ours <= other, len(times["ours"]), memory=(peaks[0], peaks[1]),
                    )
                )  # fmt: skip
    return found


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


def long_prompt(runs: int = 1, length: int = LONG, piece: int = 4096) -> list[Row]:
    """A long prompt in pieces through a random model of SmolLM2's shape, in float32: memory over the weights."""
    found = run(_LONG.format(length=length, piece=piece))
    peak = found["peak"] / GIB
    what = f"prompt of {length:,} tokens in pieces of {piece:,}, memory over the weights"
    return [Row(what, peak, 4.0, "GiB", "the limit", peak / 4, "≤ 1", peak <= 4, 1, {"seconds": found["seconds"]})]
