"""Conversations to token ids, by a checkpoint's chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transept.errors import ChatTemplateError, shorten
from transept_tokenizers.tokenization import BatchEncoding, PreTrainedTokenizerBase

from .chat_template import RenderedChat, render_chat

__all__ = ["ChatTemplates"]

Tool = Mapping[str, Any] | Callable[..., Any]
"""A tool as a JSON schema, or as a function with type hints and a docstring."""


class ChatTemplates(PreTrainedTokenizerBase):
    """The part of a tokenizer that knows its chat templates."""

    def get_chat_template(self, chat_template: str | None = None, tools: Sequence[Tool] | None = None) -> str:
        """The template to use: the one given (by text or by name), else `tool_use` where there are tools, else the default."""
        own = self.chat_template
        if not isinstance(own, dict):
            chosen = chat_template if chat_template is not None else own
            if chosen is None:
                raise ChatTemplateError(
                    "This tokenizer has no chat template, so it is probably not made for conversations. Pass "
                    "`chat_template=` or set `tokenizer.chat_template` to a Jinja template."
                )
            return chosen
        if chat_template is not None:
            return own.get(chat_template, chat_template)
        for name in ("tool_use", "default") if tools is not None else ("default",):
            if name in own:
                return own[name]
        raise ChatTemplateError(
            f"This tokenizer has several chat templates and no default: pass `chat_template=` with one of {shorten(own)}."
        )

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        tools: Sequence[Tool] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        sanitize_control_tokens: bool = False,
        **template_variables: Any,
    ) -> Any:
        """Render a conversation (or a list of them) with the chat template, and encode it.

        `conversation`: messages `{"role": …, "content": …}`. `continue_final_message` leaves the last message open, so that
        the model goes on with it; as a string it names the message's field. With `tokenize` a `BatchEncoding` comes back
        (with `return_dict=False` its `input_ids`), else the text. `return_assistant_tokens_mask` adds `assistant_masks`: 1
        for tokens inside the template's `{% generation %}` blocks. Other keywords are variables for the template.

        Raises:
            ChatTemplateError: no template, one that fails or goes beyond its limits, or messages that it refuses.
        """
        if sanitize_control_tokens:
            raise ChatTemplateError(
                "`sanitize_control_tokens` is not supported. `split_special_tokens=True` in `tokenizer_kwargs` encodes "
                "every special token in the text, the template's own too, as plain text."
            )
        if return_assistant_tokens_mask and not (tokenize and return_dict):
            raise ChatTemplateError("`return_assistant_tokens_mask=True` needs `tokenize=True` and `return_dict=True`.")
        if continue_final_message and (add_generation_prompt or return_assistant_tokens_mask):
            other = "add_generation_prompt" if add_generation_prompt else "return_assistant_tokens_mask"
            raise ChatTemplateError(
                f"`continue_final_message` and `{other}` exclude each other: the first leaves the last message open, the "
                "second counts on its end."
            )
        if not isinstance(conversation, (list, tuple)) or not conversation:
            raise ChatTemplateError("`conversation` must be a list of at least one message, or a list of such lists.")
        is_batch = isinstance(conversation[0], (list, tuple)) or hasattr(conversation[0], "messages")
        template = self.get_chat_template(chat_template, tools)
        rendered = [
            render_chat(
                getattr(chat, "messages", chat),
                template=template,
                tools=tools,
                documents=documents,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                track_assistant=return_assistant_tokens_mask,
                variables=template_variables,
                special_tokens=self.special_tokens_map,
            )
            for chat in (conversation if is_batch else [conversation])
        ]
        texts = [chat.text for chat in rendered]
        if not tokenize:
            return texts if is_batch else texts[0]
        options = {"add_special_tokens": False, "padding": padding, "truncation": truncation, **(tokenizer_kwargs or {})}
        encoded = self(texts if is_batch else texts[0], max_length=max_length, return_tensors=return_tensors, **options)
        if return_assistant_tokens_mask:
            rows = [_assistant_mask(encoded, row, chat) for row, chat in enumerate(rendered)]
            encoded["assistant_masks"] = rows if is_batch or return_tensors else rows[0]
            encoded.convert_to_tensors(return_tensors)
        return encoded if return_dict else encoded["input_ids"]


def _assistant_mask(encoded: BatchEncoding, row: int, chat: RenderedChat) -> list[int]:
    mask = [0] * len(encoded.tokens(row))
    for start, end in chat.assistant_spans:
        first = _token_at(encoded, row, range(start, end))
        last = _token_at(encoded, row, range(end - 1, start - 1, -1))
        if first is not None and last is not None:  # else the text was cut off before
            mask[first : last + 1] = [1] * (last + 1 - first)
    return mask


def _token_at(encoded: BatchEncoding, row: int, characters: range) -> int | None:
    """The token of the first character that has one: spaces that a tokenizer trims have none."""
    return next((token for each in characters if (token := encoded.char_to_token(row, each)) is not None), None)
