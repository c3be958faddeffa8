"""Which graphs a model becomes, and what goes into each: names, example inputs, axes of any size.

Files and names are Optimum's: `model.onnx`, or `encoder_model.onnx`, `decoder_model.onnx` and `decoder_with_past_model.onnx`;
`past_key_values.0.key` goes in, `present.0.key` comes out.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transept import DynamicCache, EncoderDecoderCache
from transept.errors import UnsupportedTaskError

__all__ = ["DECODER", "DECODER_WITH_PAST", "ENCODER", "MODEL", "Graph", "Sizes", "graphs_of", "tensors_of"]

MODEL = "model.onnx"
ENCODER, DECODER, DECODER_WITH_PAST = "encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"

Named = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """Of one set of inputs: rows, tokens, tokens in the cache, tokens that the encoder read."""

    batch: int
    length: int
    past: int = 0
    source: int = 0

    def __str__(self) -> str:
        parts = [f"batch {self.batch}", f"length {self.length}"]
        parts += [f"{name} {size}" for name, size in (("past", self.past), ("source", self.source)) if size]
        return ", ".join(parts)


class Graph(nn.Module):
    """What becomes one file: a module from named tensors to named tensors.

    Args:
        model: the model, in evaluation mode.
    """

    file: str = MODEL
    cached: bool = False
    """Keys and values of tokens before these go in."""
    reads_source: bool = False
    """An encoder's states, or keys and values made of them, go in."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.takes = inspect.signature(model.forward).parameters

    def inputs(self, sizes: Sizes, seed: int = 0) -> Named:
        """Inputs of these sizes, the same for the same seed; one row of a batch has padding."""
        raise NotImplementedError

    def axes(self) -> dict[str, dict[int, str]]:
        """Of each input, the axes that may be of any size, and what they are called."""
        raise NotImplementedError

    def forward(self, inputs: Named) -> Named:
        raise NotImplementedError

    # -- what several have in common ---------------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def text_config(self) -> Any:
        return self.config.get_text_config(decoder=True) if hasattr(self.config, "get_text_config") else self.config

    def longest(self) -> int | None:
        """The most tokens that its positions serve; None: any number."""
        names = ("max_target_positions", "max_position_embeddings", "n_positions")
        return next((size for name in names if (size := getattr(self.text_config, name, None)) is not None), None)

    def ids(self, batch: int, length: int, seed: int) -> Tensor:
        """LongTensor (batch, length) of ordinary tokens."""
        special = {getattr(self.config, f"{name}_token_id", None) for name in ("pad", "bos", "eos", "decoder_start")}
        flat = {token for each in special if each is not None for token in (each if isinstance(each, list) else [each])}
        vocabulary = self.text_config.vocab_size
        ordinary = torch.tensor([token for token in range(min(vocabulary, 4096)) if token not in flat])
        generator = torch.Generator().manual_seed(seed)
        return ordinary[torch.randint(len(ordinary), (batch, length), generator=generator)]

    def mask(self, batch: int, length: int, *, left: bool) -> Tensor:
        """LongTensor (batch, length) of ones; the last of several rows has a third of zeros."""
        mask = torch.ones(batch, length, dtype=torch.long)
        if batch > 1 and length > 2:
            padded = length // 3
            mask[-1, :padded] = 0 if left else 1
            mask[-1, length - padded :] = 1 if left else 0
        return mask

    def source_input(self, sizes: Sizes, seed: int) -> Named:
        """What a model, or its encoder, reads that is no token: images, spectrograms."""
        name = self.model.main_input_name
        generator = torch.Generator().manual_seed(seed)
        config = self.config
        if name == "pixel_values":
            size = config.image_size
            height, width = (size, size) if isinstance(size, int) else size
            shape = (sizes.batch, config.num_channels, height, width)
        elif name == "input_features":
            shape = (sizes.batch, config.num_mel_bins, 2 * config.max_source_positions)
        else:
            raise UnsupportedTaskError(f"`{type(self.model).__name__}` reads `{name}`, which the ONNX exporter cannot make.")
        return {name: torch.randn(shape, generator=generator)}


