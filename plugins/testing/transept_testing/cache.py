"""`CacheConformance`: what a key/value cache gives back, whatever is done to it between two updates."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from transept.attention import Attention, MaskSpec
from transept.cache import Cache
from transept.discovery import load_object, registry
from transept.errors import CacheError, UnknownArgumentError
from transept.nn.masks import decoder_mask

from .comparing import assert_to_scale
from .refusing import refused
from .standard import Conformance

__all__ = ["CacheConformance"]

GUARDS = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}


class _Config:
    """As much of a configuration as a cache reads."""

    num_hidden_layers = 2
    num_attention_heads = 4
    num_key_value_heads = 2
    is_encoder_decoder = False

    def __init__(self, head_dim: int, fields: Mapping[str, Any]) -> None:
        self.head_dim = head_dim
        self.hidden_size = self.num_attention_heads * head_dim
        vars(self).update(fields)


class _Course:
    """A cache beside plain tensors of everything that it was told, and how the two are driven together."""

    def __init__(self, kit: CacheConformance, cache: Cache, batch: int = 2, seed: int = 0) -> None:
        self.kit, self.cache = kit, cache
        self.generator = torch.Generator().manual_seed(seed)
        self.batch = batch
        self.told = [self.states(0) for _ in cache.layers or range(_Config.num_hidden_layers)]

    def states(self, count: int, batch: int | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of new tokens, (batch, kv_heads, count, head_dim)."""
        shape = (batch or self.batch, count, _Config.num_key_value_heads, self.kit.head_dim)
        keys, values = (torch.randn(shape, generator=self.generator).transpose(1, 2).to(self.kit.dtype) for _ in "kv")
        return keys, values

    @property
    def seen(self) -> int:
        return int(self.told[0][0].shape[2])

    def update(self, count: int, *, hold: bool = True) -> None:
        """Tell every layer of new tokens, and compare what each gives with what its queries may see."""
        for layer_idx, (keys, values) in enumerate(self.told):
            past = int(keys.shape[2])
            new = self.states(count)
            length, offset = self.cache.get_mask_sizes(count, layer_idx)
            given = self.cache.update(*new, layer_idx)
            what = f"layer {layer_idx}, {count} tokens after {past}"
            for name, found, old, added in zip(("keys", "values"), given, (keys, values), new, strict=True):
                assert found.shape[2] == length, (
                    f"{what}: {found.shape[2]} {name} come, and `get_mask_sizes` said {length}: masks would not fit"
                )
                rows = self.kit.given_keys(old, layer_idx) if name == "keys" else old[:, :, self.kit.visible(past, layer_idx)]
                assert offset == rows.shape[2], (
                    f"{what}: the first new one is said to stand at {offset}, not at {rows.shape[2]}"
                )
                expected = torch.cat((rows, added), 2)
                assert_to_scale(found[:, :, : offset + count], expected, self.kit.tolerance, f"{what}, {name}")
                # whatever is done with the tokens before, new ones are not rounded before they are attended to
                assert torch.equal(found[:, :, offset : offset + count], added), f"{what}: new {name} are changed"
            self.told[layer_idx] = (torch.cat((keys, new[0]), 2), torch.cat((values, new[1]), 2))
        assert self.cache.get_seq_length() == self.seen, (
            f"after {self.seen} tokens `get_seq_length` says {self.cache.get_seq_length()}"
        )

    def crop(self, length: int) -> None:
        self.cache.crop(length)
        keep = length if length > 0 else self.seen + length
        self.change(lambda part: part[:, :, :keep])

    def change(self, change: Callable[[Tensor], Tensor]) -> None:
        self.told = [(change(keys), change(values)) for keys, values in self.told]
        self.batch = int(self.told[0][0].shape[0])


