"""`generate`, for every model that predicts the next token."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..cache import DynamicCache, EncoderDecoderCache
from ..discovery import load_object, registry
from ..errors import GenerationError, UnknownArgumentError, did_you_mean
from .configuration import DEFAULTS, GenerationConfig, warn_of_idle_flags
from .inputs import Prompt, parameters_of, prepare_prompt
from .processors import processors_for
from .session import GenerationSession
from .stopping import criteria_for
from .strategies import find_strategy

__all__ = ["GenerationMixin"]

# Arguments of forward and prepare_inputs_for_generation that are the loop's own, or for training.
_NOT_THEIRS = frozenset({"labels", "logits_to_keep", "return_dict", "next_sequence_length", "is_first_iteration"})
# What is generated where nobody sets a length.
_NEW_TOKENS = 20
# Cache names that older checkpoints' files hold for what the layers' own types say today.
_OLD_CACHES = frozenset({"hybrid", "hybrid_chunked", "sliding_window"})


class GenerationMixin:
    """Mixed into model classes with a language modelling head.

    The class has `config`, `device`, `main_input_name` and, optionally, `generation_config`; an encoder–decoder also
    `get_encoder()`. `forward` returns an object with `logits` (batch, any, vocab) and `past_key_values`.
    """

    counts_positions: ClassVar[bool] = False
    """`forward` itself counts positions from ids and mask; else it is given those that count each row from 0."""

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Sequence[Any] | None = None,
        stopping_criteria: Sequence[Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, Tensor], Any] | None = None,
        synced_gpus: bool | None = None,
        assistant_model: Any = None,
        streamer: Any = None,
        negative_prompt_ids: Tensor | None = None,
        negative_prompt_attention_mask: Tensor | None = None,
        custom_generate: Any = None,
        *,
        generator: torch.Generator | None = None,
        tokenizer: Any = None,
        decoding: str | Callable[[GenerationSession], Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Continue the prompt.

        What the call says comes before `generation_config`, that before the model's own, and that before the defaults.
        `max_new_tokens` wins over `max_length`; 0 returns the prompt unchanged. Where nobody sets a length, 20 tokens are
        generated. Generation ends at the model's `max_position_embeddings` with a warning (positions that scale with the
        length, rope type "dynamic", have no such end). Without an `attention_mask`, tokens equal to `pad_token_id` are
        padding, unless that is an end of sequence too. Finished rows are filled with `pad_token_id`, else with the first
        `eos_token_id`. `inputs` of length 0 start from `bos_token_id`.

        Args:
            inputs: token ids, LongTensor (batch, length), padded on the left; or `input_ids`, or `inputs_embeds` (batch,
                length, hidden); for an encoder–decoder what the encoder takes.
            logits_processor: applied after those of the config, before the warpers.
            stopping_criteria: asked after each token, with those of the config.
            prefix_allowed_tokens_fn: `(batch index, ids of the row) -> ids that may follow`.
            streamer: gets the prompt and each new token; see `BaseStreamer`.
            negative_prompt_ids: what `guidance_scale` leads away from, LongTensor (batch, length).
            tokenizer: the model's, for `stop_strings`.
            decoding: key of an installed decoding strategy, or a function that takes the `GenerationSession`.
            kwargs: fields of `GenerationConfig`, arguments of the model's forward, and those of the strategy.

        Returns:
            LongTensor (batch × num_return_sequences, length) with the prompt in front, or with `return_dict_in_generate`
            a `GenerateDecoderOnlyOutput` or `GenerateEncoderDecoderOutput`.

        Raises:
            GenerationError: arguments contradict each other, or the prompt does not fit.
            UnknownArgumentError: a keyword that neither generation nor the model takes.
            PluginNotFoundError: an argument asks for a strategy or cache that is not installed.
        """
        try:
            if synced_gpus or custom_generate is not None:
                name = "synced_gpus" if synced_gpus else "custom_generate"
                raise GenerationError(f"`{name}` is not supported. A strategy of your own goes into `decoding=`.")
            config, rest, stated = _effective_config(self, generation_config, kwargs)
            own = {} if assistant_model is None else {"assistant_model": assistant_model}
            if streamer is not None and (config.num_beams or 1) > 1:
                raise GenerationError(
                    "A `streamer` cannot take back what a beam search drops. Leave it out, or set `num_beams=1`."
                )
            decode = find_strategy(config, decoding, own, rest, stated)
            _refuse_unknown(self, rest)
            prompt = prepare_prompt(self, inputs, {name: value for name, value in rest.items() if value is not None}, config)
            max_length, min_length = _lengths(self, prompt, config, stated)
            rows = max(config.num_beams or 1, config.num_return_sequences or 1)
            _give_cache(self, prompt, config, max_length, rows)
            session = GenerationSession(self, prompt, config, generator, tokenizer, streamer, own)
            session.expand(rows)
            session.stopping = criteria_for(config, session.prompt_length, max_length, tokenizer, stopping_criteria)
            session.max_length = session.stopping.max_length or max_length
            negative = (negative_prompt_ids, negative_prompt_attention_mask)
            session.processors = processors_for(session, min_length, logits_processor, prefix_allowed_tokens_fn, negative)
            return _decode(session, decode)
        except BaseException as error:
            if streamer is not None:
                with contextlib.suppress(Exception):  # a reader that is gone must not hide what went wrong here
                    getattr(streamer, "fail", lambda _: streamer.end())(error)
            raise

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The arguments of one forward pass; models and libraries override it.

        Args:
            input_ids: all tokens so far, LongTensor (batch, length).
            next_sequence_length: how many positions at the end are to be run; None: all of them.
            attention_mask: over all positions so far, cached ones included (an encoder–decoder's: the encoder's).
            inputs_embeds: the prompt's embeddings, for the first pass.
            kwargs: go to forward as they are; `position_ids` are those of the positions to be run.
        """
        encoder_decoder = self.config.is_encoder_decoder  # type: ignore[attr-defined]
        count = next_sequence_length or 0  # [-0:] is everything
        arguments: dict[str, Any] = {"past_key_values": past_key_values, "attention_mask": attention_mask}
        arguments = {name: value for name, value in arguments.items() if value is not None}
        if inputs_embeds is not None and is_first_iteration and not encoder_decoder:
            arguments["inputs_embeds"] = inputs_embeds[:, -count:]
        else:
            arguments["decoder_input_ids" if encoder_decoder else "input_ids"] = input_ids[:, -count:]
        for name, value in kwargs.items():
            arguments[name] = value[..., -count:] if name.endswith("token_type_ids") else value
        return arguments

    def compute_transition_scores(
        self, sequences: Tensor, scores: Sequence[Tensor], beam_indices: Tensor | None = None, normalize_logits: bool = False
    ) -> Tensor:
        """Scores of the tokens that were chosen, FloatTensor (batch, steps).

        Args:
            sequences: LongTensor (batch, length).
            scores: one (batch × beams, vocab) a step; with `normalize_logits` their log-softmax counts.
            beam_indices: the row of `scores` that each token comes from, LongTensor (batch, steps), negative after the end.
        """
        stacked = torch.stack(list(scores), 1)  # (batch × beams, steps, vocab)
        stacked = stacked.log_softmax(-1) if normalize_logits else stacked
        if beam_indices is None:
            beam_indices = torch.arange(stacked.shape[0], device=sequences.device)[:, None].expand(-1, len(scores))
        steps = int((beam_indices >= 0).sum(-1).max())
        beams, tokens = beam_indices[:, :steps], sequences[:, sequences.shape[1] - steps :]
        chosen = stacked[beams.clamp(min=0), torch.arange(steps, device=beams.device), tokens]
        return chosen.masked_fill(beams < 0, 0)


def _effective_config(
    model: Any, given: GenerationConfig | None, kwargs: dict[str, Any]
) -> tuple[GenerationConfig, dict[str, Any], dict[str, Any]]:
    """The merged config, the keywords that are not its fields, and what this call itself states."""
    base = getattr(model, "generation_config", None) or GenerationConfig.from_model_config(model.config)
    layers = [{name: value for name, value in layer.to_dict().items() if value is not None} for layer in (base, given) if layer]
    if layers[0].get("cache_implementation") in _OLD_CACHES:
        del layers[0]["cache_implementation"]
    config = GenerationConfig.from_dict({key: value for layer in (DEFAULTS, *layers) for key, value in layer.items()})
    rest = config.update(**kwargs)
    fields = {name: value for name, value in kwargs.items() if name not in rest}
    stated = {**(layers[1] if given else {}), **fields}
    if config.temperature == 0:
        config.do_sample, config.temperature = False, None
        stated.pop("temperature", None)
        fields.pop("temperature", None)
    config.validate()
    if config.compile_config is not None:
        raise GenerationError("`compile_config` is not supported. Compile `model.forward` with `torch.compile` yourself.")
    warn_of_idle_flags(stated, fields, config)
    if (config.num_return_sequences or 1) > 1 and not config.do_sample and (config.num_beams or 1) == 1:
        text = f"`num_return_sequences={config.num_return_sequences}` would return the same text so many times"
        raise GenerationError(f"{text} without `do_sample=True`. Set it, or ask for one.")
    if stated.get("max_length") is not None and stated.get("max_new_tokens") is None:
        config.max_new_tokens = None  # the checkpoint's
    return config, rest, stated


def _refuse_unknown(model: Any, rest: dict[str, Any]) -> None:
    known = parameters_of(model.forward) | parameters_of(model.prepare_inputs_for_generation)
    if model.config.is_encoder_decoder:
        known |= parameters_of(model.get_encoder().forward)
    for name in rest:
        if name not in known or name in _NOT_THEIRS:
            words = (*known, *vars(GenerationConfig), *parameters_of(GenerationMixin.generate))
            hint = did_you_mean(name, (word for word in words if not word.startswith("_")))
            text = f"`generate` takes no argument `{name}`, and neither does `{type(model).__name__}.forward`.{hint}"
            raise UnknownArgumentError(text, argument=name)


def _lengths(model: Any, prompt: Prompt, config: GenerationConfig, stated: dict[str, Any]) -> tuple[int, int]:
    """Tokens of `input_ids` at which generation ends, and before which it may not. A prompt without room is an error."""
    start, new, seen = prompt.input_ids.shape[1], config.max_new_tokens, prompt.unseen + prompt.input_ids.shape[1]
    if new is None and config.max_length is None:
        new = _NEW_TOKENS
        warnings.warn(f"No `max_new_tokens` is given: {new} are generated.", UserWarning, stacklevel=4)
    elif stated.get("max_length") is not None and new is not None:
        warnings.warn(
            f"`max_new_tokens={new}` is followed, `max_length={config.max_length}` is not.", UserWarning, stacklevel=4
        )
    longest = start + new if new is not None else (config.max_length or 0) - prompt.unseen
    if new is None and longest <= start:
        text = f"The prompt has {seen} tokens, and `max_length` is {config.max_length}."
        raise GenerationError(f"{text} Set `max_new_tokens`, which does not count the prompt.")
    context = None if longest == start else _context_length(model)
    if context is not None and prompt.unseen + longest > context and not (seen < context and _is_endless(prompt, config)):
        if seen >= context:
            text = f"The prompt has {seen} tokens, and the model's context (`max_position_embeddings`) has {context}"
            raise GenerationError(f"{text}: no room for a new one. Shorten the prompt, or scale the model's positions.")
        if stated.get("max_new_tokens") is not None or stated.get("max_length") is not None:
            text = f"Generation ends at {context} tokens, the model's `max_position_embeddings`"
            warnings.warn(f"{text}; {prompt.unseen + longest} were asked for.", UserWarning, stacklevel=4)
        longest = context - prompt.unseen
    shortest = max((config.min_length or 0) - prompt.unseen, start + config.min_new_tokens if config.min_new_tokens else 0)
    if shortest > longest:
        warnings.warn(f"At least {shortest} tokens are asked for, and at most {longest}.", UserWarning, stacklevel=4)
    return longest, shortest


def _text_config(model: Any) -> Any:
    return model.config.get_text_config(decoder=True) if hasattr(model.config, "get_text_config") else model.config


def _context_length(model: Any) -> int | None:
    config = _text_config(model)
    rope = getattr(config, "rope_parameters", None)
    scales = isinstance(rope, dict) and rope.get("rope_type") == "dynamic"
    return None if scales else getattr(config, "max_position_embeddings", None)


def _is_endless(prompt: Prompt, config: GenerationConfig) -> bool:
    given, key = prompt.extra.get("past_key_values"), config.cache_implementation
    if given is None and key is not None and config.use_cache:
        return bool(registry.get("caches", key).endless)
    return bool(getattr(given, "endless", False))


def _give_cache(model: Any, prompt: Prompt, config: GenerationConfig, max_length: int, rows: int) -> None:
    """Put a new cache into the prompt, unless the user gave one or wants none."""
    given = prompt.extra.get("past_key_values")
    if given is not None and (config.cache_implementation or config.use_cache is False):
        flag = f"cache_implementation={config.cache_implementation!r}" if config.cache_implementation else "use_cache=False"
        raise GenerationError(f"`{flag}` contradicts the `past_key_values` that were given. Leave one of the two out.")
    if given is not None or not config.use_cache or "past_key_values" not in parameters_of(model.forward):
        return
    key, text_config = config.cache_implementation or "dynamic", _text_config(model)
    record = registry.get("caches", key)
    if config.max_cache_len and not record.fixed_size:
        warnings.warn(f"`max_cache_len` has no effect on `cache_implementation={key!r}`.", UserWarning, stacklevel=4)
    make = load_object(record.cache, owner=registry.owner("caches", key))
    options = {
        "batch_size": prompt.input_ids.shape[0] * rows,
        "device": model.device,
        "dtype": getattr(model, "dtype", torch.get_default_dtype()),
        **(config.cache_config or {}),
    }
    most = max(prompt.unseen + max_length, config.max_cache_len or 0, options.pop("max_cache_len", None) or 0)
    cache = make(text_config, max_cache_len=most, **options)
    if model.config.is_encoder_decoder and not isinstance(cache, EncoderDecoderCache):
        cache = EncoderDecoderCache(cache, DynamicCache(text_config))
    prompt.extra["past_key_values"] = cache


def _decode(session: GenerationSession, decode: Callable[[GenerationSession], Any]) -> Any:
    begin, batch = time.monotonic(), session.input_ids.shape[0]
    registry.notify("generation_started", model=session.model, input_length=session.prompt_length, batch_size=batch)
    if session.streamer is not None:
        session.streamer.put(session.input_ids.cpu())
    result = decode(session)
    new = (session.length - session.prompt_length) * batch
    registry.notify("generation_finished", model=session.model, new_tokens=new, seconds=time.monotonic() - begin)
    return result
