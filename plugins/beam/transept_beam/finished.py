"""The texts that a beam search has finished, the best of each prompt, and the way back to their beginnings."""

from __future__ import annotations

import torch
from torch import Tensor

from transept.generation import GenerationSession
from transept.generation.configuration import token_ids

__all__ = ["NEVER", "Finished"]

NEVER = -1.0e9
"""The score of what must not be chosen. It is finite, so that where nothing else is left it still has an order."""


class Finished:
    """The best finished texts of each prompt, best first, as many as there are beams.

    A text is held as its last token and the row that it ended; the tokens before are found at the end, from row to row
    backwards. So a step costs the same at any length.

    Attributes:
        scores: FloatTensor (batch, beams), with the length penalty; `NEVER` where there is no text yet.
    """

    def __init__(self, batch: int, beams: int, session: GenerationSession) -> None:
        config, device = session.config, session.input_ids.device
        penalty = config.length_penalty
        self.length_penalty = 1.0 if penalty is None else float(penalty)
        self.early_stopping = config.early_stopping or False
        self.fill = _fill(config.pad_token_id, token_ids(config.eos_token_id))
        self.most = session.max_length - session.prompt_length
        """New tokens at which generation ends."""
        self.scores = torch.full((batch, beams), NEVER, device=device)
        self._ends = torch.full((3, batch, beams), -1, device=device)  # step, row at that step, token
        self._open = torch.ones((batch, 1), dtype=torch.bool, device=device)
        """A running text may still become better than the worst finished one."""
        self._rows: list[Tensor] = []  # a step: (batch * beams,), the row that each row went on from
        self._tokens: list[Tensor] = []

    @property
    def step(self) -> int:
        return len(self._rows)

    def add(self, total: Tensor, ends: Tensor, parents: Tensor, tokens: Tensor) -> None:
        """Take the candidates that have ended and stand among the first `beams`; the others are there only to go on with.

        Args: all (batch, candidates): sums of log-probabilities, whether they ended, the row that each goes on from, its token.
        """
        beams = self.scores.shape[1]
        admitted = ends & self._open
        if self.early_stopping is True:
            admitted &= self.scores[:, -1:] <= NEVER
        admitted[:, beams:] = False
        scores = (total / (self.step + 1) ** self.length_penalty).masked_fill(~admitted, -torch.inf)
        self.scores, best = torch.cat((self.scores, scores), 1).topk(beams)
        candidates = torch.stack((torch.full_like(tokens, self.step), parents, tokens))
        self._ends = torch.cat((self._ends, candidates), 2).gather(2, best.expand(3, -1, -1))

    def grow(self, rows: Tensor, tokens: Tensor) -> None:
        """Hear what the running texts became, LongTensor (batch * beams,): the row that each goes on from, and its token."""
        self._rows.append(rows)
        self._tokens.append(tokens)

    def is_settled(self, running: Tensor) -> Tensor:
        """Whether nothing that goes on can change the result, BoolTensor (). `running`: sums of log-probabilities, best first."""
        length = self.most if self.early_stopping == "never" and self.length_penalty > 0 else self.step
        self._open &= running[:, :1] / length**self.length_penalty > self.scores[:, -1:]
        settled = ~self._open.any()
        return settled | (self.scores > NEVER).all() if self.early_stopping is True else settled

    def best(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The first `count` texts of each prompt.

        Returns:
            scores (batch * count,), new tokens (batch * count, length), and the row of each step's scores that a token was
            chosen from, IntTensor (batch * count, length); behind a text's end `fill`, and -1.
        """
        last, row, token = self._ends[:, :, :count].flatten(1)  # (batch * count,)
        length = int(last.max()) + 1 if last.numel() else 0
        steps = torch.arange(length, device=last.device)[:, None]
        places = row.expand(length, -1).clone()  # the row of each step's scores that the text took its token from
        for step in range(length - 2, -1, -1):
            above = self._rows[step][places[step + 1].clamp(min=0)]
            places[step] = torch.where(last == step, row, above)
        kept = [tokens[place] for tokens, place in zip(self._tokens[: length - 1], places[1:], strict=True)]
        texts = torch.stack([*kept, token]) if length else token.new_empty((0, token.shape[0]))
        texts = torch.where(steps == last, token, texts).masked_fill(steps > last, self.fill)
        places = places.masked_fill(steps > last, -1)
        scores = self.scores[:, :count].flatten()
        return (scores if self.step else torch.zeros_like(scores)), texts.T.contiguous(), places.T.to(torch.int32)


def _fill(pad: int | None, ends: list[int]) -> int:
    """What stands behind a text that is shorter than others: as the peer has it, padding that is 0 counts as none."""
    return pad or ends[0] if ends else -1 if pad is None else pad
