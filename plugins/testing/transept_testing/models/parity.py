"""The peer beside ours: the same names, the same numbers, and files that go both ways."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ..comparing import assert_gradients_equal, assert_outputs_equal, assert_to_scale, gradients, of_tokens
from .suite import Case, ModelSuite

__all__ = ["PeerChecks"]

Pair = Callable[[Case], tuple[Any, Any]]
SHARD = "20KB"


class PeerChecks(ModelSuite, standard=True):
    """Comparisons with transformers, where `peer` names its classes and it is installed."""

    def test_forward_has_the_peers_arguments(self, head: Case) -> None:
        theirs = _arguments(self.peer_model_class(head))
        ours = _arguments(self.model_class(head))
        assert [name for name in ours if name in theirs] == theirs, (
            f"`forward` takes {ours}, the peer's {theirs}: libraries pass arguments by name and by place"
        )
        assert ours[: len(theirs)] == theirs, f"arguments of one's own come after the peer's {theirs}, or as keywords alone"

    @torch.no_grad()
    def test_outputs_are_the_peers(self, case: Case, pair: Pair) -> None:
        ours, peer = pair(case)
        inputs = {**self.inputs(case), **self._without_cache(case)}
        asked = {}
        if self.supports_hidden_states:
            asked["output_hidden_states"] = True
        if self.supports_attention_weights:
            asked["output_attentions"] = True
        found, expected = ours(**inputs, **asked), peer(**inputs, **asked)
        assert type(found).__name__ == type(expected).__name__, "the output has another class than the peer's"
        assert_outputs_equal(found, expected, self.tolerance, "outputs beside the peer's")

    @torch.no_grad()
    def test_outputs_under_padding_are_the_peers(self, case: Case, pair: Pair, padding_side: str) -> None:
        ours, peer = pair(case)
        batch, _, places = self.padded(case, side=padding_side)
        # where positions are counted differs only for rows that are padded on the left: both are told
        if padding_side == "left" and self.takes(case, "position_ids"):
            batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0) + self.first_position
        batch |= self._without_cache(case)
        found, expected = ours(**batch), peer(**batch)
        assert list(found) == list(expected)
        for name, theirs in expected.items():
            if isinstance(theirs, torch.Tensor):
                for row, place in enumerate(places):
                    mine, other = of_tokens(found[name][row], 9, place), of_tokens(theirs[row], 9, place)
                    assert_to_scale(mine, other, self.tolerance, f"row {row} of a padded batch, `{name}` beside the peer's")

    def test_loss_and_gradients_are_the_peers(self, trained_case: Case, pair: Pair) -> None:
        case = trained_case
        ours, peer = pair(case)
        inputs = {**self.inputs(case), **self._without_cache(case)}
        labels = self.labels(case, ours, inputs)
        loss, found = gradients(ours, {**inputs, **labels})
        peer_loss, expected = gradients(peer, {**inputs, **labels})
        assert_to_scale(loss, peer_loss, self.tolerance, "the loss beside the peer's")
        expected = self.by_our_names(expected)
        assert_gradients_equal(_as_the_peers(ours, found, expected), expected, self.tolerance, "beside the peer's")

    def test_the_peer_loads_what_we_save(self, case: Case, tmp_path: Path) -> None:
        peer_class, ours = self.peer_model_class(case), self.model(case)
        ours.save_pretrained(tmp_path)
        peer, info = peer_class.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"], (
            f"the peer misses {sorted(info['missing_keys'])}: names in the file are the checkpoints'"
        )
        assert not info["unexpected_keys"], f"the peer has no place for {sorted(info['unexpected_keys'])}"
        self._assert_same_weights(ours, peer)

    def test_we_load_what_the_peer_saves(self, case: Case, tmp_path: Path) -> None:
        folder = self._saved_by_the_peer(case, tmp_path)
        ours, info = self.model_class(case).from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), f"the load reports {info}"
        self._assert_same_weights(ours, self.peer_model_class(case).from_pretrained(folder))

    def test_shards_go_both_ways(self, head: Case, tmp_path: Path) -> None:
        folder = self._saved_by_the_peer(head, tmp_path / "peer", max_shard_size=SHARD)
        ours = self.model_class(head).from_pretrained(folder)
        peer = self.peer_model_class(head).from_pretrained(folder)
        self._assert_same_weights(ours, peer)
        ours.save_pretrained(tmp_path / "ours", max_shard_size=SHARD)
        index = tmp_path / "ours" / "model.safetensors.index.json"
        assert index.exists(), "the model fits into one shard: make `tiny` larger than 20 kB"
        assert len(set(json.loads(index.read_text())["weight_map"].values())) > 1
        self._assert_same_weights(ours, self.peer_model_class(head).from_pretrained(tmp_path / "ours"))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
    @torch.no_grad()
    def test_half_precision_loads_as_it_is(self, head: Case, dtype: torch.dtype, tmp_path: Path) -> None:
        folder = self._saved_by_the_peer(head, tmp_path, dtype=dtype)
        ours = self.model_class(head).from_pretrained(folder)
        assert ours.config.dtype == dtype, f"the configuration says {ours.config.dtype} of a checkpoint in {dtype}"
        narrow = {parameter.dtype for parameter in ours.parameters()}
        assert dtype in narrow, f"a checkpoint in {dtype} is loaded as {narrow}"
        inputs = self.inputs(head)
        wide = self.model_class(head).from_pretrained(folder, dtype=torch.float32)
        assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
        peer = self.peer_model_class(head).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        exact = peer(**inputs)
        for name, theirs in exact.items():
            if isinstance(theirs, torch.Tensor):
                assert_to_scale(wide(**inputs)[name], theirs, self.tolerance, f"`{name}` of a {dtype} checkpoint in float32")
                assert_to_scale(ours(**inputs)[name], theirs, 0.1, f"`{name}` in {dtype}")

    def _assert_same_weights(self, ours: Any, peer: Any) -> None:
        expected = self.by_our_names(dict(peer.named_parameters()))
        found = _as_the_peers(ours, dict(ours.named_parameters()), expected)
        assert sorted(found) == sorted(expected), f"parameters {sorted(set(found) ^ set(expected))} are in one of the two alone"
        for name, parameter in expected.items():
            assert torch.equal(found[name], parameter), f"`{name}` has changed on its way through the file"

    def _without_cache(self, case: Case) -> dict[str, Any]:
        return {"use_cache": False} if self.takes(case, "use_cache") else {}

    def _saved_by_the_peer(self, case: Case, folder: Path, dtype: torch.dtype | None = None, **arguments: Any) -> Path:
        """A checkpoint of the peer's own making, with its own initialisation."""
        peer_class = self.peer_model_class(case)
        values = {**self.tiny, **self.variants.get(case.variant, {})}
        torch.manual_seed(0)
        peer = peer_class(peer_class.config_class(**values))
        with torch.no_grad():
            for name, parameter in peer.named_parameters():  # norms and biases start alike everywhere
                if parameter.dim() == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
                assert torch.isfinite(parameter).all(), name
        (peer if dtype is None else peer.to(dtype)).save_pretrained(folder, **arguments)
        return folder


def _arguments(model_class: Any) -> list[str]:
    """What `forward` takes by place."""
    parameters = inspect.signature(model_class.forward).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


def _as_the_peers(model: Any, tensors: Mapping[str, Any], theirs: Mapping[str, Any]) -> Mapping[str, Any]:
    """A model's tensors as the peer's modules have them: as they are, or under the names and in the layouts of checkpoints."""
    key_map = getattr(model, "key_map", None)
    alike = tensors.keys() == theirs.keys() and all(tensors[name].shape == theirs[name].shape for name in tensors)
    found: Mapping[str, Any] = tensors if key_map is None or alike else key_map.reversed().convert(tensors)
    return found
