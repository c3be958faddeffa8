"""The decoding loop, and how strategies are found: those of the core through the registry, like anybody's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..discovery import load_object, registry
from ..errors import GenerationError, PluginNotFoundError
from .configuration import OF_STRATEGIES, GenerationConfig
from .session import GenerationSession

__all__ = ["find_strategy", "greedy", "run", "sample"]

# Each strategy that is a plugin, and the arguments that ask for it.
_ASKS = {
    "constrained": ("constraints", "force_words_ids"),
    "group_beam_search": ("num_beam_groups",),
    "beam_search": ("num_beams",),
    "assisted": ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp"),
    "dola": ("dola_layers",),
    "contrastive": ("penalty_alpha",),
    "watermark": ("watermarking_config",),
    "token_healing": ("token_healing",),
    "continuous_batching": ("continuous_batching_config",),
}
_BEAMS = ("constrained", "group_beam_search", "beam_search")  # the earlier ones are beam searches too


def run(session: GenerationSession, choose: Callable[[Tensor], Tensor]) -> Any:
    """Generate one token a row and step, until every row has enough; `choose` turns scores (batch, vocab) into ids (batch,)."""
    while not session.finished:
        session.append(choose(session.process(session.forward()[:, -1])))
    return session.result()


def greedy(session: GenerationSession) -> Any:
    """The likeliest token each time."""
    return run(session, lambda scores: scores.argmax(-1))


def sample(session: GenerationSession) -> Any:
    """A token drawn from the softmax of the scores each time, with `session.generator`. NaN is a `GenerationError`."""

    def draw(scores: Tensor) -> Tensor:
        try:
            return torch.multinomial(scores.softmax(-1), 1, generator=session.generator)[:, 0]
        except RuntimeError as error:
            if torch.isfinite(scores).any(-1).all() and not scores.isnan().any():
                raise
            text = "The scores leave no token to draw: they are NaN, or every token is forbidden. Loosen the filters;"
            hint = "if the model's logits are NaN, load it in another dtype or set `remove_invalid_values=True`."
            raise GenerationError(f"{text} {hint}") from error

    return run(session, draw)


def _strategy_for(config: GenerationConfig, arguments: Mapping[str, Any]) -> tuple[str, str]:
    """The strategy's key, and the flag that asks for it. Two flags for different strategies are a `GenerationError`."""
    asked = {}
    for key, names in _ASKS.items():
        for name in names:
            value = arguments.get(name, getattr(config, name, None))
            if value and not (name in ("num_beams", "num_beam_groups") and value == 1):
                shown = (
                    repr(value) if isinstance(value, int | float | str) else f"<{type(value).__name__}>"
                )  # a model's is long
                asked[key] = f"{name}={shown}"
    for key in [key for key in _BEAMS if key in asked][1:]:
        del asked[key]
    if len(asked) > 1:
        first, second = list(asked.values())[:2]
        raise GenerationError(f"`{first}` and `{second}` ask for different decoding strategies. Leave one of them out.")
    because = f"do_sample={bool(config.do_sample)}"
    key, because = next(iter(asked.items()), ("sample" if config.do_sample else "greedy", because))
    return "beam_sample" if key == "beam_search" and config.do_sample else key, because


def find_strategy(
    config: GenerationConfig, decoding: Any, own: dict[str, Any], rest: dict[str, Any], stated: dict[str, Any]
) -> Callable[[GenerationSession], Any]:
    """The strategy's function; its own arguments move from `rest` to `own`."""
    if callable(decoding):
        return decoding
    key, because = (decoding, f"decoding={decoding!r}") if decoding else _strategy_for(config, own)
    try:
        record = registry.get("decoding", key)
    except PluginNotFoundError as error:
        raise PluginNotFoundError(f"{error} (asked for by `{because}`)", **error.fields) from error
    if decoding and (idle := own.keys() - set(record.arguments)):
        raise GenerationError(f"`decoding={decoding!r}` takes no `{idle.pop()}`. Leave one of the two out.")
    if key in ("greedy", "sample", "beam_search", "beam_sample") and (
        unused := sorted(name for name in OF_STRATEGIES if stated.get(name))
    ):
        warnings.warn(f"`{unused[0]}` has no effect: no argument asks for a strategy that takes it.", UserWarning, stacklevel=4)
    own.update({name: rest.pop(name) for name in record.arguments if name in rest})
    return load_object(record.decode, owner=registry.owner("decoding", key))
