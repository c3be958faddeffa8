"""`transept chat`: a conversation in the terminal."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from transept.errors import ChatTemplateError, TranseptError

from .console import err, out, say_error
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

__all__ = ["chat"]

_HELP = """\
/new      forget the conversation
/undo     take back the last question and its answer
/history  show the conversation
/system TEXT  set the system message
/exit     leave (or Ctrl-D)
Ctrl-C stops only the reply."""


def chat(
    model: ModelArgument,
    max_new_tokens: MaxNewTokens = 512,
    sample: Sample = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = None,
    system: Annotated[str | None, typer.Option("--system", help="System message.")] = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    attention: AttentionOption = "auto",
    rewrite: RewriteOption = None,
    revision: RevisionOption = None,
) -> None:
    """Talk with a model in the terminal. It remembers the conversation; Ctrl-C stops only the reply."""
    tokenizer = load_tokenizer(model, revision=revision)
    loaded = load_model(model, dtype=dtype, device=device, attention=attention, rewrites=rewrite, revision=revision)
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
    talk = Conversation(loaded, tokenizer, arguments, system)
    if sys.stdin.isatty():
        out.print(f"{model}: /help for commands, Ctrl-D to leave.", style="dim", markup=False)
        _enable_line_editing()
    for line in _lines():
        if line.startswith("/"):
            if not _command(talk, line):
                return
        elif line:
            _reply(talk, line)


class Conversation:
    """Messages so far, and the model that answers them."""

    def __init__(self, model: Any, tokenizer: Any, arguments: dict[str, Any], system: str | None) -> None:
        self.model, self.tokenizer, self.arguments = model, tokenizer, arguments
        self.messages: list[dict[str, str]] = []
        self.system = system

    def prompt(self) -> list[dict[str, str]]:
        return ([{"role": "system", "content": self.system}] if self.system else []) + self.messages

    def answer(self, question: str, stop: threading.Event) -> str:
        """Answer on the terminal as the text comes; what was said until a stop is kept as the answer."""
        from transept import StoppingCriteria, StoppingCriteriaList, TextStreamer

        class Stopped(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                import torch

                return torch.full((input_ids.shape[0],), stop.is_set(), device=input_ids.device, dtype=torch.bool)

        self.messages.append({"role": "user", "content": question})
        try:
            inputs = self.tokenizer.apply_chat_template(
                self.prompt(), add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            inputs = inputs.to(self.model.device)
            output = self.model.generate(
                **inputs,
                streamer=TextStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True),
                stopping_criteria=StoppingCriteriaList([Stopped()]),
                **self.arguments,
            )
        except BaseException:
            self.messages.pop()
            raise
        text: str = self.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        self.messages.append({"role": "assistant", "content": text})
        return text


def _reply(talk: Conversation, line: str) -> None:
    with _stoppable() as stop:
        try:
            talk.answer(line, stop)
        except (TranseptError, UnicodeError) as error:
            say_error(error, debug=False)
            if isinstance(error, ChatTemplateError) or not sys.stdin.isatty():
                raise typer.Exit(1) from error
            err.print("Forget the conversation with /new, or take the last turn back with /undo.", style="dim")


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """While the model talks, Ctrl-C sets the event instead of ending the program; a second one ends it."""
    stop = threading.Event()

    def on_interrupt(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
        if stop.is_set():
            out.print("(stopped)", style="dim", highlight=False)


def _lines() -> Iterator[str]:
    """What the user types, until the end of input; Ctrl-C at the prompt clears the line."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            out.print()


def _enable_line_editing() -> None:
    """Arrow keys and the history of this session, where Python has readline."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(True)


def _command(talk: Conversation, line: str) -> bool:
    """Run a /command; False leaves the chat."""
    name, _, rest = line.partition(" ")
    if name in ("/exit", "/quit", "/bye"):
        return False
    if name == "/new":
        talk.messages.clear()
        out.print("New conversation.", style="dim")
    elif name == "/undo":
        del talk.messages[-2:]
        out.print(f"{len(talk.messages) // 2} turns left.", style="dim")
    elif name == "/history":
        for message in talk.prompt():
            out.print(f"{message['role']}: {message['content']}", markup=False)
    elif name == "/system":
        talk.system = rest or None
        out.print("System message set." if rest else "System message removed.", style="dim")
    else:
        out.print(_HELP if name == "/help" else f"No command {name}.\n{_HELP}", style="dim", markup=False)
    return True
