"""`transept generate`: continue a prompt, or answer it."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from .console import err, print_json
from .loading import (
    AttentionOption,
    DeviceOption,
    DtypeOption,
    ModelArgument,
    RevisionOption,
    RewriteOption,
    load_model,
    load_tokenizer,
)
from .sampling import MaxNewTokens, MinP, RepetitionPenalty, Sample, Seed, Temperature, TopK, TopP, generation_arguments

__all__ = ["generate"]


def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    max_new_tokens: MaxNewTokens = 100,
    sample: Sample = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    system: Annotated[str | None, typer.Option("--system", help="System message, with --chat.")] = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="Stop where this text appears; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of streaming.")] = False,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    attention: AttentionOption = "auto",
    rewrite: RewriteOption = None,
    revision: RevisionOption = None,
) -> None:
    """Continue a prompt, or answer it with --chat; the text streams as it comes."""
    if system is not None and not chat:
        raise typer.BadParameter("--system needs --chat: a plain prompt has no roles.")
    if prompt == "-" and sys.stdin is None:
        raise typer.BadParameter("the prompt `-` reads standard input, and it is closed.")
    text = sys.stdin.read() if prompt == "-" else prompt
    tokenizer = load_tokenizer(model, revision=revision)
    loaded = load_model(model, dtype=dtype, device=device, attention=attention, rewrites=rewrite, revision=revision)
    from transept import TextStreamer

    if chat:
        messages = [{"role": "system", "content": system}] if system is not None else []
        messages.append({"role": "user", "content": text})
        inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    else:
        inputs = tokenizer(text, return_tensors="pt")
    arguments = generation_arguments(
        max_new_tokens=max_new_tokens,
        sample=sample,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        device=loaded.device,
    )
    if stop:
        arguments.update(stop_strings=list(stop), tokenizer=tokenizer)
    reads_apart = loaded.config.is_encoder_decoder  # the decoder starts from a token of its own, not from the prompt
    streamer = None if as_json else TextStreamer(tokenizer, skip_prompt=chat or reads_apart, skip_special_tokens=True)
    inputs = inputs.to(loaded.device)
    started = time.perf_counter()
    output = loaded.generate(**inputs, streamer=streamer, **arguments)
    seconds = time.perf_counter() - started
    prompt_tokens = inputs["input_ids"].shape[1]
    new = output[0, 1 if reads_apart else prompt_tokens :]
    speed = len(new) / seconds if seconds > 0 else 0.0
    if as_json:
        print_json(
            {
                "model": model,
                "prompt": text,
                "text": tokenizer.decode(new, skip_special_tokens=True),
                "prompt_tokens": prompt_tokens,
                "new_tokens": len(new),
                "seconds": round(seconds, 3),
                "tokens_per_second": round(speed, 2),
            }
        )
    elif err.is_terminal:
        err.print(f"{len(new)} tokens, {speed:.1f} tokens/s", style="dim")
