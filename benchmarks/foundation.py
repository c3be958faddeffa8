"""Import, discovery, loading and decoding, against the interpreter, torch and the peer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import smollm2
from .runs import Row, alternate, median, paired_ratio

MEMORY = """
def memory():
    with open("/proc/self/status") as status:
        return {l.split(":")[0]: int(l.split()[1]) * 1024 for l in status if l.startswith(("VmHWM", "VmRSS", "RssAnon", "RssFile"))}
"""


def rows(runs: int = 5) -> list[Row]:
    """Every measurement that the first release promises."""
    return [*imports(runs), discovery(runs), *safetensors_load(runs), *gguf_load(), *decode(max(3, runs - 2))]


def imports(runs: int) -> list[Row]:
    bare = alternate(
        {
            "bare": "pass",
            "transept": "import transept",
            "torch": "import torch",
            "ours": "from transept import LlamaForCausalLM",
            "peer": "from transformers import LlamaForCausalLM",
            "peer_bare": "import transformers",
        },
        runs=max(runs, 5),
    )
    over = (median(bare["transept"], "wall") - median(bare["bare"], "wall")) * 1000
    peer_over = (median(bare["peer_bare"], "wall") - median(bare["bare"], "wall")) * 1000
    model = paired_ratio(bare["ours"], bare["torch"], "wall")
    return [
        Row(
            "`import transept`, over the bare interpreter",
            over,
            peer_over,
            "ms",
            "`import transformers`",
            over / peer_over,
            "≤ 30 ms",
            over <= 30,
            max(runs, 5),
        ),
        Row(
            "`from transept import LlamaForCausalLM`",
            median(bare["ours"], "wall"),
            median(bare["torch"], "wall"),
            "s",
            "`import torch`",
            model,
            "≤ 1.15",
            model <= 1.15,
            max(runs, 5),
            {"peer_over_torch": paired_ratio(bare["peer"], bare["torch"], "wall")},
        ),
    ]


def discovery(runs: int) -> Row:
    """A thousand installed dists, each with a model plugin; the first lookup imports one of them."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1000):
            info = Path(folder) / f"bench_plugin_{number}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: bench-plugin-{number}\nVersion: 1.0\nRequires-Dist: transept-hookspecs<2,>=1.0\n"
            )
            (info / "entry_points.txt").write_text(f"[transept.models]\nbench{number} = bench_plugin_{number}\n")
            (Path(folder) / f"bench_plugin_{number}.py").write_text(
                "from transept_hookspecs import ModelSpec, hookimpl\n\n\n@hookimpl\ndef provide_models():\n"
                f"    return [ModelSpec(key='bench{number}', config='a.b:C', tasks={{'base': 'a.b:M'}})]\n"
            )
        code = (
            f"import sys, time, json; sys.path.append({folder!r})\n"
            "import transept_hookspecs, transept\nfrom transept import registry\nstarted = time.perf_counter()\n"
            "registry.get('models', 'bench500')\nseconds = time.perf_counter() - started\n"
            "imported = [m for m in sys.modules if m.startswith('bench_plugin_')]\nassert imported == ['bench_plugin_500'], imported\n"
            "print(json.dumps({'ms': seconds * 1000}))"
        )
        standard = (
            f"import sys, time, json; sys.path.append({folder!r})\nimport importlib.metadata\nstarted = time.perf_counter()\n"
            "len(importlib.metadata.entry_points())\nprint(json.dumps({'ms': (time.perf_counter() - started) * 1000}))"
        )
        found = alternate({"ours": code, "standard": standard}, runs=runs)
    ours, other = median(found["ours"], "ms"), median(found["standard"], "ms")
    ratio = paired_ratio(found["ours"], found["standard"], "ms")
    return Row(
        "first lookup among 1,000 plugin dists, one imported",
        ours,
        other,
        "ms",
        "`importlib.metadata.entry_points()`",
        ratio,
        "≤ 100 ms",
        ours <= 100,
        runs,
    )


_LOAD = """
import json, time, torch
{memory}
from {library} import AutoModelForCausalLM
before = memory()
started = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained({where})
loaded = time.perf_counter()
with torch.no_grad():
    model(input_ids=torch.tensor([[1, 2, 3, 4]]))
done = time.perf_counter()
after = memory()
print(json.dumps({{"load": loaded - started, "total": done - started, "peak": after["VmHWM"] - before["VmRSS"]}}))
"""

_TORCH_MEMORY = """
import json, torch
{memory}
print(json.dumps({{"rss": memory()["VmRSS"]}}))
"""


