"""Beam search and beam sampling: texts that grow side by side, of which the best are kept.

Settings, results and their order are those of Hugging Face Transformers 5: a text's score is the sum of its tokens'
log-probabilities (after the logits processors) divided by its length, in new tokens, to the power of `length_penalty`; see
Wu et al. 2016 (arXiv:1609.08144, section 7) for where that comes from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from transept.errors import GenerationError
from transept.generation import GenerationSession, UnbatchedClassifierFreeGuidanceLogitsProcessor
from transept.generation.configuration import token_ids
from transept_beam.finished import NEVER, Finished

__all__ = ["beam_sample", "beam_search"]

Choose = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""From scores (batch, beams * vocab) and a number n: n of the scores, (batch, n), and where they stand, LongTensor (batch, n)."""


def beam_search(session: GenerationSession) -> Any:
    """The best texts that `num_beams` beams find.

    Returns:
        LongTensor (batch * num_return_sequences, length), for each prompt the best first; or with `return_dict_in_generate` a
        `GenerateBeamDecoderOnlyOutput` or `GenerateBeamEncoderDecoderOutput`. Shorter texts are filled with `pad_token_id`,
        or with the first end of sequence where that is 0 or None, as the peer has it.

    Raises:
        GenerationError: more texts are asked for than there are beams, a streamer or guidance is, or scores are NaN.
    """
    return _search(session, lambda scores, count: scores.topk(count))


def beam_sample(session: GenerationSession) -> Any:
    """As `beam_search`, with the continuations of all beams drawn together, none twice, by `session.generator`.

    With the same seed they are those that Hugging Face Transformers draws.
    """

    def draw(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        try:
            places = torch.multinomial(scores.softmax(-1), count, generator=session.generator)
        except RuntimeError as error:
            if not scores.isnan().any() and torch.isfinite(scores).any(-1).all():
                raise
            raise _without_scores() from error
        return scores.gather(1, places), places

    return _search(session, draw)


def _search(session: GenerationSession, choose: Choose) -> Any:
    beams = _beams_of(session)
    batch, device = session.input_ids.shape[0] // beams, session.input_ids.device
    first_rows = torch.arange(0, batch * beams, beams, device=device)[:, None]  # (batch, 1)
    width = _candidates_a_beam(session) * beams
    prompts = session.input_ids[first_rows[:, 0]]  # (batch, prompt length)
    finished = Finished(batch, beams, session)
    # all beams of a prompt start alike: only the first may go on, or they would stay alike
    running = torch.full((batch, beams), NEVER, device=device)
    running[:, 0] = 0
    while not session.finished:
        logits = session.forward()[:, -1]
        scores = session.process(logits.log_softmax(-1), logits)  # (batch * beams, vocab)
        vocab = scores.shape[-1]
        totals = (scores.view(batch, beams, vocab) + running[:, :, None]).flatten(1)
        total, places = choose(totals, min(width, totals.shape[1]))  # (batch, candidates)
        parents, tokens = places // vocab + first_rows, places % vocab
        tried = torch.cat((session.input_ids[parents.flatten()], tokens.view(-1, 1)), 1)
        ends = session.stops(tried).view(total.shape)
        finished.add(total, ends, parents, tokens)
        running, chosen = (total + ends * NEVER).topk(beams)
        rows, tokens = parents.gather(1, chosen).flatten(), tokens.gather(1, chosen).flatten()
        session.reorder(rows)
        session.extend(tokens)
        finished.grow(rows, tokens)
        if bool(finished.is_settled(running) | ends.all()):
            break
    return _result(session, finished, prompts)


def _beams_of(session: GenerationSession) -> int:
    """The number of beams, each a row of the session; refuses what beams cannot serve."""
    config, beams = session.config, session.config.num_beams or 1
    if session.rows_per_prompt != beams:
        text = f"`num_return_sequences={config.num_return_sequences}` asks for more texts than `num_beams={beams}` has."
        raise GenerationError(f"{text} Set `num_beams` to at least as many.")
    if session.streamer is not None:
        raise GenerationError("A `streamer` cannot take back what a beam search drops. Leave it out.")
    if any(isinstance(processor, UnbatchedClassifierFreeGuidanceLogitsProcessor) for processor in session.processors):
        text = "`guidance_scale` runs a second text beside each, which does not follow when beams change places."
        raise GenerationError(f"{text} Set `num_beams=1`, or leave `guidance_scale` out.")
    for name in ("diversity_penalty", "low_memory"):
        if getattr(config, name):
            warnings.warn(f"`{name}` has no effect on this beam search.", UserWarning, stacklevel=2)
    return beams


def _candidates_a_beam(session: GenerationSession) -> int:
    """So many that, when each end of sequence is among them, one is left to go on with."""
    return max(2, 1 + len(token_ids(session.config.eos_token_id)))


def _result(session: GenerationSession, finished: Finished, prompts: Tensor) -> Any:
    answers = session.config.num_return_sequences or 1
    scores, texts, beam_indices = finished.best(answers)
    if bool(scores.isnan().any() | (scores[::answers] <= NEVER).any()):
        raise _without_scores()
    sequences = torch.cat((prompts.repeat_interleave(answers, 0), texts), 1)
    scored = {"sequences_scores": scores} if session.config.output_scores else {}
    return session.result(sequences=sequences, beam_indices=beam_indices, **scored)


def _without_scores() -> GenerationError:
    text = "The scores leave no text to choose: they are NaN, or every token is forbidden. Loosen the filters;"
    return GenerationError(
        f"{text} if the model's logits are NaN, load it in another dtype or set `remove_invalid_values=True`."
    )
