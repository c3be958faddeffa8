"""Streamers: text that leaves while `generate` is at work."""

from __future__ import annotations

import asyncio
from queue import Queue
from typing import Any, Self

from torch import Tensor

from ..errors import GenerationError

__all__ = ["AsyncTextIteratorStreamer", "BaseStreamer", "TextIteratorStreamer", "TextStreamer"]


class BaseStreamer:
    """What `generate` calls: `put` with the prompt's ids, then with each step's new ids, and `end`; or `fail` in place of `end`."""

    def put(self, value: Tensor) -> None:
        """Take LongTensor (batch, length), the prompt, or (batch,), one new token a row; on the CPU."""
        raise NotImplementedError

    def end(self) -> None:
        """Hear that nothing more will come."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """Hear that generation ended with an error, which `generate` raises too."""
        self.end()


class TextStreamer(BaseStreamer):
    """Prints the text as it comes, each character once it is whole.

    The pieces joined are the text of all tokens decoded at once by `tokenizer.decode(ids, **decode_kwargs)`.
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer, self.skip_prompt, self.decode_kwargs = tokenizer, skip_prompt, decode_kwargs
        self._reset()

    def _reset(self) -> None:
        self.ids: list[int] = []
        self.told = 0
        """How many of `ids` are out already; they stay so that the decoder sees what the text goes on from."""
        self.at_prompt = True

    def put(self, value: Tensor) -> None:
        if value.dim() > 1:
            if value.shape[0] > 1:
                raise GenerationError(f"A text streamer follows one sequence, and the batch has {value.shape[0]}.")
            value = value[0]
        skip, self.at_prompt = self.at_prompt and self.skip_prompt, False
        if not skip:
            self.ids.extend(value.tolist())
            self._tell()

    def end(self) -> None:
        self._tell(last=True)
        self._reset()
        self.on_finalized_text("", stream_end=True)

    def _tell(self, last: bool = False) -> None:
        text: str = self.tokenizer.decode(self.ids, **self.decode_kwargs)
        before: str = self.tokenizer.decode(self.ids[: self.told], **self.decode_kwargs) if self.told else ""
        # a replacement character at the end: bytes of one character are still to come
        if len(text) > len(before) and (last or not text.endswith("\ufffd")):
            self.on_finalized_text(text[len(before) :])
            self.ids, self.told = self.ids[self.told :], len(self.ids) - self.told

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Do something with a piece of text; override it. `stream_end` comes with the last one."""
        print(text, flush=True, end="\n" if stream_end else "")  # noqa: T201


class _QueueStreamer(TextStreamer):
    """Sends pieces to a reader elsewhere; None is the last of them."""

    def send(self, *pieces: str | BaseException | None) -> None:
        raise NotImplementedError

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.send(*[text] * bool(text), *[None] * stream_end)

    def fail(self, error: BaseException) -> None:
        self._reset()
        self.send(error, None)  # at once: a reader that got the error may close its loop


class TextIteratorStreamer(_QueueStreamer):
    """Iterates over the text in one thread while `generate` runs in another; an error of `generate` is raised here too.

    It waits `timeout` seconds for a piece (`queue.Empty`); None: as long as it takes.
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.text_queue: Queue[str | BaseException | None] = Queue()
        self.timeout = timeout

    def send(self, *pieces: str | BaseException | None) -> None:
        for piece in pieces:
            self.text_queue.put(piece)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        piece = self.text_queue.get(timeout=self.timeout)
        if piece is None:
            raise StopIteration
        if isinstance(piece, BaseException):
            raise piece
        return piece


class AsyncTextIteratorStreamer(_QueueStreamer):
    """Iterates over the text in a coroutine while `generate` runs in a thread; an error of `generate` is raised here too.

    It has to be made inside the running event loop, and waits `timeout` seconds for a piece (`TimeoutError`).
    """

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.text_queue: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self.timeout = timeout
        self.loop = asyncio.get_running_loop()

    def send(self, *pieces: str | BaseException | None) -> None:
        def put() -> None:
            for piece in pieces:
                self.text_queue.put_nowait(piece)

        self.loop.call_soon_threadsafe(put)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        async with asyncio.timeout(self.timeout):
            piece = await self.text_queue.get()
        if piece is None:
            raise StopAsyncIteration
        if isinstance(piece, BaseException):
            raise piece
        return piece