class WholeModel(Graph):
    """One pass without a cache: encoders, with or without a head, and decoders where no cache is wanted."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.reads_text = model.main_input_name == "input_ids"
        self.several = type(model).__name__.endswith("ForMultipleChoice")
        """Inputs are (batch, choices, length)."""
        self.is_decoder = "past_key_values" in self.takes and not self.config.is_encoder_decoder
        self.options: dict[str, Any] = {"use_cache": False} if "use_cache" in self.takes else {}

    def inputs(self, sizes: Sizes, seed: int = 0) -> Named:
        if not self.reads_text:
            found = self.source_input(sizes, seed)
            if "decoder_input_ids" in self.takes:
                found["decoder_input_ids"] = self.ids(sizes.batch, sizes.length, seed)
            return found
        rows, length = sizes.batch * (2 if self.several else 1), sizes.length
        ids = self.ids(rows, length, seed)
        mask = self.mask(rows, length, left=self.is_decoder)
        if self.is_decoder and self.config.pad_token_id is not None:
            ids = ids.masked_fill(mask == 0, self.config.pad_token_id)  # a classifier looks for the last token before it
        if self.config.is_encoder_decoder and self.config.eos_token_id is not None:
            # heads read the state at each row's last end of sequence
            end = self.config.eos_token_id
            ids.scatter_(1, mask.sum(-1, keepdim=True) - 1, end[0] if isinstance(end, list) else end)
        found = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self.takes and (getattr(self.config, "type_vocab_size", None) or 0) > 1:
            found["token_type_ids"] = (torch.arange(length) > length // 2).long().expand(rows, -1).contiguous()
        if "decoder_input_ids" in self.takes and not self._makes_its_own():
            found["decoder_input_ids"] = self.ids(sizes.batch, max(length - 2, 1), seed + 1)
        if self.several:
            found = {name: value.view(sizes.batch, 2, length) for name, value in found.items()}
        return found

    def _makes_its_own(self) -> bool:
        """The decoder's input is the encoder's, shifted."""
        return type(self.model).__name__.endswith(
            ("ForSequenceClassification", "ForQuestionAnswering", "ForTokenClassification")
        )

    def axes(self) -> dict[str, dict[int, str]]:
        length = 2 if self.several else 1
        found: dict[str, dict[int, str]] = {}
        for name in self.inputs(Sizes(2, 4)):
            if name in ("pixel_values", "input_features"):
                found[name] = {0: "batch_size"}
            elif name == "decoder_input_ids":
                found[name] = {0: "batch_size", 1: "decoder_sequence_length"}
            else:
                found[name] = {0: "batch_size", length: "sequence_length"} | ({1: "num_choices"} if self.several else {})
        return found

    def forward(self, inputs: Named) -> Named:
        return tensors_of(self.model(**inputs, **self.options, return_dict=True))


class CausalStep(Graph):
    """A decoder with a cache: tokens, and keys and values of those before them, of which there may be none."""

    cached = True

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.takes_positions = "position_ids" in self.takes and not model.counts_positions

    def inputs(self, sizes: Sizes, seed: int = 0) -> Named:
        batch, length, total = sizes.batch, sizes.length, sizes.past + sizes.length
        mask = self.mask(batch, total, left=True)
        found = {"input_ids": self.ids(batch, length, seed), "attention_mask": mask}
        if self.takes_positions:
            found["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, sizes.past :]
        return found | self.past(sizes, seed)

    def past(self, sizes: Sizes, seed: int) -> Named:
        """Keys and values as the model has them for `sizes.past` tokens."""
        ids = self.ids(sizes.batch, max(sizes.past, 1), seed + 1)
        # a cache made without the configuration keeps every key, also of layers that slide: their mask hides what is too far
        with torch.no_grad():
            cache = self.model(ids, past_key_values=DynamicCache(), use_cache=True).past_key_values
        pairs = [tuple(part[:, :, : sizes.past] for part in cache[layer]) for layer in range(len(cache))]
        return {f"past_key_values.{layer}.{name}": part for layer, name, part in _named(pairs)}

    def axes(self) -> dict[str, dict[int, str]]:
        found = {"input_ids": {0: "batch_size", 1: "sequence_length"}}
        found["attention_mask"] = {0: "batch_size", 1: "past_sequence_length+sequence_length"}
        if self.takes_positions:
            found["position_ids"] = {0: "batch_size", 1: "sequence_length"}
        for name in self.past(Sizes(1, 1, 1), 0):
            found[name] = {0: "batch_size", 2: "past_sequence_length"}
        return found

    def forward(self, inputs: Named) -> Named:
        tokens = {name: value for name, value in inputs.items() if not name.startswith("past_key_values.")}
        cache = DynamicCache.from_legacy_cache(_pairs(inputs, "past_key_values"))
        output = self.model(**tokens, past_key_values=cache, use_cache=True, return_dict=True)
        made = output.past_key_values
        presents = {
            f"present.{layer}.{name}": part for layer, name, part in _named([made[layer] for layer in range(len(made))])
        }
        return {"logits": output.logits, **presents}


class Encoder(Graph):
    """The encoder of an encoder–decoder."""

    file = ENCODER

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.reads_text = model.main_input_name == "input_ids"

    def inputs(self, sizes: Sizes, seed: int = 0) -> Named:
        if not self.reads_text:
            return self.source_input(sizes, seed)
        ids, mask = self.ids(sizes.batch, sizes.length, seed), self.mask(sizes.batch, sizes.length, left=False)
        return {"input_ids": ids, "attention_mask": mask}

    def axes(self) -> dict[str, dict[int, str]]:
        if not self.reads_text:
            return {self.model.main_input_name: {0: "batch_size"}}
        return {name: {0: "batch_size", 1: "encoder_sequence_length"} for name in ("input_ids", "attention_mask")}

    def forward(self, inputs: Named) -> Named:
        return {"last_hidden_state": self.model.get_encoder()(**inputs, return_dict=True).last_hidden_state}


class Decoder(Graph):
    """The decoder's first pass: it makes the keys and values of the encoder's states as well."""

    file = DECODER
    reads_source = True

    def __init__(self, model: Any, *, keeps: bool = True) -> None:
        super().__init__(model)
        self.keeps = keeps
        """Keys and values come out."""
        self.reads_mask = model.main_input_name == "input_ids"

    def _source(self, sizes: Sizes, seed: int) -> Named:
        encoder = Encoder(self.model)
        found = encoder.inputs(Sizes(sizes.batch, sizes.source), seed)
        with torch.no_grad():
            states = encoder(found)["last_hidden_state"]
        mask = {"encoder_attention_mask": found["attention_mask"]} if self.reads_mask else {}
        return {**mask, "encoder_hidden_states": states}

    def inputs(self, sizes: Sizes, seed: int = 0) -> Named:
        source = self._source(sizes, seed)
        states = source.pop("encoder_hidden_states")
        return {**source, "input_ids": self.ids(sizes.batch, sizes.length, seed + 1), "encoder_hidden_states": states}

    def axes(self) -> dict[str, dict[int, str]]:
        # the length of spectrograms is fixed, and so is that of their states
        source = {0: "batch_size", 1: "encoder_sequence_length"} if self.reads_mask else {0: "batch_size"}
        mask = {"encoder_attention_mask": source} if self.reads_mask else {}
        return {**mask, "input_ids": {0: "batch_size", 1: "decoder_sequence_length"}, "encoder_hidden_states": source}

    def run(self, inputs: Named, states: Tensor, cache: Any) -> tuple[Tensor, Any]:
        arguments: dict[str, Any] = {"decoder_input_ids": inputs["input_ids"], "encoder_outputs": (states,)}
        if self.reads_mask:
            arguments["attention_mask"] = inputs["encoder_attention_mask"]
        output = self.model(**arguments, past_key_values=cache, use_cache=cache is not None, return_dict=True)
        return output.logits, output.past_key_values

    def forward(self, inputs: Named) -> Named:
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache()) if self.keeps else None
        logits, made = self.run(inputs, inputs["encoder_hidden_states"], cache)
        if not self.keeps:
            return {"logits": logits}
        return {"logits": logits, **_presents(made, own=True, cross=True)}


class DecoderWithPast(Decoder):
    """The decoder's later passes: keys and values of its own tokens grow, those of the encoder's states stay as they are."""

    file = DECODER_WITH_PAST
    cached = True

    def inputs(self, sizes: Sizes, seed: int = 0) -> Named:
        source = self._source(sizes, seed)
        states = source.pop("encoder_hidden_states")
        before = {**source, "input_ids": self.ids(sizes.batch, max(sizes.past, 1), seed + 2)}
        with torch.no_grad():
            _, made = self.run(before, states, EncoderDecoderCache(DynamicCache(), DynamicCache()))
        past = {
            name.replace("present", "past_key_values"): part for name, part in _presents(made, own=True, cross=True).items()
        }
        return {**source, "input_ids": self.ids(sizes.batch, sizes.length, seed + 1), **past}

    def axes(self) -> dict[str, dict[int, str]]:
        found = super().axes()
        found.pop("encoder_hidden_states")
        for name in self.inputs(Sizes(1, 1, 1, 2)):
            if ".decoder." in name:
                found[name] = {0: "batch_size", 2: "past_decoder_sequence_length"}
            elif ".encoder." in name:
                found[name] = {0: "batch_size", 2: "encoder_sequence_length"} if self.reads_mask else {0: "batch_size"}
        return found

    def forward(self, inputs: Named) -> Named:
        own = DynamicCache.from_legacy_cache(_pairs(inputs, "past_key_values", "decoder."))
        cross = DynamicCache.from_legacy_cache(_pairs(inputs, "past_key_values", "encoder."))
        keys = inputs["past_key_values.0.encoder.key"]
        # the states' size is asked for, and they themselves are not: their keys and values are there
        states = keys.new_zeros(keys.shape[0], keys.shape[2], self.config.hidden_size)
        cache = EncoderDecoderCache(own, cross)
        cache.is_updated = dict.fromkeys(range(len(cross)), True)
        logits, made = self.run(inputs, states, cache)
        return {"logits": logits, **_presents(made, own=True, cross=False)}


def graphs_of(model: Any, *, cache: bool | None = None) -> list[Graph]:
    """The graphs of a model that make up one export.

    Args:
        cache: with keys and values of a decoder's tokens; None: where the model generates.

    Raises:
        UnsupportedTaskError: a cache is asked for, and the model does not generate.
    """
    generates = model.can_generate()
    if cache and not generates:
        raise UnsupportedTaskError(
            f"`{type(model).__name__}` does not generate, so its graph has no cache: leave `cache` out, or export the class with a "
            "language-model head."
        )
    if not generates:
        return [WholeModel(model)]
    wanted = True if cache is None else cache
    if not model.config.is_encoder_decoder:
        return [CausalStep(model)] if wanted else [WholeModel(model)]
    if not wanted:
        return [Encoder(model), Decoder(model, keeps=False)]
    return [Encoder(model), Decoder(model), DecoderWithPast(model)]


def tensors_of(output: Mapping[str, Any]) -> Named:
    """The fields of an output that are tensors."""
    return {name: value for name, value in output.items() if isinstance(value, Tensor)}


@contextmanager
def as_exported(model: Any) -> Iterator[None]:
    """Evaluation mode, and attention by whichever kernel a graph can hold; afterwards everything is as it was."""
    training, kernel = model.training, model.config.attn_implementation
    model.eval()
    if kernel not in (None, "auto", "eager", "sdpa"):
        model.set_attention("auto")
    try:
        yield
    finally:
        model.train(training)
        if model.config.attn_implementation != kernel:
            model.set_attention(kernel)


def _pairs(inputs: Named, prefix: str, part: str = "") -> list[tuple[Tensor, Tensor]]:
    layers = sum(1 for name in inputs if name.startswith(f"{prefix}.") and name.endswith(f".{part}key"))
    pairs = [(inputs[f"{prefix}.{n}.{part}key"], inputs[f"{prefix}.{n}.{part}value"]) for n in range(layers)]
    for tensor in (each for pair in pairs for each in pair):
        # a tracer takes each tensor's length for one of its own, until it is told
        torch._check(tensor.shape[2] == pairs[0][0].shape[2])
    return pairs


def _named(pairs: Any) -> Iterator[tuple[int, str, Any]]:
    for layer, (key, value) in enumerate(pairs):
        yield layer, "key", key
        yield layer, "value", value


def _presents(cache: Any, *, own: bool, cross: bool) -> Named:
    found: Named = {}
    for layer in range(len(cache)):
        key, value, cross_key, cross_value = cache[layer]
        if own:
            found |= {f"present.{layer}.decoder.key": key, f"present.{layer}.decoder.value": value}
        if cross:
            found |= {f"present.{layer}.encoder.key": cross_key, f"present.{layer}.encoder.value": cross_value}
    return found
