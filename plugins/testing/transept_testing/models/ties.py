"""Tied weights and the vocabulary's size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ..comparing import assert_to_scale
from .suite import Case, ModelSuite

__all__ = ["TieChecks"]


class TieChecks(ModelSuite, standard=True):
    """One tensor in memory, one on disk, whatever happens to the model."""

    def test_tied_weights_are_one_tensor_and_others_are_not(self, case: Case, tmp_path: Path) -> None:
        model = self.model(case)
        ties = model.tied_weights
        for other in (model, self.reload(model, tmp_path)):
            first: dict[int, str] = {}
            for name, parameter in other.named_parameters(remove_duplicate=False):
                source = first.setdefault(id(parameter), name)
                tied = source == name or name in ties or source in ties
                assert tied, f"`{name}` is `{source}` itself, and `tied_weights` does not say so: declare `_tied_weights_keys`"
            for target, source in ties.items():
                assert other.get_parameter(target) is other.get_parameter(source), f"`{target}` is not `{source}` itself"
        stored = [name for file in tmp_path.glob("*.safetensors") for name in safe_open(file, "pt").keys()]  # noqa: SIM118
        expected = sum(1 for _ in model.parameters()) + len(
            set(model.state_dict()) & {name for name, _ in model.named_buffers()}
        )
        assert len(stored) == expected, f"{len(stored)} tensors are saved of {expected}: {sorted(stored)}"

    @torch.no_grad()
    def test_the_vocabulary_grows_and_shrinks(self, text_case: Case, tmp_path: Path) -> None:
        case = text_case
        if not self.supports_resizing:
            pytest.skip("`supports_resizing` is False")
        model, inputs = self.model(case), self.inputs(case)
        expected = model(**inputs)
        size = model.config.vocab_size
        embedding = model.resize_token_embeddings(size + 7)
        assert embedding.weight.shape[0] == model.config.vocab_size == size + 7
        assert model.get_input_embeddings().weight.shape[0] == size + 7
        for target, source in model.tied_weights.items():
            assert model.get_parameter(target) is model.get_parameter(source), f"`{target}` is tied no more"
        _assert_old_tokens_keep(model(**inputs), expected, size, "after growing")
        loaded = self.reload(model, tmp_path)
        _assert_old_tokens_keep(loaded(**inputs), expected, size, "after growing, saving and loading")
        model.resize_token_embeddings(size)
        _assert_old_tokens_keep(model(**inputs), expected, size, "after shrinking again")

    def test_embeddings_are_found_and_replaced(self, text_head: Case) -> None:
        model = self.model(text_head)
        old = model.get_input_embeddings()
        assert old.weight.shape[0] == model.config.vocab_size
        new = torch.nn.Embedding(*old.weight.shape)
        model.set_input_embeddings(new)
        assert model.get_input_embeddings() is new

    def test_the_base_model_is_found(self, task_head: Case) -> None:
        model = self.model(task_head)
        prefix = type(model).base_model_prefix
        # a head whose parameters have the base's own names holds its parts itself, as encoder–decoders do
        alike = not self._names(task_head).isdisjoint(self._names(Case("base")))
        if prefix and not alike:
            assert model.base_model is not model, f"`{type(model).__name__}` holds no base model under `{prefix}`"

    def _names(self, case: Case) -> set[str]:
        return {name for name, _ in self.model(case).named_parameters()}


def _assert_old_tokens_keep(found: object, expected: object, size: int, what: str) -> None:
    for name, old in expected.items():  # type: ignore[attr-defined]
        if isinstance(old, torch.Tensor):
            new = found[name]  # type: ignore[index]
            new = new[..., :size] if new.shape[-1] == size + 7 else new
            assert_to_scale(new, old, 1e-5, f"`{name}` {what}")
