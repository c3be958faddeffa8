"""Copies between the device that computes and the one where keys and values live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["CudaTransport", "PlainTransport", "Transport", "transport_between"]


class Transport(Protocol):
    """What the cache asks of a way between two devices. A pair is keys and values."""

    def mark(self) -> Any:
        """A mark behind the work that is queued on the computing device."""

    def bring(self, pair: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor], Any]:
        """Begin to copy to the computing device: the copies, and what `wait` needs before they are read."""

    def wait(self, ticket: Any, pair: Sequence[Tensor]) -> None:
        """Queue what follows on the computing device behind these copies."""

    def take(self, pair: Sequence[Tensor], mark: Any) -> tuple[Tensor, Tensor]:
        """Copy what was computed before the mark to where it lives. The copies can be read at once."""


class PlainTransport:
    """Each copy is done when its call returns, as far as the devices tell."""

    def __init__(self, compute: torch.device, home: torch.device) -> None:
        self.compute, self.home = compute, home

    def mark(self) -> Any:
        return None

    def bring(self, pair: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor], Any]:
        keys, values = (tensor.to(self.compute) for tensor in pair)
        return (keys, values), None

    def wait(self, ticket: Any, pair: Sequence[Tensor]) -> None:
        return

    def take(self, pair: Sequence[Tensor], mark: Any) -> tuple[Tensor, Tensor]:
        keys, values = (tensor.to(self.home) for tensor in pair)
        return keys, values


class CudaTransport:
    """Copies on a stream of their own, beside the computation. The host waits for those that go home, and for no others."""

    def __init__(self, compute: torch.device, home: torch.device) -> None:
        self.compute, self.home = compute, home
        self.stream = torch.cuda.Stream(compute)

    def mark(self) -> Any:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.compute))
        return event

    def bring(self, pair: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor], Any]:
        with torch.cuda.stream(self.stream):
            keys, values = (self._copied(tensor) for tensor in pair)
            event = torch.cuda.Event()
            event.record(self.stream)
        return (keys, values), event

    def wait(self, ticket: Any, pair: Sequence[Tensor]) -> None:
        current = torch.cuda.current_stream(self.compute)
        current.wait_event(ticket)
        for tensor in pair:  # their memory is the copying stream's: it must not be used anew while the computation reads it
            tensor.record_stream(current)

    def take(self, pair: Sequence[Tensor], mark: Any) -> tuple[Tensor, Tensor]:
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(mark)
            keys, values = (torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor) for tensor in pair)
        return keys, values

    def _copied(self, tensor: Tensor) -> Tensor:
        found = torch.empty(tensor.shape, dtype=tensor.dtype, device=self.compute)
        # storage has room behind its tokens: torch would gather the rows on the host first, which then waits for it
        for target, row in zip(found.flatten(0, 1), tensor.flatten(0, 1), strict=True):
            target.copy_(row, non_blocking=True)
        return found


def transport_between(compute: torch.device, home: torch.device) -> Transport | None:
    """The way between two devices; None where they are one."""
    if compute == home or (compute.type == home.type and None in (compute.index, home.index)):
        return None
    if compute.type == "cuda" and home.type == "cpu":
        return CudaTransport(compute, home)
    return PlainTransport(compute, home)