def safetensors_load(runs: int) -> list[Row]:
    folder = str(smollm2.folder())
    size = (Path(folder) / "model.safetensors").stat().st_size
    programs = {
        library: _LOAD.format(memory=MEMORY, library=library, where=f"{folder!r}, dtype='float32'")
        for library in ("transept", "transformers")
    }
    found = alternate(programs, runs=runs)
    ours, peer = found["transept"], found["transformers"]
    load, total = paired_ratio(ours, peer, "load"), paired_ratio(ours, peer, "total")
    peak = median(ours, "peak") / size
    return [
        Row(
            "SmolLM2 fp32 safetensors: load alone",
            median(ours, "load"),
            median(peer, "load"),
            "s",
            "the peer",
            load,
            "≤ 1/5",
            load <= 0.2,
            runs,
        ),
        Row(
            "SmolLM2 fp32 safetensors: load and first forward",
            median(ours, "total"),
            median(peer, "total"),
            "s",
            "the peer",
            total,
            "≤ 1/2",
            total <= 0.5,
            runs,
        ),
        Row(
            "SmolLM2 fp32 safetensors: peak memory over imports, as a share of the checkpoint",
            median(ours, "peak") / 1e6,
            median(peer, "peak") / 1e6,
            "MB",
            "the checkpoint (the peer's figure beside it)",
            peak,
            "≤ 1.15",
            peak <= 1.15,
            runs,
            {"checkpoint_bytes": size},
        ),
    ]


def gguf_load(runs: int = 2) -> list[Row]:
    """Unpacked to float32 beside the peer, and with its blocks kept."""
    file = smollm2.gguf_file()
    ours = _LOAD.format(memory=MEMORY, library="transept", where=f"{str(file)!r}, dtype='float32'")
    packed = _LOAD.format(memory=MEMORY, library="transept", where=repr(str(file)))
    peer = _LOAD.format(
        memory=MEMORY, library="transformers", where=f"{str(file.parent)!r}, gguf_file={file.name!r}, dtype='float32'"
    )
    found = alternate({"ours": ours, "packed": packed, "peer": peer}, runs=runs, warmup=0)
    ratio = paired_ratio(found["ours"], found["peer"], "total")
    size = file.stat().st_size
    peak = median(found["packed"], "peak")
    two_largest = 49152 * 576 // 32 * 34 + 1536 * 576 // 32 * 20  # the embedding in Q8_0, a projection in Q4_1
    return [
        Row(
            "SmolLM2 GGUF (Q4_1), unpacked: load and first forward",
            median(found["ours"], "total"),
            median(found["peer"], "total"),
            "s",
            "the peer",
            ratio,
            "≤ 1/15",
            ratio <= 1 / 15,
            runs,
        ),
        Row(
            "SmolLM2 GGUF (Q4_1), packed: peak memory of load and first forward over imports, as a share of the file",
            peak / 1e6,
            median(found["peer"], "peak") / 1e6,
            "MB",
            "the file (the peer's figure beside it)",
            peak / size,
            "≤ the file and its two largest tensors",
            peak <= size + two_largest + (24 << 20),  # what allocators keep, and the pass itself
            runs,
            {"file_bytes": size, "seconds": median(found["packed"], "total")},
        ),
    ]


_DECODE = """
import json, time, torch
from {library} import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype="float32"{options})
ids = torch.arange(100, 132)[None]
arguments = dict(do_sample=False, pad_token_id=0, eos_token_id=None, attention_mask=torch.ones_like(ids))
model.generate(ids, max_new_tokens=8, **arguments)
best = 0.0
for _ in range(3):
    started = time.perf_counter()
    out = model.generate(ids, max_new_tokens=64, **arguments)
    seconds = time.perf_counter() - started
    assert out.shape[1] == 96
    best = max(best, 64 / seconds)
print(json.dumps({{"speed": best}}))
"""


def decode(runs: int) -> list[Row]:
    folder = str(smollm2.folder())
    programs = {
        "plain": _DECODE.format(library="transept", folder=folder, options=""),
        "fused": _DECODE.format(library="transept", folder=folder, options=", rewrites=['fuse_projections']"),
        "peer": _DECODE.format(library="transformers", folder=folder, options=""),
    }
    found = alternate(programs, runs=runs, warmup=0)
    result = []
    for name, what in (("plain", "fp32 decode, batch 1"), ("fused", "the same with `fuse_projections`")):
        ratio = paired_ratio(found[name], found["peer"], "speed")
        ours, peer = median(found[name], "speed"), median(found["peer"], "speed")
        result.append(Row(f"SmolLM2 {what}", ours, peer, "tokens/s", "the peer", ratio, "≥ 1.2", ratio >= 1.2, runs))
    return result
