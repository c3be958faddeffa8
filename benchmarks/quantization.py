"""Packed weights on a CPU: bytes, load, speed and perplexity against fp32 ours, and llama.cpp with the same file where it is installed.

One function a topic, each giving rows; a quantizer is measured by adding it to `KINDS`.
"""

from __future__ import annotations

import importlib.util

from . import smollm2
from .runs import ROOT, Row, alternate, median, paired_ratio, run

KINDS: dict[str, dict[str, object]] = {
    "fp32": {"dtype": "float32"},
    "Q4_1 from its GGUF file": {"gguf": True},
    "Q8_0": {"dtype": "float32", "quantization_config": {"quant_method": "gguf", "type": "Q8_0"}},
    "int8": {"dtype": "float32", "quantization_config": "int8"},
}
"""Name, and how SmolLM2-135M is loaded: `gguf` from the file that the package carries, else from fp32 safetensors."""

TEXT_TOKENS = 20_480

_LOAD = """
import json, resource, time, torch
from transept import AutoConfig, AutoModelForCausalLM, AutoTokenizer
options = {options!r}
where = {gguf!r} if options.pop("gguf", False) else {folder!r}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(where, **options)
seconds = time.perf_counter() - started
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
"""


def rows(runs: int = 3) -> list[Row]:
    return [
        *storage(max(3, runs - 2)),
        *speed(max(3, runs - 2)),
        *billion(max(3, runs - 2)),
        *against_llama_cpp(),
        *perplexity(),
    ]


def _load(kind: str) -> str:
    return _LOAD.format(options=dict(KINDS[kind]), folder=str(smollm2.folder()), gguf=str(smollm2.gguf_file()))


def storage(runs: int) -> list[Row]:
    """Bytes a parameter, the time of a load, and how far it raises the process's peak of memory."""
    code = "held = model.get_memory_footprint()\nprint(json.dumps({'held': held, 'seconds': seconds, 'peak': peak}))"
    found = alternate({kind: _load(kind) + code for kind in KINDS}, runs=runs)
    parameters = 134_515_008
    result = []
    for kind in list(KINDS)[1:]:
        held, plain = median(found[kind], "held"), median(found["fp32"], "held")
        what = f"SmolLM2 {kind}: bytes a parameter"
        result.append(Row(what, held / parameters, plain / parameters, "B", "fp32", held / plain, "reported", True, runs))
        ratio = paired_ratio(found[kind], found["fp32"], "seconds")
        ours, other = median(found[kind], "seconds"), median(found["fp32"], "seconds")
        what = f"SmolLM2 {kind}: load, and peak memory"
        memory = (int(median(found[kind], "peak")), int(median(found["fp32"], "peak")))
        result.append(Row(what, ours, other, "s", "fp32", ratio, "reported", True, runs, memory=memory))
    file = smollm2.gguf_file().stat().st_size
    held = median(found["Q4_1 from its GGUF file"], "held")
    what = "SmolLM2 Q4_1: bytes in memory against the file's"
    result.append(Row(what, held / 1e6, file / 1e6, "MB", "the file", held / file, "≤ 1.15", held / file <= 1.15, runs))
    return result


_SPEED = """
import os
ids = torch.randint(0, 30000, (1, 512), generator=torch.Generator().manual_seed(0))
clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter  # one thread: what others do is not counted

def best(function, times):
    found = []
    for _ in range(times):
        started = clock()
        function()
        found.append(clock() - started)
    return min(found)

with torch.inference_mode():
    prefill = best(lambda: model(ids, logits_to_keep=1), 3)
    cache = model(ids[:, :16], use_cache=True).past_key_values
    token = ids[:, :1]
    for _ in range(3):
        model(token, past_key_values=cache)
    decode = best(lambda: [model(token, past_key_values=cache) for _ in range(8)], 8) / 8
print(json.dumps({"decode": 1 / decode, "prefill": 512 / prefill}))
"""


def speed(runs: int) -> list[Row]:
    """Decoding one sequence after 16 tokens, and a prompt of 512; each run's best, runs in turn."""
    found = alternate({kind: _load(kind) + _SPEED for kind in KINDS}, runs=runs, warmup=0)
    targets = {"Q4_1 from its GGUF file": 3.0, "Q8_0": 3.0, "int8": 1.8}
    return [
        row for kind, least in targets.items() for row in _compared(f"SmolLM2 {kind}", found[kind], found["fp32"], least, runs)
    ]