class CacheConformance(Conformance, standard=True):
    """Subclass it with `key`, or with a `make_cache` of one's own. Tokens come in pieces of `sizes`, a hundred or two in all."""

    key: ClassVar[str | None] = None
    """The name in `cache_implementation`. With it, the plugin's record is tested as well."""
    options: ClassVar[Mapping[str, Any]] = {}
    """`cache_config`."""
    config: ClassVar[Mapping[str, Any]] = {}
    """Fields of the model's configuration beside those of two layers with four heads, two of them for keys and values."""
    head_dim: ClassVar[int] = 8
    dtype: ClassVar[torch.dtype] = torch.float32
    tolerance: ClassVar[float] = 0.0
    """How far keys and values may be from what came, relative to the largest of them. 0: not at all."""
    attention_tolerance: ClassVar[float | None] = None
    """The same for what attention makes of them. None: `tolerance`, and no less than 1e-5."""
    sizes: ClassVar[Sequence[Sequence[int]]] = ([9, 1, 1, 1], [1] * 12, [5, 4, 3], [90, 1, 1, 60, 1], [200, 1, 1])
    rollback: ClassVar[int | None] = None
    """How many of the last tokens can be taken back. None: all of them."""
    supports_rows: ClassVar[bool] = True
    """Rows can be chosen, repeated and reordered."""
    supports_gradients: ClassVar[bool] = True
    """Gradients reach the tokens of the last two updates."""
    supports_offload: ClassVar[bool] = False
    supports_compile: ClassVar[bool] = False
    """A step over it compiles to one graph."""
    fixed_size: ClassVar[bool] = False
    """It refuses tokens beyond the length that it was made for."""

    def make_cache(self, length: int, batch: int) -> Cache:
        """A new cache for `length` tokens of `batch` rows."""
        assert self.key is not None, "set `key`, or override `make_cache`"
        make = load_object(registry.get("caches", self.key).cache, owner=self.key)
        cache: Cache = make(
            self.model_config(), max_cache_len=length, batch_size=batch, device="cpu", dtype=self.dtype, **self.options
        )
        return cache

    def model_config(self) -> Any:
        return _Config(self.head_dim, self.config)

    def window(self, layer_idx: int) -> int | None:
        """How many keys a query of this layer sees, its own among them, as the model's masks have it. None: all that are given."""
        types = self.config.get("layer_types")
        sliding = types is None or types[layer_idx] == "sliding_attention"
        return self.config.get("sliding_window") if sliding else None

    def visible(self, past: int, layer_idx: int) -> list[int]:
        """Which of the tokens seen an update gives beside its own, in their order. By default all that the window shows."""
        window = self.window(layer_idx)
        return list(range(0 if window is None else max(past - window + 1, 0), past))

    def given_keys(self, keys: Tensor, layer_idx: int) -> Tensor:
        """Of the keys of all tokens seen, (batch, kv_heads, seen, head_dim), what an update gives. By default the visible ones."""
        return keys[:, :, self.visible(keys.shape[2], layer_idx)]

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        return {"pieces": lambda: self.sizes, "guard": lambda: list(GUARDS)}

    def course(self, pieces: Sequence[int] = (), batch: int = 2, room: int = 400) -> _Course:
        """A new cache of two layers, with tokens in it that came in these pieces."""
        course = _Course(self, self.make_cache(room, batch), batch)
        for count in pieces:
            course.update(count)
        return course

    def test_an_update_gives_what_its_queries_see(self, pieces: Sequence[int], guard: str) -> None:
        with GUARDS[guard]():
            self.course(pieces)

    def test_gradients_on_and_off_in_turn(self, guard: str) -> None:
        course = self.course()
        for other in ("grad", "no_grad", "inference"):
            for count in (40, 1, 3):
                with GUARDS[guard]():
                    course.update(count)
                with GUARDS[other]():
                    course.update(count)

    @torch.no_grad()
    @pytest.mark.parametrize("padded", [False, True], ids=["whole rows", "left padding"])
    def test_attention_in_steps_is_attention_at_once(self, pieces: Sequence[int], padded: bool) -> None:
        total = sum(pieces)
        cache, attention = self.make_cache(total, 2), Attention("eager")
        course = _Course(self, cache)
        padding = [min(5, pieces[0] - 1), 0]
        mask = torch.arange(total) >= torch.tensor(padding)[:, None] if padded else None
        tolerance = self.attention_tolerance if self.attention_tolerance is not None else max(self.tolerance, 1e-5)
        start = 0
        for count in pieces:
            stop, hidden = start + count, torch.zeros(2, count, 1)
            query = torch.randn(2, 4, count, self.head_dim, generator=course.generator).to(self.dtype)
            now = None if mask is None else mask[:, :stop]
            specs = [  # as a model makes them: before its first layer
                decoder_mask(hidden, now, cache, sliding_window=self.window(layer_idx), layer_idx=layer_idx)
                for layer_idx in range(len(course.told))
            ]
            for layer_idx, told in enumerate(course.told):
                new, window = course.states(count), self.window(layer_idx)
                found, _ = attention(query, *cache.update(*new, layer_idx), mask=specs[layer_idx])
                for row in range(2):  # each alone, without the tokens that are padding
                    first = padding[row] if padded else 0
                    here = max(first - start, 0)
                    old = [part[row : row + 1, :, first:start] for part in told]
                    rows = self.given_keys(old[0], layer_idx), old[1][:, :, self.visible(old[1].shape[2], layer_idx)]
                    pair = [torch.cat((a, b[row : row + 1, :, here:]), 2) for a, b in zip(rows, new, strict=True)]
                    past = rows[0].shape[2]
                    alone = MaskSpec("causal", count - here, past + count - here, past, sliding_window=window)
                    expected, _ = attention(query[row : row + 1, :, here:], *pair, mask=alone)
                    what = f"layer {layer_idx}, row {row}, {count} tokens after {start}"
                    assert_to_scale(found[row : row + 1, :, here:], expected, tolerance, what)
                course.told[layer_idx] = tuple(torch.cat(both, 2) for both in zip(told, new, strict=True))
            start = stop

    @torch.no_grad()
    @pytest.mark.parametrize("tried", [1, 4, 11])
    def test_tokens_that_were_tried_leave_no_trace(self, tried: int) -> None:
        tried = tried if self.rollback is None else min(tried, self.rollback)
        course = self.course([70])
        for count in (1, 2, 30, 1, 40, 1):
            course.update(tried)
            course.crop(-tried)
            course.update(count)

    @torch.no_grad()
    def test_any_length_can_be_gone_back_to(self) -> None:
        for pieces in ([150, 1], [100, 30, 20]):
            course = self.course(pieces)
            for length in (149, 130, 96, 63, 1):
                if self.rollback is None or course.seen - length <= self.rollback:
                    again = copy.deepcopy(course)
                    again.crop(length)
                    for count in (1, 70, 1):
                        again.update(count)

    @torch.no_grad()
    def test_a_crop_that_cannot_be_is_refused(self) -> None:
        course = self.course([30])
        course.crop(0)
        course.crop(99)
        course.update(1)
        with refused(CacheError, "31 tokens.*reset", "`Cache.crop` checks it: do not replace it"):
            course.cache.crop(-32)
        if self.rollback is not None:
            for count in (100, 100, 1):
                course.update(count)
            with refused(CacheError, "", "raise CacheError in `check_crop` of the layer, before any layer is changed"):
                course.cache.crop(34)
        course.update(1)

    @torch.no_grad()
    def test_after_a_reset_it_is_as_new(self) -> None:
        course = self.course([100, 1])
        course.cache.reset()
        course.change(lambda part: part[:, :, :0])
        assert course.cache.get_seq_length() == 0, "`reset` leaves tokens"
        for count in (3, 100, 1):
            course.update(count)

    def test_rows_are_chosen_and_repeated(self, guard: str) -> None:
        if not self.supports_rows:
            with pytest.raises(CacheError):
                self.course([3]).cache.batch_select_indices(torch.tensor([0]))
            return
        with GUARDS[guard]():
            for pieces in ([3], [150, 1]):
                course = self.course(pieces)
                course.cache.batch_repeat_interleave(2)
                course.change(lambda part: part.repeat_interleave(2, 0))
                course.update(2)
                rows = torch.tensor([3, 0, 3, 1])
                course.cache.reorder_cache(rows)
                course.change(lambda part, rows=rows: part[rows])
                course.update(1)
                rows = torch.tensor([2, 0])
                course.cache.batch_select_indices(rows)
                course.change(lambda part, rows=rows: part[rows])
                course.update(70)

    def test_rows_that_begin_alike_may_leave_that_in_place(self, guard: str) -> None:
        if not self.supports_rows:
            pytest.skip("`supports_rows` is False")
        with GUARDS[guard]():
            for alike in (20, 100):
                course = self.course([alike], batch=1)
                course.cache.batch_repeat_interleave(3)
                course.change(lambda part: part.repeat_interleave(3, 0))
                for count, rows in ((1, [2, 2, 0]), (1, [0, 1, 1]), (90, [2, 0, 1]), (1, [1, 1, 1])):
                    course.update(count)
                    chosen = torch.tensor(rows)
                    course.cache.reorder_cache(chosen, alike)
                    course.change(lambda part, chosen=chosen: part[chosen])

    @pytest.mark.parametrize("way", ["deepcopy", "pickle", "pytree"])
    def test_copies_go_their_own_ways(self, way: str, guard: str) -> None:
        ways: dict[str, Callable[[Cache], Cache]] = {
            "deepcopy": copy.deepcopy,
            "pickle": lambda cache: pickle.loads(pickle.dumps(cache)),
            "pytree": lambda cache: pytree.tree_map(torch.clone, cache),
        }
        with GUARDS[guard]():
            for pieces in ([], [3], [150, 1]):
                course = self.course(pieces)
                twin = _Course(self, ways[way](course.cache), seed=1)
                assert type(twin.cache) is type(course.cache)
                twin.told = [tuple(part.clone() for part in told) for told in course.told]
                for count in (1, 40, 1):
                    twin.update(count)
                    course.update(count)

    @torch.no_grad()
    def test_its_tensors_are_a_pytrees_leaves(self) -> None:
        cache = self.course([150, 1]).cache
        leaves, spec = pytree.tree_flatten(cache)
        assert leaves, "it has no leaves"
        assert all(isinstance(leaf, Tensor) for leaf in leaves), "some leaves are no tensors"
        again = pytree.tree_unflatten(leaves, spec)
        found, expected = (each.to_legacy_cache() for each in (again, cache))
        for ours, theirs in zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True):
            assert torch.equal(ours, theirs), "another cache comes back from the leaves"

    @torch.no_grad()
    def test_another_batch_is_refused_before_anything_is_written(self) -> None:
        course = self.course([40])
        for batch in (1, 3):
            for layer_idx in range(len(course.told)):
                with refused(CacheError, "batch", "compare the rows with those held before anything is written"):
                    course.cache.update(*course.states(1, batch), layer_idx)
        course.update(1)

    @torch.no_grad()
    def test_what_came_is_never_written_on(self) -> None:
        cache = self.make_cache(200, 2)
        course = _Course(self, cache)
        came = [course.states(count) for count in (60, 3, 1)]
        before = copy.deepcopy(came)
        for new in came:
            cache.update(*new, 0)
        cache.crop(-2)
        cache.update(*course.states(5), 0)
        for parts, old in zip(came, before, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(parts, old, strict=True)), (
                "keys or values of the caller were written on"
            )

    def test_gradients_reach_what_came_last(self) -> None:
        if not self.supports_gradients:
            pytest.skip("`supports_gradients` is False")
        cache = self.make_cache(64, 2)
        course = _Course(self, cache)
        parts = [course.states(count) for count in (5, 2)]
        for part in pytree.tree_leaves(parts):
            part.requires_grad_()
        cache.update(*parts[0], 0)
        keys, values = cache.update(*parts[1], 0)
        total = keys.float().square().sum() + values.float().square().sum()
        with torch.no_grad():  # must not write on what autograd saved
            cache.update(*course.states(1), 0)
        total.backward()
        for part in parts[1]:
            torch.testing.assert_close(part.grad, 2 * part.detach())
        assert all(part.grad is not None for part in parts[0]), "gradients do not reach the tokens of the update before"

    @torch.no_grad()
    def test_tokens_beyond_its_size_are_refused_before_anything_is_written(self) -> None:
        if not self.fixed_size:
            assert self.make_cache(8, 2).max_cache_len is None, (
                "`max_cache_len` says that it has an end: set `fixed_size = True`"
            )
            return
        course = self.course([7], room=8)
        most = course.cache.max_cache_len
        assert most is not None
        for layer_idx in range(len(course.told)):
            if course.cache.layers[layer_idx].max_cache_len is not None:
                for ask in (
                    lambda layer_idx=layer_idx: course.cache.get_mask_sizes(most - 6, layer_idx),
                    lambda layer_idx=layer_idx: course.cache.update(*course.states(most - 6), layer_idx),
                ):
                    with refused(CacheError, f"room for {most} tokens", "compare the room with the tokens that come first"):
                        ask()
        course.update(1)

    @torch.no_grad()
    def test_offloading_changes_nothing(self) -> None:
        course = self.course([40, 1])
        if not self.supports_offload:
            with refused(CacheError, "no `offload`", "leave `offload` to the base class"):
                course.cache.offload()
        else:
            course.cache.offload()
        course.update(3)

    def test_an_unknown_option_is_refused(self) -> None:
        if self.key is None:
            pytest.skip("it has no `key`, and so no record")
        make = load_object(registry.get("caches", self.key).cache, owner=self.key)
        wrong = {f"{next(iter(self.options), 'option')}_x": 1}
        with refused(UnknownArgumentError, f"`{next(iter(wrong))}`", "pass `cache_config` to `transept.cache.refuse_options`"):
            make(self.model_config(), max_cache_len=8, batch_size=2, device="cpu", dtype=self.dtype, **self.options, **wrong)

    @pytest.mark.slow
    @torch.no_grad()
    def test_a_step_compiles(self) -> None:
        if not self.supports_compile:
            pytest.skip("`supports_compile` is False")
        torch._dynamo.reset()

        def step(cache: Cache, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            return cache.update(keys, values, 0)

        compiled = torch.compile(step, fullgraph=True, backend="eager")
        course = self.course([9])
        twin = copy.deepcopy(course.cache)
        for _ in range(3):
            new = course.states(1)
            for found, expected in zip(compiled(course.cache, *new), twin.update(*new, 0), strict=True):
                torch.testing.assert_close(found, expected)
