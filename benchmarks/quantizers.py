"""Every quantizer on SmolLM2-135M: bytes a parameter, and the perplexity of real text beside the float model's.

GPTQ learns from another part of the text than the one that is measured. Checkpoint formats that only come quantized (AWQ,
compressed-tensors) have no row: their layouts are GPTQ's and int8's in other words.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import smollm2
from .caches import text
from .runs import Row, run

TOKENS, PIECE = 20_480, 512
METHODS: dict[str, tuple[object, str]] = {
    "int8": ("int8", "≤ 1.01"),
    "q8_0 (gguf)": ("q8_0", "≤ 1.01"),
    "q4_1 (gguf)": ("q4_1", "reported"),
    "q4_0 (gguf)": ("q4_0", "reported"),
    "llm.int8 (bitsandbytes)": ("llm.int8", "reported"),
    "nf4 (bitsandbytes)": ("nf4", "reported"),
    "int8_weight_only (torchao)": ("int8_weight_only", "reported"),
    "hqq-4bit": ("hqq-4bit", "reported"),
    "nf4, down_proj in int8 (mixed)": ({"*.down_proj": "int8", "default": "nf4"}, "reported"),
}

_MEASURE = """
import json, math, torch
from benchmarks.caches import text
from transept import AutoModelForCausalLM, AutoTokenizer
# as the files are: what a CPU's native products round beside that is measured with their speed
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype="float32", automatic_rewrites=False, **{options!r})
ids = AutoTokenizer.from_pretrained({source!r})(text()[0][:140_000], verbose=False).input_ids[:{tokens}]
assert len(ids) == {tokens}
total = 0.0
with torch.inference_mode():
    for passage in torch.tensor(ids).view(-1, 1, {piece}):
        total += float(model(passage, labels=passage).loss)
print(json.dumps({{"perplexity": math.exp(total * {piece} / {tokens}), "bytes": model.get_memory_footprint(), "parameters": model.num_parameters()}}))
"""


def _measure(folder: Path, **options: object) -> dict[str, float]:
    settings = {"folder": str(folder), "source": str(smollm2.folder()), "options": options, "tokens": TOKENS, "piece": PIECE}
    return run(_MEASURE.format(**settings))


def rows(runs: int = 1) -> list[Row]:
    plain = _measure(smollm2.folder())
    found = {name: (_measure(smollm2.folder(), quantization_config=asked), target) for name, (asked, target) in METHODS.items()}
    with tempfile.TemporaryDirectory() as place:
        found["gptq, 4 bits in groups of 64"] = (_measure(_gptq(Path(place))), "reported")
    result = []
    for name, (one, target) in found.items():
        ratio = one["perplexity"] / plain["perplexity"]
        memory = (int(one["bytes"]), int(plain["bytes"]))
        what = f"{name}: {one['bytes'] / one['parameters']:.2f} bytes a parameter; perplexity"
        result.append(
            Row(
                what,
                one["perplexity"],
                plain["perplexity"],
                "",
                "fp32",
                ratio,
                target,
                ratio <= 1.01 or target != "≤ 1.01",
                1,
                memory=memory,
            )
        )
    return result


def _gptq(place: Path) -> Path:
    """SmolLM2 quantized with data, as a user does it."""
    data = place / "text.txt"
    data.write_text(text()[0][140_000:], encoding="utf-8")
    arguments = [
        "--method",
        "gptq",
        "--bits",
        "4",
        "--group-size",
        "64",
        "--data",
        str(data),
        "--samples",
        "32",
        "--eval-tokens",
        "2000",
    ]
    program = f"import json\nfrom transept_cli.main import main\nassert main({['quantize', str(smollm2.folder()), str(place / 'out'), *arguments]!r}) == 0\nprint(json.dumps({{}}))"
    run(program)
    return place / "out"
