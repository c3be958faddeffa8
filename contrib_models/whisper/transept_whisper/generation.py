"""Transcription (https://arxiv.org/abs/2212.04356, sections 2.3 and 4.5): window after window of 30 seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from transept.errors import GenerationError
from transept.generation import GenerationMixin
from transept.outputs import BaseModelOutput

from .prompt import start_tokens
from .timestamps import WhisperTimeStampLogitsProcessor, cut_at_timestamps
from .windows import (
    Plan,
    Recording,
    check_features,
    joined,
    mean_logprob,
    packing_ratio,
    sound_frames,
    without_end,
    without_padding,
)

__all__ = ["WhisperGenerationMixin"]

_SETTINGS = (
    "alignment_heads",
    "forced_decoder_ids",
    "is_multilingual",
    "lang_to_id",
    "max_initial_timestamp_index",
    "no_timestamps_token_id",
    "prev_sot_token_id",
    "return_timestamps",
    "task_to_id",
)
"""What a Whisper's generation config has beside the fields of all models'; older checkpoints hold some of it in `config.json`."""
_LOW_TEMPERATURE = 0.5
"""What was drawn at a higher one is no good start for the next window."""


class WhisperGenerationMixin(GenerationMixin):
    """`generate` for speech."""

    def adopt_generation_settings(self) -> None:
        """Take what the configuration says about generation, for checkpoints that have no file of its own for it."""
        model: Any = self
        for name in _SETTINGS:
            value = getattr(model.config, name, None)
            if value is not None:
                setattr(model.generation_config, name, copy.deepcopy(value))
                model.generation_config._from_model_config = False  # readers of its file would make it anew, without these

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        input_features: Tensor | None = None,
        generation_config: Any = None,
        logits_processor: Sequence[Any] | None = None,
        stopping_criteria: Sequence[Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, Tensor], Any] | None = None,
        synced_gpus: bool | None = None,
        return_timestamps: bool | None = None,
        task: str | None = None,
        language: str | Sequence[str] | None = None,
        is_multilingual: bool | None = None,
        prompt_ids: Tensor | None = None,
        prompt_condition_type: str | None = None,
        condition_on_prev_tokens: bool | None = None,
        temperature: float | Sequence[float] | None = None,
        compression_ratio_threshold: float | None = None,
        logprob_threshold: float | None = None,
        no_speech_threshold: float | None = None,
        attention_mask: Tensor | None = None,
        time_precision: float = 0.02,
        return_token_timestamps: bool | None = None,
        return_segments: bool = False,
        return_dict_in_generate: bool | None = None,
        monitor_progress: Callable[[Tensor], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Transcribe recordings, or translate them to English.

        Recordings longer than the model's window (30 seconds) are heard window by window, each of which begins at the last
        timestamp of the one before. Where nobody sets a length, a window has as many tokens as the decoder has positions.

        Args:
            input_features: (batch, mel bins, frames), from `WhisperFeatureExtractor`; for long recordings made with
                `truncation=False, padding="longest"`. Or `encoder_outputs`, for one window.
            return_timestamps: let timestamps come among the tokens; long recordings need them.
            task, language: see `prompt.start_tokens`; `language` may be a list with one for each recording.
            is_multilingual: whether the model knows more than English; None: as its generation config says.
            prompt_ids: tokens that the first window ("first-segment") or every one ("all-segments") is told to follow, from
                `WhisperProcessor.get_prompt_ids`.
            prompt_condition_type: which of these; the second needs `condition_on_prev_tokens`.
            condition_on_prev_tokens: let each window begin with what was said before.
            temperature: one, or several that are tried in turn while a text falls short of the thresholds that follow.
            compression_ratio_threshold: most bytes of tokens to a byte of them packed: what repeats itself packs well.
            logprob_threshold: least mean log probability of the tokens.
            no_speech_threshold: with `logprob_threshold`: from this probability of silence on, an unlikely text is dropped.
            attention_mask: (batch, frames), 1 at sound; a batch of long recordings needs it.
            time_precision: seconds from timestamp to timestamp.
            return_segments: return `{"sequences": …, "segments": …}`, the segments of each recording as dicts of `start` and `end`
                in seconds and `tokens`.
            monitor_progress: called before each window with LongTensor (batch, 2): frames done, and frames in all.
            kwargs: as in `GenerationMixin.generate`.

        Returns:
            LongTensor (batch, length): what was said, without the prompt and the end, filled with `pad_token_id`. With
            `return_dict_in_generate`, and without timestamps, the output object of the last window, whose sequences have both.

        Raises:
            GenerationError, InputError, UnknownArgumentError: arguments that contradict each other, or do not fit the model.
        """
        model: Any = self
        if return_token_timestamps:
            raise GenerationError(
                "`return_token_timestamps` is not supported: `return_timestamps=True` gives those of segments."
            )
        config = self._merged(generation_config, kwargs)
        if is_multilingual is not None:
            config.is_multilingual = is_multilingual
        window = 2 * model.config.max_source_positions
        features, states = self._sound(input_features, kwargs, config)
        frames = window if features is None else features.shape[-1]
        batch = states[0].shape[0] if features is None else features.shape[0]
        timestamps = _wants_timestamps(return_timestamps, config, frames, window)
        without = getattr(config, "no_timestamps_token_id", None)
        if return_dict_in_generate is None:
            return_dict_in_generate = bool(config.return_dict_in_generate)

        follow = _either(condition_on_prev_tokens, config, "condition_on_prev_tokens") or False
        if prompt_condition_type not in (None, "first-segment", "all-segments"):
            raise GenerationError(
                f"`prompt_condition_type={prompt_condition_type!r}` is neither 'first-segment' nor 'all-segments'."
            )
        if prompt_condition_type == "all-segments" and not follow:
            raise GenerationError("`prompt_condition_type='all-segments'` needs `condition_on_prev_tokens=True`.")
        plan = Plan(
            config=config,
            temperatures=list(temperature) if isinstance(temperature, Sequence) else [temperature],
            timestamps=timestamps,
            timestamp_begin=(model.config.vocab_size if without is None else without) + 1,
            compression_ratio=_either(compression_ratio_threshold, config, "compression_ratio_threshold"),
            logprob=_either(logprob_threshold, config, "logprob_threshold"),
            no_speech=_either(no_speech_threshold, config, "no_speech_threshold"),
            prompt=[] if prompt_ids is None else [int(token) for token in prompt_ids],
            prompt_always=prompt_condition_type == "all-segments",
            keywords={
                "logits_processor": logits_processor,
                "stopping_criteria": stopping_criteria,
                "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn,
                "synced_gpus": synced_gpus,
                **kwargs,
            },
        )
        if plan.no_speech is not None and (plan.logprob is None or without is None):
            raise GenerationError("`no_speech_threshold` needs `logprob_threshold`, and a model with timestamps.")
        config.return_dict_in_generate = bool(return_dict_in_generate) or plan.logprob is not None
        config.output_scores = config.output_scores or plan.logprob is not None or None

        recordings = [Recording(n, follow=follow) for n in sound_frames(frames, batch, window, attention_mask)]
        if states is None:
            states = self._encode(features[:, :, :window], config)  # type: ignore[index]
        starts = start_tokens(
            config,
            language=language if language is not None else getattr(config, "language", None),
            task=task if task is not None else getattr(config, "task", None),
            timestamps=timestamps,
            batch=batch,
            detect=lambda: self.detect_language(encoder_outputs=states, generation_config=config),
        )
        outputs: Any = None
        while rows := [index for index, each in enumerate(recordings) if each.seek < each.frames]:
            now = [recordings[index] for index in rows]
            if monitor_progress is not None:
                monitor_progress(torch.tensor([[each.seek, each.frames] for each in recordings]))
            if features is not None and any(each.seek for each in recordings):
                pieces = [each.piece(features[index], window) for index, each in zip(rows, now, strict=True)]
                states = self._encode(torch.stack(pieces), config)
            ids, mask = self._decoder_prompt(now, [starts[index] for index in rows], plan)
            texts, outputs, cool = self._window(states, ids, mask, plan)
            for each, tokens, is_cool in zip(now, texts, cool, strict=True):
                heard = min(each.frames - each.seek, window)
                moved = heard
                if tokens is not None:
                    start = each.seek * time_precision / 2
                    segments, moved = cut_at_timestamps(tokens, plan.timestamp_begin, start, heard, time_precision)
                    each.segments += segments
                each.follow = follow and is_cool
                each.seek += moved if moved > 0 and features is not None else heard
        if return_dict_in_generate and not timestamps:
            return outputs
        sequences = joined(recordings, config.pad_token_id, model.device)
        if not return_segments and not return_dict_in_generate:
            return sequences
        return {"sequences": sequences, "segments": [[asdict(one) for one in each.segments] for each in recordings]}

    def detect_language(
        self, input_features: Tensor | None = None, encoder_outputs: Any = None, generation_config: Any = None
    ) -> Tensor:
        """Each recording's language as its token's id, LongTensor (batch,): the likeliest after the start.

        Raises:
            GenerationError: neither input or both, or a model of one language.
        """
        model: Any = self
        config = generation_config or model.generation_config
        languages = getattr(config, "lang_to_id", None)
        if languages is None:
            raise GenerationError("This model has no tokens for languages (`lang_to_id` of its generation config).")
        if (input_features is None) == (encoder_outputs is None):
            raise GenerationError("Give `input_features` or `encoder_outputs`, one of them.")
        if input_features is not None:
            encoder_outputs = self._encode(input_features[:, :, : 2 * model.config.max_source_positions], config)
        start = torch.full((encoder_outputs[0].shape[0], 1), config.decoder_start_token_id, device=model.device)
        logits = self._logits(encoder_outputs, start)
        ids = torch.tensor(sorted(languages.values()), device=logits.device)
        return ids[logits[:, ids].argmax(-1)]

    # -- what is heard -------------------------------------------------------------------------------------------------

    def _merged(self, given: Any, kwargs: dict[str, Any]) -> Any:
        """A copy of the generation config with what was given over it; keywords that are its fields leave `kwargs`."""
        model: Any = self
        config = copy.deepcopy(model.generation_config)
        stated = {} if given is None else {name: value for name, value in given.to_dict().items() if value is not None}
        fields = {name: kwargs.pop(name) for name in config.to_dict() if name in kwargs}
        config.update(allow_custom_entries=True, **{**stated, **fields})
        if fields.get("max_length") is not None and fields.get("max_new_tokens") is None:
            config.max_new_tokens = None
        return config

    def _sound(self, input_features: Any, kwargs: dict[str, Any], config: Any) -> tuple[Tensor | None, Any]:
        """Features, or the encoder's output where that is given, of each text that is wanted. Raises: GenerationError, InputError"""
        model: Any = self
        inputs, states = kwargs.pop("inputs", None), kwargs.pop("encoder_outputs", None)
        if sum(each is not None for each in (input_features, inputs, states)) != 1:
            raise GenerationError("Give `input_features` or `encoder_outputs`, one of them.")
        several = int(config.num_return_sequences or 1)
        config.num_return_sequences = 1
        if states is not None:
            found = states if isinstance(states, Tensor) else states[0]
            return None, BaseModelOutput(found.repeat_interleave(several, 0)) if several > 1 or found is states else states
        features = input_features if inputs is None else inputs
        check_features(features, model.config.num_mel_bins)
        return features.repeat_interleave(several, 0), None

    def _encode(self, features: Tensor, config: Any) -> Any:
        model: Any = self
        features = F.pad(features, (0, 2 * model.config.max_source_positions - features.shape[-1]))
        shown = {name: True for name in ("output_attentions", "output_hidden_states") if getattr(config, name)}
        return model.get_encoder()(features.to(model.device), **shown, return_dict=True)

    def _logits(self, states: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of what follows, (rows, vocab_size)."""
        model: Any = self
        with torch.no_grad():
            outputs = model(
                encoder_outputs=states, decoder_input_ids=ids, decoder_attention_mask=mask, use_cache=False, return_dict=True
            )
        found: Tensor = outputs.logits[:, -1].float()
        return found

    # -- a window ------------------------------------------------------------------------------------------------------

    def _decoder_prompt(self, rows: list[Recording], starts: list[list[int]], plan: Plan) -> tuple[Tensor, Tensor | None]:
        """Each row's first tokens, LongTensor (rows, length), filled on the left, and the mask of what is not filled."""
        model: Any = self
        marker = getattr(plan.config, "prev_sot_token_id", None)
        if marker is None:  # older generation configs list it among what is suppressed
            suppressed = plan.config.suppress_tokens or []
            marker = suppressed[-2] if len(suppressed) > 1 else None
        prompt = plan.prompt
        if not any(row.follow and (row.segments or prompt) for row in rows):
            return torch.tensor([[*prompt, *start] for start in starts], device=model.device), None
        most = model.config.max_target_positions // 2 - 1
        opening = prompt if plan.prompt_always else [] if marker is None else [marker]
        earlier = [] if plan.prompt_always else prompt[1:] if prompt[:1] == [marker] else prompt
        made = []
        for row, start in zip(rows, starts, strict=True):
            tokens = list(earlier)
            for segment in row.segments:
                ids = segment.tokens.tolist()
                doubled = len(ids) > 2 and ids[-2] >= plan.timestamp_begin  # the last one is the next segment's
                tokens += ids[:-1] if doubled else ids
            made.append([*opening, *(tokens[-most:] if row.follow else []), *start])
        longest = max(map(len, made))
        filled = [[plan.config.pad_token_id] * (longest - len(each)) + each for each in made]
        mask = [[0] * (longest - len(each)) + [1] * len(each) for each in made]
        return torch.tensor(filled, device=model.device), torch.tensor(mask, device=model.device)

    def _window(self, states: Any, ids: Tensor, mask: Tensor | None, plan: Plan) -> tuple[list[Tensor | None], Any, list[bool]]:
        """What each row says in a window, None for nothing; the last output; and whether a row was drawn at a low temperature."""
        model: Any = self
        rows = list(range(ids.shape[0]))
        texts: list[Tensor | None] = [None] * len(rows)
        cool, outputs = [True] * len(rows), None
        for temperature in plan.temperatures:
            whole = len(rows) == ids.shape[0]
            part_of = states if whole else BaseModelOutput(states[0][rows])
            part, part_mask = ids[rows], None if mask is None else mask[rows]
            outputs = self._decode(part_of, part, part_mask, temperature, plan)
            sequences = outputs if isinstance(outputs, Tensor) else outputs.sequences
            silence = self._silence(part_of, part, part_mask, plan)
            again = []
            for place, row in enumerate(rows):
                tokens = without_padding(sequences[place, ids.shape[1] :], plan.config)
                repeats = unlikely = False
                if plan.compression_ratio is not None:
                    repeats = packing_ratio(tokens, model.config.vocab_size) > plan.compression_ratio
                if plan.logprob is not None:
                    unlikely = mean_logprob(outputs, place, tokens, temperature) < plan.logprob
                silent = unlikely and silence is not None and float(silence[place]) > plan.no_speech  # type: ignore[operator]
                texts[row] = None if silent else without_end(tokens, plan.config)
                cool[row] = temperature is None or temperature < _LOW_TEMPERATURE
                if (repeats or unlikely) and not silent:
                    again.append(row)
            rows = again
            if not rows:
                break
        return texts, outputs, cool

    def _decode(self, states: Any, ids: Tensor, mask: Tensor | None, temperature: float | None, plan: Plan) -> Any:
        config, keywords = copy.deepcopy(plan.config), dict(plan.keywords)
        if temperature is not None:
            config.do_sample, config.temperature = temperature > 0, float(temperature) if temperature > 0 else None
            config.num_beams = 1 if temperature > 0 else config.num_beams
        processors = list(keywords.pop("logits_processor") or ())
        if plan.timestamps:
            processors.insert(0, WhisperTimeStampLogitsProcessor(config, begin_index=ids.shape[1]))
        if mask is not None:
            keywords["decoder_attention_mask"] = mask
        room = self._room(config, ids.shape[1])
        config.max_length = config.max_new_tokens = None
        return super().generate(
            generation_config=config,
            logits_processor=processors,
            encoder_outputs=states,
            decoder_input_ids=ids,
            decoder_start_token_id=ids[:, 0].tolist(),  # a prompt may begin with another token than the start
            max_new_tokens=room,
            **keywords,
        )

    def _room(self, config: Any, prompt: int) -> int:
        """Tokens that a window may have. Raises: GenerationError for more than there are positions."""
        model: Any = self
        positions = int(model.config.max_target_positions)
        if prompt >= positions or (config.max_new_tokens or 0) + prompt > positions:
            raise GenerationError(
                f"The decoder's prompt has {prompt} tokens, `max_new_tokens` is {config.max_new_tokens}, and the decoder has {positions} "
                "positions: shorten the prompt, or ask for fewer."
            )
        if config.max_new_tokens is not None:
            return int(config.max_new_tokens)
        if config.max_length is None:
            return positions - prompt
        return min(int(config.max_length) + min(positions // 2 - 1, prompt), positions) - prompt

    def _silence(self, states: Any, ids: Tensor, mask: Tensor | None, plan: Plan) -> Tensor | None:
        """The probability that nothing is said, (rows,), where somebody asks: of its token after the start."""
        if plan.no_speech is None:
            return None
        end = int((ids[0] == plan.config.decoder_start_token_id).nonzero()[-1]) + 1
        logits = self._logits(states, ids[:, :end], None if mask is None else mask[:, :end])
        return logits.softmax(-1)[:, plan.timestamp_begin - 2]


def _either(given: Any, config: Any, name: str) -> Any:
    return getattr(config, name, None) if given is None else given


def _wants_timestamps(asked: bool | None, config: Any, frames: int, window: int) -> bool:
    """Whether timestamps are to come, which long recordings need. Raises: GenerationError"""
    asked = getattr(config, "return_timestamps", None) if asked is None else asked
    if frames > window and asked is False:
        raise GenerationError(
            f"`input_features` has {frames} frames, more than a window of {window}: that needs `return_timestamps=True`."
        )
    wanted = bool(asked) or frames > window
    if wanted and getattr(config, "no_timestamps_token_id", None) is None:
        raise GenerationError("The generation config has no `no_timestamps_token_id`, after which timestamps begin: set it.")
    return wanted
