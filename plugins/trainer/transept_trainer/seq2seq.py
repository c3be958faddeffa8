"""`Seq2SeqTrainer`: evaluation and prediction through `generate`, for encoder-decoder models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from transept.errors import ConfigError, InputError

from .arguments import Positive, TrainingArguments
from .results import PredictionOutput
from .trainer import Trainer

__all__ = ["Seq2SeqTrainer", "Seq2SeqTrainingArguments"]


class Seq2SeqTrainingArguments(TrainingArguments):
    """`TrainingArguments`, and how text is generated while evaluating."""

    predict_with_generate: bool = False
    """Predictions are generated tokens, not logits: for ROUGE, BLEU and the like."""
    generation_max_length: Positive | None = None
    """Tokens of a prediction, the first included; the model's generation config unless given."""
    generation_num_beams: Positive | None = None
    generation_config: Any = None
    """A `GenerationConfig`, or a folder or name to load one from, in place of the model's."""
    sortish_sampler: bool = Field(default=False)

    def check(self) -> None:
        super().check()
        if self.sortish_sampler:
            raise ConfigError("`sortish_sampler`: set `train_sampling_strategy` to `group_by_length`, which is the same idea.")

    def to_dict(self) -> dict[str, Any]:
        found = super().to_dict()
        config = found["generation_config"] = self.generation_config
        if hasattr(config, "to_dict"):
            found["generation_config"] = config.to_dict()
        return found


class Seq2SeqTrainer(Trainer):
    """A `Trainer` whose `evaluate` and `predict` take arguments of `generate`, for `predict_with_generate`."""

    args_class: ClassVar[type[TrainingArguments]] = Seq2SeqTrainingArguments

    def __init__(self, *positional: Any, **arguments: Any) -> None:
        super().__init__(*positional, **arguments)
        self._generation: dict[str, Any] = {}
        config = getattr(self.args, "generation_config", None)
        if config is not None:
            self.model.generation_config = self.load_generation_config(config)

    @staticmethod
    def load_generation_config(gen_config_arg: Any) -> Any:
        """The configuration itself, or what `from_pretrained` finds."""
        from transept.generation import GenerationConfig

        if isinstance(gen_config_arg, str | Path):
            return GenerationConfig.from_pretrained(gen_config_arg)
        if not isinstance(gen_config_arg, GenerationConfig):
            raise ConfigError(
                f"`generation_config` is a `{type(gen_config_arg).__name__}`: give a `GenerationConfig`, or where one is."
            )
        return gen_config_arg

    def _asked(self, given: dict[str, Any]) -> dict[str, Any]:
        """Arguments of `generate`: those of the call, else those of the training arguments."""
        asked = {name: value for name, value in given.items() if value is not None}
        longest, beams = getattr(self.args, "generation_max_length", None), getattr(self.args, "generation_num_beams", None)
        if longest is not None and not {"max_length", "max_new_tokens"} & asked.keys():
            asked["max_length"] = longest
        if beams is not None:
            asked.setdefault("num_beams", beams)
        return asked

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **gen_kwargs: Any,
    ) -> dict[str, float]:
        self._generation = self._asked(gen_kwargs)
        return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test", **gen_kwargs: Any
    ) -> PredictionOutput:
        self._generation = self._asked(gen_kwargs)
        return super().predict(test_dataset, ignore_keys, metric_key_prefix)

    @torch.no_grad()
    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Any, Any]:
        if not getattr(self.args, "predict_with_generate", False) or prediction_loss_only:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        inputs = self._prepare_inputs(inputs)
        labels = inputs.get("labels")
        # what was made from the labels would tell the answer
        from_labels = {"labels", "decoder_input_ids", "decoder_attention_mask"} if labels is not None else set()
        prompt = {name: value for name, value in inputs.items() if name not in from_labels}
        tokens = self.unwrapped_model().generate(**prompt, **self._generation)
        loss = None
        if labels is not None:
            loss = self.compute_loss(model, inputs, num_items_in_batch=self.get_item_count([inputs])).detach().mean()
        # no wider than the batch needs: batches are filled to one width when they are joined
        return loss, self._filled(tokens), labels

    def _filled(self, tokens: Tensor) -> Tensor:
        """With the padding token up to the length that was asked for, so that batches and processes agree."""
        longest = self._generation.get("max_length")
        if longest is None and (new := self._generation.get("max_new_tokens")) is not None:
            longest = new + 1
        if longest is None or tokens.shape[1] >= longest:
            return tokens
        pad = getattr(self.processing_class, "pad_token_id", None)
        pad = getattr(self.model.config, "pad_token_id", None) if pad is None else pad
        if pad is None:
            raise InputError(
                "Predictions of different lengths need a padding token: the tokenizer and the model's config have none."
            )
        return torch.nn.functional.pad(tokens, (0, longest - tokens.shape[1]), value=pad)
