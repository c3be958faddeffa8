"""`AttentionKernelConformance`: what an attention kernel's record promises is what the kernel does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from transept.attention import Attention, MaskSpec
from transept.discovery import load_object, registry
from transept.errors import AttentionError
from transept_hookspecs import AttentionKernelSpec

from .kernel_masks import PADDING, STEPS, mask_of, random_mask, reference
from .refusing import refused
from .standard import Conformance

__all__ = ["AttentionKernelConformance"]

TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SHAPES = {"MHA": (4, 4), "GQA": (4, 2), "MQA": (4, 1)}


class AttentionKernelConformance(Conformance, standard=True):
    """Subclass it with the `key`; what is tested follows from the record. Where the kernel cannot run, its tests are skipped."""

    key: ClassVar[str]
    """The kernel's name."""
    device: ClassVar[str] = "cpu"
    tolerances: ClassVar[Mapping[torch.dtype, float]] = TOLERANCES
    """Absolute and relative, beside attention in float64."""
    head_dim: ClassVar[int | None] = None
    """Size of a head; by default the least that the record allows, from 8."""

    @cached_property
    def record(self) -> AttentionKernelSpec:
        return registry.get("attention", self.key)

    def kernel(self) -> Callable[..., tuple[Tensor, Tensor | None]]:
        """The function that the record names."""
        found: Any = load_object(self.record.kernel, owner=registry.owner("attention", self.key))
        return found

    def attend(self, query: Tensor, key: Tensor, value: Tensor, **request: Any) -> tuple[Tensor, Tensor | None]:
        """A request of the kernel by its name. A kernel that is tested on another device than its own overrides this."""
        return Attention(self.key)(query, key, value, **request)

    def unable(self) -> str | None:
        """Why it cannot run here."""
        if self.record.requires is None:
            return None
        reason: str | None = load_object(self.record.requires, owner=registry.owner("attention", self.key))()
        return reason

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        return {
            "mask_kind": lambda: sorted(self.record.masks),
            "shape": lambda: list(SHAPES) if self.record.gqa else ["MHA"],
            "dtype": lambda: [dtype for dtype in list(TOLERANCES)[1:] if self._name(dtype) in self.record.dtypes],
            "step": lambda: [step for step in STEPS if step != "train" or self.record.training],
            "seed": lambda: list(range(40)),
        }

    @pytest.fixture(autouse=True)
    def _able(self) -> None:
        reason = self.unable()
        if reason is not None:
            pytest.skip(f"`{self.key}` cannot run here: {reason}")

    def tensors(
        self, mask: MaskSpec, shape: str = "GQA", dtype: torch.dtype | None = None, batch: int = 2, seed: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value for a mask, laid out as projections that are split into heads."""
        generator = torch.Generator().manual_seed(seed)
        heads, kv_heads = SHAPES[shape if self.record.gqa else "MHA"]

        def one(count: int, length: int) -> Tensor:
            drawn = torch.randn(batch, length, count, self._head_dim, generator=generator)
            return drawn.to(device=self.device, dtype=dtype or self._dtype).transpose(1, 2)

        return one(heads, mask.query_length), one(kv_heads, mask.key_length), one(kv_heads, mask.key_length)

    @cached_property
    def _head_dim(self) -> int:
        return self.head_dim or min(self.record.head_dims or (8,))

    @cached_property
    def _dtype(self) -> torch.dtype:
        """The most exact that the record allows, up to float32."""
        return next(dtype for dtype in TOLERANCES if dtype != torch.float64 and self._name(dtype) in self.record.dtypes)

    @staticmethod
    def _name(dtype: torch.dtype) -> str:
        return str(dtype).removeprefix("torch.")

    def _equal(self, found: Tensor, expected: Tensor, what: str, tolerance: float | None = None) -> None:
        limit = tolerance or self.tolerances[found.dtype]
        assert torch.isfinite(found).all(), f"{what}: not finite"
        torch.testing.assert_close(
            found.double(), expected.double(), atol=limit, rtol=limit, msg=lambda text: f"{what}: {text}"
        )

    def _on_device(self, mask: MaskSpec) -> MaskSpec:
        return torch.utils._pytree.tree_map_only(Tensor, lambda tensor: tensor.to(self.device), mask)

    def _honours(self, *kinds: str) -> None:
        for kind in kinds:
            if kind not in self.record.masks:
                pytest.skip(f"`{self.key}` has no masks of the kind `{kind}`")

    # -- masks ---------------------------------------------------------------------------------------------------------

    def test_each_mask_in_each_step(self, mask_kind: str, shape: str, dtype: torch.dtype, step: str) -> None:
        for padding in PADDING if "keep" in self.record.masks else ("none",):
            mask = self._on_device(mask_of(mask_kind, step, padding))
            inputs = self.tensors(mask, shape, dtype)
            what = f"`{mask_kind}`, {shape}, {dtype}, {step}, padding: {padding}"
            if step == "train":
                self._gradients_equal(inputs, mask, what)
                continue
            with torch.no_grad():
                found, _ = self.attend(*inputs, mask=mask)
                assert found.dtype == dtype, f"{what}: the output is {found.dtype}"
                assert found.shape == (*inputs[0].shape[:3], inputs[2].shape[-1]), f"{what}: shape {tuple(found.shape)}"
                self._equal(found, reference(*inputs, mask), what)
                self._zero_where_nothing_is_seen(found, mask, what)

    @staticmethod
    def _zero_where_nothing_is_seen(found: Tensor, mask: MaskSpec, what: str) -> None:
        seen = mask.materialize(found.device)
        if seen is not None:
            nothing = (~seen.any(-1)).expand(found.shape[:3])
            assert (found[nothing] == 0).all(), f"{what}: rows that see no key are not zeros"

    def _gradients_equal(self, inputs: tuple[Tensor, ...], mask: MaskSpec, what: str) -> None:
        ours, theirs = ([tensor.detach().clone().requires_grad_() for tensor in inputs] for _ in range(2))
        found, _ = self.attend(*ours, mask=mask)
        expected = reference(*theirs, mask)
        self._equal(found.detach(), expected.detach(), what)
        direction = torch.sin(torch.arange(found.numel(), device=self.device).float()).view(found.shape)
        (found * direction.to(found.dtype)).sum().backward()
        (expected * direction.double()).sum().backward()
        for name, one, other in zip(("query", "key", "value"), ours, theirs, strict=True):
            assert one.grad is not None, f"no gradient reaches the {name}, {what}"
            self._equal(one.grad, other.grad, f"the gradient of the {name}, {what}", 3 * self.tolerances[found.dtype])

    @torch.no_grad()
    def test_any_masks_together(self, seed: int) -> None:
        mask = self._on_device(random_mask(seed, self.record.masks, heads=4))
        inputs = self.tensors(mask, seed=seed)
        found, _ = self.attend(*inputs, mask=mask)
        self._equal(found, reference(*inputs, mask), f"{mask}")
        self._zero_where_nothing_is_seen(found, mask, f"{mask}")

    @pytest.mark.parametrize("length", [4, 5, 6], ids=lambda length: f"window{length - 5:+d}")
    @torch.no_grad()
    def test_a_window_of_five_at_four_five_and_six_tokens(self, length: int) -> None:
        self._honours("sliding_window")
        for kind in ("causal", "bidirectional"):
            for queries in (length, 2, 1) if kind in self.record.masks else ():
                mask = MaskSpec(kind, queries, length, query_offset=length - queries, sliding_window=5)
                inputs = self.tensors(mask)
                self._equal(self.attend(*inputs, mask=mask)[0], reference(*inputs, mask), f"{mask}")

    @torch.no_grad()
    def test_a_mask_serves_all_layers_of_a_pass(self, dtype: torch.dtype) -> None:
        self._honours("keep", "causal")
        mask = self._on_device(mask_of("causal", "prefill", "left"))
        for seed in range(3):
            for kind in (dtype, self._dtype):  # and layers may compute in several
                inputs = self.tensors(mask, dtype=kind, seed=seed)
                self._equal(self.attend(*inputs, mask=mask)[0], reference(*inputs, mask), f"layer {seed} in {kind}")

    @torch.no_grad()
    def test_packed_documents_are_separate_ones(self, dtype: torch.dtype) -> None:
        self._honours("documents", "causal")
        lengths = (3, 1, 4)
        documents = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None].to(self.device)
        mask = MaskSpec.causal(8, documents=documents)
        inputs = self.tensors(mask, dtype=dtype, batch=1)
        packed, _ = self.attend(*inputs, mask=mask)
        for part in zip(*(tensor.split(lengths, 2) for tensor in (packed, *inputs)), strict=True):
            alone, _ = self.attend(*part[1:], mask=MaskSpec.causal(part[0].shape[2]))
            self._equal(part[0], alone, "a document in a pack beside itself alone")

    @pytest.mark.parametrize("side", ["left", "right"])
    @torch.no_grad()
    def test_a_padded_row_is_the_row_alone(self, side: str, dtype: torch.dtype) -> None:
        self._honours("keep", "causal")
        mask = self._on_device(mask_of("causal", "prefill", side))
        inputs = self.tensors(mask, dtype=dtype)
        whole, _ = self.attend(*inputs, mask=mask)
        place = slice(2, None) if side == "left" else slice(0, -2)
        alone, _ = self.attend(*(tensor[:1, :, place] for tensor in inputs), mask=MaskSpec.causal(5))
        self._equal(whole[:1, :, place], alone, f"a row with padding on its {side} beside itself alone")

    def test_a_query_that_sees_nothing_gets_zeros(self, dtype: torch.dtype) -> None:
        self._honours("keep", "causal")
        keep = torch.tensor([[False, False, True, True, True], [False] * 5], device=self.device)
        for queries in (5, 2, 1):
            mask = MaskSpec.causal(queries, 5, keep=keep)
            inputs = self.tensors(mask, dtype=dtype)
            with torch.set_grad_enabled(self.record.training):
                inputs = tuple(tensor.requires_grad_(self.record.training) for tensor in inputs)
                output, _ = self.attend(*inputs, mask=mask)
            nothing = ~mask.materialize(self.device).any(-1)[:, 0]
            assert nothing[1].all()
            assert (output.transpose(1, 2)[nothing] == 0).all(), f"{queries} queries: rows that see no key are not zeros"
            assert torch.isfinite(output).all()
            if self.record.training:
                output.sum().backward()
                for name, tensor in zip(("query", "key", "value"), inputs, strict=True):
                    assert torch.isfinite(tensor.grad).all(), f"{queries} queries: the {name}'s gradient is not finite"

    # -- options -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def test_a_scale_is_taken(self, dtype: torch.dtype) -> None:
        mask = self._some_mask()
        inputs = self.tensors(mask, dtype=dtype)
        self._equal(self.attend(*inputs, mask=mask, scale=0.7)[0], reference(*inputs, mask, scale=0.7), "scale 0.7")

    @torch.no_grad()
    def test_options_that_the_record_has(self, dtype: torch.dtype) -> None:
        mask = self._some_mask()
        inputs = self.tensors(mask, dtype=dtype)
        options: dict[str, Any] = {}
        if self.record.softcap:
            options["softcap"] = 0.8
            self._equal(self.attend(*inputs, mask=mask, softcap=0.8)[0], reference(*inputs, mask, softcap=0.8), "softcap")
        if self.record.sinks:
            options["sinks"] = sinks = torch.linspace(-1, 2, inputs[0].shape[1], device=self.device)
            self._equal(self.attend(*inputs, mask=mask, sinks=sinks)[0], reference(*inputs, mask, sinks=sinks), "sinks")
        if self.record.weights:
            output, weights = self.attend(*inputs, mask=mask, need_weights=True)
            assert weights is not None
            assert weights.shape == (*inputs[0].shape[:3], mask.key_length)
            grouped = inputs[2].repeat_interleave(inputs[0].shape[1] // inputs[2].shape[1], 1)
            self._equal(weights.double() @ grouped.double(), output, "the weights times the values", self.tolerances[dtype])
        found, _ = self.attend(*inputs, mask=mask, **options)
        self._equal(found, reference(*inputs, mask, **options), f"{list(options)} together")

    @torch.no_grad()
    def test_dropout_drops_and_keeps_the_mean(self) -> None:
        if not self.record.dropout:
            pytest.skip(f"`{self.key}` has no dropout")
        mask = self._some_mask()
        inputs = [tensor.expand(1000, -1, -1, -1) for tensor in self.tensors(mask, batch=1)]
        torch.manual_seed(0)
        dropped, _ = self.attend(*inputs, mask=mask, dropout=0.3)
        plain, _ = self.attend(*(tensor[:1] for tensor in inputs), mask=mask)
        assert not torch.equal(dropped[0], dropped[1]), "all rows drop the same"
        self._equal(dropped.double().mean(0, keepdim=True), plain, "the mean over 1000 rows", 0.15)

    @torch.no_grad()
    def test_what_the_record_lacks_is_refused_by_the_kernel_too(self) -> None:
        mask = self._some_mask()
        inputs = self.tensors(mask)
        lacking = {
            "softcap": (self.record.softcap, {"softcap": 1.0}),
            "sinks": (self.record.sinks, {"sinks": torch.zeros(inputs[0].shape[1], device=self.device)}),
            "dropout": (self.record.dropout, {"dropout": 0.1}),
            "weights": (self.record.weights, {"need_weights": True}),
        }
        kernel = self.kernel()
        for name, (offered, option) in lacking.items():
            if not offered:
                with refused(
                    AttentionError, "", f"raise AttentionError for `{name}` in the kernel: ignoring it is a wrong answer"
                ):
                    kernel(*inputs, mask=mask, **option)
                with refused(AttentionError, name, f"the record says that there is no `{name}`"):
                    Attention(self.key)(*inputs, mask=mask, **option)

    @torch.no_grad()
    def test_inputs_stay_as_they_are(self) -> None:
        mask = self._some_mask()
        inputs = self.tensors(mask)
        before = [tensor.clone() for tensor in inputs]
        first, _ = self.attend(*inputs, mask=mask)
        again, _ = self.attend(*inputs, mask=mask)
        assert all(torch.equal(one, other) for one, other in zip(inputs, before, strict=True)), (
            "the kernel writes on its inputs"
        )
        self._equal(again, first, "the same request again", 1e-12 if self.device == "cpu" else None)

    # -- gradients -----------------------------------------------------------------------------------------------------

    def test_gradients_are_those_of_the_function(self, mask_kind: str) -> None:
        if not self.record.training or "float64" not in self.record.dtypes:
            pytest.skip(f"`{self.key}` declares no training in float64")
        for step in STEPS:
            for padding in PADDING if "keep" in self.record.masks else ("none",):
                mask = self._on_device(mask_of(mask_kind, step, padding))
                inputs = [tensor.requires_grad_() for tensor in self.tensors(mask, dtype=torch.float64)]

                def attend(*given: Tensor, mask: MaskSpec = mask) -> Tensor:
                    return self.attend(*given, mask=mask)[0]

                assert torch.autograd.gradcheck(attend, inputs, fast_mode=True), f"{step}, padding: {padding}"

    def test_a_bias_learns(self) -> None:
        self._honours("bias")
        if not self.record.training or "float64" not in self.record.dtypes:
            pytest.skip(f"`{self.key}` declares no training in float64")
        mask = MaskSpec.causal(3, 5)
        inputs = self.tensors(mask, dtype=torch.float64)
        bias = torch.randn(1, inputs[0].shape[1], 3, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda bias: self.attend(*inputs, mask=MaskSpec.causal(3, 5, bias=bias))[0], (bias,), fast_mode=True
        )

    def _some_mask(self) -> MaskSpec:
        return MaskSpec("causal" if "causal" in self.record.masks else "bidirectional", 3, 6, query_offset=3)
