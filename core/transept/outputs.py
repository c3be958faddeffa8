"""What models return: `ModelOutput`, and the family of outputs by task, with the peer's names and order of fields.

Shapes, wherever a field of that name occurs:

- `loss`: ();  `last_hidden_state`: (batch, seq, hidden);  `pooler_output`: (batch, hidden)
- `logits`: (batch, seq, vocab) of language models, (batch, seq, labels) of token classifiers, (batch, labels) of sequence and
  image classifiers, (batch, choices) of multiple choice, (batch, 2) of next-sentence prediction
- `start_logits`, `end_logits`: (batch, seq)
- `hidden_states`: one (batch, seq, hidden) for the embeddings and one for each layer
- `attentions`: one (batch, heads, seq, keys) for each layer;  `cross_attentions`: one (batch, heads, seq, encoder seq) for each
- `past_key_values`: a `transept.Cache`
- fields that begin with `decoder_` or `encoder_`: the same of that part

Each field is None where it was not asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self, TypeAlias

from torch import LongTensor, Tensor
from torch.utils import _pytree

from .errors import InputError

__all__ = [
    "BaseModelOutput",
    "BaseModelOutputWithCrossAttentions",
    "BaseModelOutputWithPast",
    "BaseModelOutputWithPastAndCrossAttentions",
    "BaseModelOutputWithPooling",
    "BaseModelOutputWithPoolingAndCrossAttentions",
    "CausalLMOutput",
    "CausalLMOutputWithCrossAttentions",
    "CausalLMOutputWithPast",
    "GenerateBeamDecoderOnlyOutput",
    "GenerateBeamEncoderDecoderOutput",
    "GenerateDecoderOnlyOutput",
    "GenerateEncoderDecoderOutput",
    "GenerateOutput",
    "ImageClassifierOutput",
    "MaskedLMOutput",
    "ModelOutput",
    "MultipleChoiceModelOutput",
    "NextSentencePredictorOutput",
    "QuestionAnsweringModelOutput",
    "Seq2SeqLMOutput",
    "Seq2SeqModelOutput",
    "Seq2SeqQuestionAnsweringModelOutput",
    "Seq2SeqSequenceClassifierOutput",
    "SequenceClassifierOutput",
    "SequenceClassifierOutputWithPast",
    "TokenClassifierOutput",
]


class ModelOutput(dict[str, Any]):
    """A dict whose entries are attributes too, and can be counted off like a tuple. A field that is None is no entry.

    Subclasses are dataclasses. Their constructor takes the fields, or one mapping, or one iterable of pairs: libraries rebuild
    an output as `type(output)(mapping)`. Instances are pytrees whose leaves are the entries.

    Raises:
        InputError: an entry is deleted, or one mapping too many is given; set the attribute to None to drop an entry.
        TypeError: the subclass is no dataclass.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _pytree.register_pytree_node(
            cls,
            _flatten,
            lambda values, keys: _rebuild(cls, keys, values),
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
            flatten_with_keys_fn=_flatten_with_keys,
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is not ModelOutput and not _fields(self):
            raise TypeError(f"`{type(self).__name__}` is a subclass of `ModelOutput`, so it must be a dataclass.")
        super().__init__(*args, **kwargs)
        self.__dict__.update(self)

    def __post_init__(self) -> None:
        if len(self) == 1:
            name, first = next(iter(self.items()))
            if not isinstance(first, Tensor) and name == next(iter(_fields(self))):
                self._unpack(name, first)

    def _unpack(self, name: str, first: Any) -> None:
        """Spread a mapping, or pairs, that came as the first field; leave any other value where it is."""
        items: list[Any]
        if isinstance(first, Mapping):
            items = list(first.items())
        elif isinstance(first, list | tuple | Iterator):
            items = list(first)
            if isinstance(first, Iterator):
                setattr(self, name, tuple(items))
            pairs = [isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str) for item in items]
            if not items or not pairs[0]:
                return
            if not all(pairs):
                raise InputError(
                    f"`{type(self).__name__}` got pairs mixed with `{items[pairs.index(False)]!r}`: give (name, value) only."
                )
        else:
            return
        self[name] = None
        for key, value in items:
            self[key] = value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _fields(self):
            self[name] = value
        else:
            self.__dict__[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        if value is not None:
            dict.__setitem__(self, name, value)
        elif name in self:
            dict.__delitem__(self, name)

    def __getitem__(self, key: Any) -> Any:
        return dict.__getitem__(self, key) if isinstance(key, str) else tuple(self.values())[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The entries, in order; fields that are None are left out."""
        return tuple(self.values())

    def copy(self) -> Self:
        """A shallow copy of the same class."""
        return _rebuild(type(self), self.keys(), self.values())

    __copy__ = copy

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), list(self.keys()), list(self.values())))

    __reduce_ex__ = lambda self, protocol: self.__reduce__()  # noqa: E731

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise InputError(
            f"The entries of a `{type(self).__name__}` cannot be removed or merged; assign attributes, None drops one."
        )

    __delitem__ = __delattr__ = __ior__ = pop = popitem = clear = update = setdefault = _refuse


def _fields(output: ModelOutput) -> Mapping[str, Any]:
    return getattr(output, "__dataclass_fields__", {})


def _rebuild(cls: type[Any], keys: Iterable[str], values: Iterable[Any]) -> Any:
    made: Any = dict.__new__(cls)
    for name in _fields(made):
        made.__dict__[name] = None
    for key, value in zip(keys, values, strict=True):
        made[key] = value
    return made


def _flatten(output: ModelOutput) -> tuple[list[Any], list[str]]:
    return list(output.values()), list(output.keys())


def _flatten_with_keys(output: ModelOutput) -> tuple[list[tuple[Any, Any]], list[str]]:
    return [(_pytree.MappingKey(key), value) for key, value in output.items()], list(output.keys())


Tensors: TypeAlias = tuple[Tensor, ...]

# One output inherits from another where it has the same fields and more; names that start with an underscore hold those
# that several kinds of model share.


@dataclass
class BaseModelOutput(ModelOutput):
    """Of an encoder, or of a decoder without cache."""

    last_hidden_state: Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class BaseModelOutputWithCrossAttentions(BaseModelOutput):
    """Of a decoder that looks at an encoder, without cache."""

    cross_attentions: Tensors | None = None


@dataclass
class BaseModelOutputWithPast(ModelOutput):
    """Of a decoder."""

    last_hidden_state: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class BaseModelOutputWithPastAndCrossAttentions(BaseModelOutputWithPast):
    """Of a decoder that may look at an encoder."""

    cross_attentions: Tensors | None = None


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """Of an encoder with a pooler."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """Of an encoder with a pooler that can serve as a decoder."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: Tensors | None = None
    past_key_values: Any = None
    attentions: Tensors | None = None
    cross_attentions: Tensors | None = None


@dataclass
class Seq2SeqModelOutput(ModelOutput):
    """Of an encoder and a decoder."""

    last_hidden_state: Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class _Scores(ModelOutput):
    """Of a head over one stack of layers."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


class CausalLMOutput(_Scores):
    """Of a causal language model without cache."""


class MaskedLMOutput(_Scores):
    """Of a masked language model."""


class NextSentencePredictorOutput(_Scores):
    """Of a model that says whether one text follows another."""


class SequenceClassifierOutput(_Scores):
    """Of a classifier (or regressor) of texts."""


class MultipleChoiceModelOutput(_Scores):
    """Of a model that picks one of several continuations."""


class TokenClassifierOutput(_Scores):
    """Of a classifier of tokens."""


class ImageClassifierOutput(_Scores):
    """Of a classifier of images."""


@dataclass
class _ScoresWithPast(ModelOutput):
    """Of a head over a decoder."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


class CausalLMOutputWithPast(_ScoresWithPast):
    """Of a causal language model."""


class SequenceClassifierOutputWithPast(_ScoresWithPast):
    """Of a classifier of texts over a decoder."""


@dataclass
class CausalLMOutputWithCrossAttentions(_ScoresWithPast):
    """Of a causal language model that may look at an encoder."""

    cross_attentions: Tensors | None = None


@dataclass
class _Seq2SeqScores(ModelOutput):
    """Of a head over an encoder and a decoder."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


class Seq2SeqLMOutput(_Seq2SeqScores):
    """Of a language model with encoder and decoder."""


class Seq2SeqSequenceClassifierOutput(_Seq2SeqScores):
    """Of a classifier of texts over encoder and decoder."""


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """Of a model that finds where an answer begins and ends."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class Seq2SeqQuestionAnsweringModelOutput(ModelOutput):
    """Of a model with encoder and decoder that finds where an answer begins and ends."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class GenerateDecoderOnlyOutput(ModelOutput):
    """Of `generate`: (batch * num_return_sequences, length) `sequences`; for each new token `scores` (processed) and `logits`
    (raw), (batch * num_return_sequences, vocab), and the hidden states and attentions of each forward pass."""

    sequences: LongTensor
    scores: Tensors | None = None
    logits: Tensors | None = None
    attentions: tuple[Tensors, ...] | None = None
    hidden_states: tuple[Tensors, ...] | None = None
    past_key_values: Any = None


@dataclass
class GenerateEncoderDecoderOutput(ModelOutput):
    """Of `generate` with an encoder and a decoder; the encoder's states are of the one pass over the prompt."""

    sequences: LongTensor
    scores: Tensors | None = None
    logits: Tensors | None = None
    encoder_attentions: Tensors | None = None
    encoder_hidden_states: Tensors | None = None
    decoder_attentions: tuple[Tensors, ...] | None = None
    cross_attentions: tuple[Tensors, ...] | None = None
    decoder_hidden_states: tuple[Tensors, ...] | None = None
    past_key_values: Any = None


@dataclass
class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """Of a beam search: `sequences_scores` (batch * num_return_sequences,), and `beam_indices`
    (batch * num_return_sequences, length): the beam that each token came from."""

    sequences: LongTensor
    sequences_scores: Tensor | None = None
    scores: Tensors | None = None
    logits: Tensors | None = None
    beam_indices: LongTensor | None = None
    attentions: tuple[Tensors, ...] | None = None
    hidden_states: tuple[Tensors, ...] | None = None
    past_key_values: Any = None


@dataclass
class GenerateBeamEncoderDecoderOutput(ModelOutput):
    """Of a beam search with an encoder and a decoder."""

    sequences: LongTensor
    sequences_scores: Tensor | None = None
    scores: Tensors | None = None
    logits: Tensors | None = None
    beam_indices: LongTensor | None = None
    encoder_attentions: Tensors | None = None
    encoder_hidden_states: Tensors | None = None
    decoder_attentions: tuple[Tensors, ...] | None = None
    cross_attentions: tuple[Tensors, ...] | None = None
    decoder_hidden_states: tuple[Tensors, ...] | None = None
    past_key_values: Any = None


GenerateOutput: TypeAlias = (
    GenerateDecoderOnlyOutput | GenerateEncoderDecoderOutput | GenerateBeamDecoderOnlyOutput | GenerateBeamEncoderDecoderOutput
)
