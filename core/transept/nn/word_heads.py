"""Heads that predict words over an encoder: scores by the word embeddings and a bias."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..outputs import CausalLMOutputWithCrossAttentions, MaskedLMOutput
from .encoder_heads import EncoderHead
from .logits import keep_positions
from .losses import masked_lm_loss

__all__ = ["EncoderForMaskedLM", "PostNormForCausalLM", "PostNormForMaskedLM", "PredictsWords", "WordScores"]


class WordScores(nn.Module):
    """Scores of every word, (…, vocab_size), of `transformed` hidden states. Families tie `decoder` to the word embeddings."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.decoder = nn.Linear(width, vocab_size)
        # checkpoints carry the bias under this name; `decoder.bias` is tied to it
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def transformed(self, hidden_states: Tensor) -> Tensor:
        """(…, width) from (…, hidden_size)."""
        raise NotImplementedError

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(…, vocab_size) from (…, hidden_size)."""
        return self.decoder(self.transformed(hidden_states))


class PredictsWords(nn.Module):
    """What the classes of a family share that predict words; their `WordScores` are the module `word_scores_name`."""

    word_scores_name: ClassVar[str]

    @property
    def word_scores(self) -> WordScores:
        found = self.get_submodule(self.word_scores_name)
        assert isinstance(found, WordScores)
        return found

    def get_output_embeddings(self) -> nn.Module:
        return self.word_scores.decoder

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.word_scores.decoder, self.word_scores.bias = value, value.bias  # type: ignore[assignment]


class EncoderForMaskedLM(PredictsWords, EncoderHead):
    """Scores of the word at each position, (batch, seq, vocab_size); labels (batch, seq), of which -100 doesn't count.

    A family's `__init__` makes the `WordScores`.
    """

    output_class = MaskedLMOutput

    def scores(self, outputs: Any) -> Tensor:
        return self.word_scores(outputs.last_hidden_state)

    def loss_of(self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return masked_lm_loss(logits, labels, num_items_in_batch=num_items_in_batch)


class PostNormForMaskedLM(EncoderForMaskedLM):
    """The same over a `PostNormEncoder`."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if config.is_decoder:
            name = type(self).__name__
            warnings.warn(f"`{name}` of a decoder sees no word to the right: set `is_decoder=False`.", stacklevel=3)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Scores, and a loss where there are labels. Other arguments are `PostNormEncoder.forward`'s.

        Args:
            labels: (batch, seq) token ids, -100 where none counts.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        outputs = self.run(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            use_cache=False,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        return self.answer(outputs, self.scores(outputs), labels, return_dict, num_items_in_batch=num_items_in_batch)


class PostNormForCausalLM(PredictsWords, EncoderHead):
    """A `PostNormEncoder` as a decoder, with scores of the next word. A class that generates derives from `GenerationMixin` too."""

    output_class = CausalLMOutputWithCrossAttentions
    if TYPE_CHECKING:
        loss_function: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if not config.is_decoder:
            name = type(self).__name__
            warnings.warn(f"`{name}` of an encoder sees the words that it predicts: set `is_decoder=True`.", stacklevel=3)

    def loss_of(self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        return self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items_in_batch)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Logits of the next token, (batch, seq, vocab_size); arguments beyond these are `PostNormEncoder.forward`'s.

        Args:
            labels: (batch, seq) token ids, unshifted, -100 where none counts: asks for a loss, and no cache is made.
            logits_to_keep: positions that logits are wanted for (see `transept.nn.keep_positions`); 0: all.
            num_items_in_batch: the loss is the sum divided by this, in place of the mean.
        """
        outputs = self.base_model(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            encoder_hidden_states,
            encoder_attention_mask,
            past_key_values,
            False if use_cache is None and labels is not None else use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.word_scores(keep_positions(outputs.last_hidden_state, logits_to_keep))
        return self.answer(outputs, logits, labels, return_dict, num_items_in_batch=num_items_in_batch)
