"""`text2text-generation`, `summarization`, `translation`: a text out of a text, by an encoder–decoder."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from transept.errors import InputError, did_you_mean, shorten

from .generation import GeneratingPipeline

__all__ = ["SummarizationPipeline", "Text2TextGenerationPipeline", "TranslationPipeline"]


class Text2TextGenerationPipeline(GeneratingPipeline):
    """A text out of a text.

    Without other words it takes the likeliest token each time, up to 256; a checkpoint's `task_specific_params` for the task
    come before that. Takes the arguments of `generate` and:

    - `prefix`: put before each text, in place of the one that the checkpoint has for the task.
    - `truncation`: cut texts that are longer than the model takes.
    - `return_tensors`: token ids in place of text. `clean_up_tokenization_spaces`: as for `tokenizer.decode`.

    Returns:
        For one text a list with a dict `{"generated_text": …}` for each returned sequence. For several, a list of such dicts
        where one sequence is returned for each, else a list of lists.
    """

    represents_head: ClassVar[bool] = True
    result_name: ClassVar[str] = "generated"

    def __call__(self, inputs: Any, **arguments: Any) -> Any:
        found = super().__call__(inputs, **arguments)
        if isinstance(inputs, list | tuple) and all(len(result) == 1 for result in found):
            return [result[0] for result in found]
        return found

    def preprocess(
        self, item: Any, *, prefix: str | None = None, truncation: bool | str | None = None, max_input_length: int | None = None
    ) -> dict[str, Any]:
        text = self.check_text(item)
        return self._encoded((self._prefix() if prefix is None else prefix) + text, truncation, max_input_length)

    def _prefix(self) -> str:
        return self.task_specific(self.task).get("prefix") or self._config_value("prefix") or ""

    def _encoded(self, text: str, truncation: bool | str | None, max_input_length: int | None) -> dict[str, Any]:
        encoded = self.tokenizer(text, truncation=truncation, max_length=max_input_length, return_tensors="pt")
        self.check_not_empty(encoded, text)
        return {name: encoded[name] for name in ("input_ids", "attention_mask") if name in encoded}

    def _forward(self, inputs: dict[str, Any], **arguments: Any) -> dict[str, Any]:
        return self.generate(inputs, arguments, self.task)

    def postprocess(
        self,
        outputs: dict[str, Any],
        *,
        return_tensors: bool = False,
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[dict[str, Any]]:
        results = []
        for place, (sequence, end) in enumerate(
            zip(outputs["sequences"][0].tolist(), outputs["ends"][0].tolist(), strict=True)
        ):
            ids = sequence[:end]
            if return_tensors:
                result: dict[str, Any] = {f"{self.result_name}_token_ids": ids}
            else:
                text = self.tokenizer.decode(
                    ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=clean_up_tokenization_spaces
                )
                result = {f"{self.result_name}_text": text}
            results.append(result | self.extra_results(outputs, place))
        return results


class SummarizationPipeline(Text2TextGenerationPipeline):
    """Shorten texts; results are `{"summary_text": …}`. Otherwise as `Text2TextGenerationPipeline`."""

    represents_head: ClassVar[bool] = False
    result_name: ClassVar[str] = "summary"


class TranslationPipeline(Text2TextGenerationPipeline):
    """Translate texts; results are `{"translation_text": …}`. Otherwise as `Text2TextGenerationPipeline`.

    The languages are named by the task (`translation_en_to_de`) or by `src_lang` and `tgt_lang`. They choose the prefix and
    the settings that the checkpoint's `task_specific_params` has for that pair; a tokenizer with language codes of its own
    (`_build_translation_inputs`, as the peer's multilingual ones have) gets them.

    Raises:
        InputError: languages that the checkpoint does not name.
    """

    represents_head: ClassVar[bool] = False
    result_name: ClassVar[str] = "translation"

    def preprocess(
        self,
        item: Any,
        *,
        prefix: str | None = None,
        truncation: bool | str | None = None,
        max_input_length: int | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
    ) -> dict[str, Any]:
        text = self.check_text(item)
        pair = self._languages(src_lang, tgt_lang)
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is not None and pair is not None:
            options = {"truncation": truncation, "max_length": max_input_length, "return_tensors": "pt"}
            options = {name: value for name, value in options.items() if value is not None}
            return dict(build(text, src_lang=pair[0], tgt_lang=pair[1], **options))
        if prefix is None:
            prefix = (
                self._prefix() if pair is None else self._prefix_for(pair, named=src_lang is not None or tgt_lang is not None)
            )
        return self._encoded(prefix + text, truncation, max_input_length)

    def _forward(
        self, inputs: dict[str, Any], *, src_lang: str | None = None, tgt_lang: str | None = None, **arguments: Any
    ) -> dict[str, Any]:
        forced = inputs.pop("forced_bos_token_id", None)  # the target language's code, for each text of the batch
        if forced is not None:
            arguments.setdefault("forced_bos_token_id", forced[0] if isinstance(forced, list) else forced)
        pair = self._languages(src_lang, tgt_lang)
        return self.generate(inputs, arguments, self.task if pair is None else _task_of(pair))

    def _languages(self, src_lang: str | None, tgt_lang: str | None) -> tuple[str, str] | None:
        """The languages in force: those that are given, else the task's."""
        named = _PAIR.fullmatch(self.task)
        source = src_lang if src_lang is not None else named and named[1]
        target = tgt_lang if tgt_lang is not None else named and named[2]
        if source is None and target is None:
            return None
        if source is None or target is None:
            raise InputError("One language alone says no direction: give both `src_lang` and `tgt_lang`.")
        return source, target

    def _prefix_for(self, pair: tuple[str, str], *, named: bool) -> str:
        """The prefix for a pair; that the task names a pair is enough for a checkpoint that knows one and says nothing of it."""
        task, of_tasks = _task_of(pair), self._config_value("task_specific_params") or {}
        pairs = [name for name in of_tasks if _PAIR.fullmatch(name)]
        if task in of_tasks or not (pairs or named):
            return self.task_specific(task).get("prefix") or self._config_value("prefix") or ""
        has = f"it has {shorten(pairs)}" if pairs else "it names no languages, so leave them out if it is made for this pair"
        raise InputError(f"The checkpoint's `task_specific_params` has no `{task}`: {has}.{did_you_mean(task, pairs)}")


_PAIR = re.compile(r"translation_(\w+?)_to_(\w+)")


def _task_of(pair: tuple[str, str]) -> str:
    return f"translation_{pair[0]}_to_{pair[1]}"