_BILLION = """
import json, time, torch
from transept import AutoConfig, AutoModelForCausalLM
config = AutoConfig.for_model(
    "llama", vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4
)
for name in ("normal_", "kaiming_uniform_"):  # a billion random numbers take longer than the measurement
    setattr(torch.nn.init, name, lambda tensor, *args, **kwargs: tensor.data.fill_(0.01))
model = AutoModelForCausalLM.from_config(config).eval()
if {packed}:
    model.quantize("int8")
    model.rewrite("kernels_cpu")
else:
    model.rewrite("matvec")
"""


def billion(runs: int) -> list[Row]:
    """The shape of TinyLlama, 1.1 billion parameters, whose output layer stays fp32."""
    programs = {str(packed): _BILLION.format(packed=packed) + _SPEED for packed in (True, False)}
    found = alternate(programs, runs=runs, warmup=0)
    return _compared("llama of 1.1 billion, int8", found["True"], found["False"], 2.5, runs)


def _compared(what: str, ours: list[dict[str, float]], plain: list[dict[str, float]], least: float, runs: int) -> list[Row]:
    result = []
    for name, target in (("decode", least), ("prefill", 0.75)):
        ratio = paired_ratio(ours, plain, name)
        mine, other = median(ours, name), median(plain, name)
        label = f"{what}: {name}" + (" of 512 tokens" if name == "prefill" else "")
        result.append(Row(label, mine, other, "tokens/s", "fp32", ratio, f"≥ {target}", ratio >= target, runs))
    return result


_LLAMA_CPP = """
import json, os, time
from llama_cpp import Llama
threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
clock = time.process_time if threads == 1 else time.perf_counter
model = Llama({file!r}, n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)
model.eval(list(range(100, 116)))
found = []
for _ in range(9):
    started = clock()
    for _ in range(8):
        model.eval([500])
    found.append((clock() - started) / 8)
print(json.dumps({{"decode": 1 / min(found)}}))
"""


def against_llama_cpp(runs: int = 3) -> list[Row]:
    """Decoding from the same file, in turn; no rows where `llama_cpp` is not installed."""
    if importlib.util.find_spec("llama_cpp") is None:
        return []
    q8 = ROOT / ".cache" / "smollm2-Q8_0.gguf"
    if not q8.exists():
        run(_load("Q8_0") + _WRITE.format(file=str(q8), folder=str(smollm2.folder())))
    result = []
    for kind, file in (("Q4_1 from its GGUF file", smollm2.gguf_file()), ("Q8_0", q8)):
        programs = {"ours": _load(kind) + _SPEED, "other": _LLAMA_CPP.format(file=str(file))}
        found = alternate(programs, runs=runs, warmup=0)
        ratio = paired_ratio(found["ours"], found["other"], "decode")
        ours, other = median(found["ours"], "decode"), median(found["other"], "decode")
        what = f"SmolLM2 {kind}: decode"
        result.append(Row(what, ours, other, "tokens/s", "llama.cpp, same blocks", ratio, "≥ 0.6", ratio >= 0.6, runs))
    return result


_WRITE = """
from transept_gguf.export import write_gguf
write_gguf(model, {file!r}, tokenizer=AutoTokenizer.from_pretrained({folder!r}))
print("{{}}")
"""

_PERPLEXITY = """
import math
from benchmarks.caches import text
ids = AutoTokenizer.from_pretrained({folder!r})(text()[0][:140_000]).input_ids[:{tokens}]
assert len(ids) == {tokens}
total = count = 0
with torch.inference_mode():
    for passage in torch.tensor(ids).view(-1, 1, 512):
        cache = None
        for at in range(0, 512, {piece}):
            output = model(passage[:, at : at + {piece}], past_key_values=cache, use_cache=True)
            cache, target = output.past_key_values, passage[0, at + 1 : at + {piece} + 1]
            losses = torch.nn.functional.cross_entropy(output.logits[0, : len(target)].float(), target, reduction="none")
            total, count = total + float(losses.sum()), count + len(target)
print(json.dumps({{"perplexity": math.exp(total / count)}}))
"""


def perplexity() -> list[Row]:
    """Passages of 512 tokens, packed models in pieces of eight: as in decoding, products of few rows round what is multiplied.

    The GGUF file's floats are what the fp32 folder was made from.
    """
    from .caches import text

    def measured(kind: str) -> float:
        piece = 512 if kind == "fp32" else 8
        code = _PERPLEXITY.format(folder=str(smollm2.folder()), tokens=TEXT_TOKENS, piece=piece)
        return float(run(_load(kind) + code)["perplexity"])

    found = {kind: measured(kind) for kind in KINDS}
    result = []
    for kind in list(KINDS)[1:]:
        ratio = found[kind] / found["fp32"]
        what = f"SmolLM2 {kind}: perplexity of {text()[1]}"
        result.append(Row(what, found[kind], found["fp32"], "", "fp32", ratio, "≤ 1.01", ratio <= 1.01, 1))
    return result
