"""`text-generation`: a text or a chat goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from transept.errors import InputError

from .generation import GeneratingPipeline
from .inputs import Inputs, is_chat, sort_inputs

__all__ = ["TextGenerationPipeline"]


class TextGenerationPipeline(GeneratingPipeline):
    """Continue texts, or answer chats (lists of `{"role": …, "content": …}`), with a causal language model.

    Without other words it samples (temperature 0.7) up to 256 tokens, as the peer does: pass `do_sample=False` for the
    likeliest text. Takes the arguments of `generate` (`max_new_tokens`, `streamer`, `num_return_sequences`, …) and:

    - `return_full_text`: the prompt is part of the text (of a chat: the messages). Default True.
    - `return_tensors`: `generated_token_ids` in place of text.
    - `skip_special_tokens`, `clean_up_tokenization_spaces`: as for `tokenizer.decode`; the first is True by default.
    - `prefix`: put before each text.
    - `stop_sequence`: a text, or several, at which to stop.
    - `continue_final_message`: go on with a chat's last message; by default where that is the assistant's.
    - `tools`, `documents`: for the chat template. `add_special_tokens`, `truncation`, `tokenizer_encode_kwargs`: for the
      tokenizer, the last with any of its arguments.
    - `handle_long_generation="hole"`: drop the beginning of a prompt that leaves too little room.

    Returns:
        For one prompt a list with a dict `{"generated_text": …}` for each returned sequence; for several a list of those.
    """

    represents_head: ClassVar[bool] = True
    padding_side: ClassVar[str | None] = "left"
    default_generation: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def sort_inputs(self, inputs: Any) -> Inputs:
        return sort_inputs(inputs, is_chat)

    def preprocess(
        self,
        item: Any,
        *,
        prefix: str = "",
        continue_final_message: bool | None = None,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_special_tokens: bool | None = None,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        handle_long_generation: str | None = None,
        max_new_tokens: int | None = None,
        tokenizer_encode_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        options: dict[str, Any] = {"add_special_tokens": add_special_tokens, "truncation": truncation}
        options["max_length"] = max_length if truncation else None
        options = {name: value for name, value in options.items() if value is not None} | dict(tokenizer_encode_kwargs or {})
        if is_chat(item):
            options.pop("add_special_tokens", None)
            goes_on = _goes_on(item, continue_final_message)
            encoded = self.tokenizer.apply_chat_template(
                list(item),
                tools=tools,
                documents=documents,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
                return_dict=True,
                return_tensors="pt",
                **options,
            )
        elif tools is not None or documents is not None:
            raise InputError("`tools` and `documents` are for chats, and the input is a text: give a list of messages.")
        else:
            if handle_long_generation is not None:
                options.setdefault("verbose", False)  # that the prompt is too long is expected
            encoded = self.tokenizer(prefix + self.check_text(item), return_tensors="pt", **options)
        ids = encoded["input_ids"]
        mask = encoded.get("attention_mask", torch.ones_like(ids))
        if handle_long_generation is not None:
            keep = self._room(handle_long_generation, ids.shape[1], max_new_tokens, max_length)
            ids, mask = ids[:, -keep:], mask[:, -keep:]
        if ids.shape[1] == 0:
            if self.tokenizer.bos_token_id is None:
                raise InputError("The prompt is empty, and the tokenizer has no `bos_token` to start from: give a prompt.")
            ids = torch.tensor([[self.tokenizer.bos_token_id]])
            mask = torch.ones_like(ids)
        return {"input_ids": ids, "attention_mask": mask, "prompt": item}

    def _room(self, handling: str, length: int, new: int | None, total: int | None) -> int:
        """How many of the prompt's tokens are kept so that the new ones fit."""
        if handling != "hole":
            raise InputError(f"`handle_long_generation={handling!r}` is not known: 'hole', or None.")
        given = {"max_new_tokens": new, "max_length": total}
        _, stated = self._arguments({name: value for name, value in given.items() if value is not None})
        new = stated.get("max_new_tokens")
        new = int(stated["max_length"]) - length if new is None else new
        longest = min(
            self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", None) or length + new
        )
        if longest <= new:
            raise InputError(f"{new} new tokens leave no room for a prompt in the model's {longest}: ask for fewer.")
        return min(length, longest - new)

    def _forward(
        self,
        inputs: dict[str, Any],
        *,
        stop_sequence: str | Sequence[str] | None = None,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        stops = [stop_sequence] if isinstance(stop_sequence, str) else stop_sequence
        named = {"stop_strings": stops, "max_length": max_length, "max_new_tokens": max_new_tokens}
        arguments |= {name: value for name, value in named.items() if value is not None}
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        found = self.generate({"input_ids": ids, "attention_mask": mask}, arguments)
        return {**found, "input_ids": ids, "attention_mask": mask, "prompt": inputs["prompt"]}

    def postprocess(
        self,
        outputs: dict[str, Any],
        *,
        return_full_text: bool = True,
        return_tensors: bool = False,
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
        continue_final_message: bool | None = None,
    ) -> list[dict[str, Any]]:
        length, prompt = outputs["input_ids"].shape[1], outputs["prompt"]
        start = length - int(outputs["attention_mask"].sum())
        results = []
        for place, (sequence, end) in enumerate(
            zip(outputs["sequences"][0].tolist(), outputs["ends"][0].tolist(), strict=True)
        ):
            if return_tensors:
                result: dict[str, Any] = {"generated_token_ids": sequence[start:end]}
            else:
                text = self.tokenizer.decode(
                    sequence[length:end],
                    skip_special_tokens=skip_special_tokens,
                    clean_up_tokenization_spaces=clean_up_tokenization_spaces,
                )
                result = {"generated_text": _joined(prompt, text, continue_final_message) if return_full_text else text}
            results.append(result | self.extra_results(outputs, place))
        return results


def _goes_on(chat: Sequence[Mapping[str, Any]], asked: bool | None) -> bool:
    return chat[-1]["role"] == "assistant" if asked is None else asked


def _joined(prompt: Any, text: str, continue_final_message: bool | None) -> Any:
    """The prompt with what was generated: one text, or the chat with a message more, or with its last message longer."""
    if isinstance(prompt, str):
        return prompt + text
    if _goes_on(prompt, continue_final_message):
        last = prompt[-1]
        return [*prompt[:-1], {**last, "content": last["content"] + text}]
    return [*prompt, {"role": "assistant", "content": text}]
