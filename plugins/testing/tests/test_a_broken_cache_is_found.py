"""Caches that forget, garble, or tell masks something else than they give are found."""

import pytest
import torch
from transept_testing import CacheConformance

from transept.cache import CacheLayer, DynamicCache, DynamicLayer, SlidingLayer
from transept.cache.base import Cache


class Plain(CacheConformance):
    layer = DynamicLayer

    def make_cache(self, length, batch):
        return Cache([type(self).layer(), type(self).layer()])


class Rounding(DynamicLayer):
    def update(self, key_states, value_states):
        return super().update(key_states.half().float(), value_states)


class Swapping(DynamicLayer):
    def update(self, key_states, value_states):
        return super().update(key_states, value_states)[::-1]


class TellsWrongLengths(DynamicLayer):
    def get_mask_sizes(self, query_length):
        past = max(self.get_seq_length() - 1, 0)
        return past + query_length, past


class HidesTheFirst(SlidingLayer):
    def __init__(self):
        super().__init__(50)


class CropsTooLittle(DynamicLayer):
    def crop(self, length):
        self.length = length + 1


class KeepsRows(DynamicLayer):
    def batch_select_indices(self, indices):
        return

    def reorder(self, rows, alike):
        return


class TakesAnyBatch(DynamicLayer):
    def update(self, key_states, value_states):
        if self._keys is not None and key_states.shape[0] != self._keys.shape[0]:
            self.reset()
        return super().update(key_states, value_states)


class SharesWithCopies(DynamicLayer):
    def __deepcopy__(self, memo):
        return self


class HasNoLeaves(DynamicLayer):
    def flatten(self):
        return {}, dict(vars(self))

    @classmethod
    def unflatten(cls, tensors, fixed):
        layer = cls()
        vars(layer).update(fixed)
        return layer


class Writes(DynamicLayer):
    def update(self, key_states, value_states):
        found = super().update(key_states, value_states)
        key_states.mul_(1.5)
        return found


BROKEN = {
    Rounding: ("test_an_update_gives_what_its_queries_see", ([3, 1], "no_grad")),
    Swapping: ("test_an_update_gives_what_its_queries_see", ([3, 1], "no_grad")),
    TellsWrongLengths: ("test_an_update_gives_what_its_queries_see", ([3, 1], "no_grad")),
    HidesTheFirst: ("test_an_update_gives_what_its_queries_see", ([60, 1], "no_grad")),
    CropsTooLittle: ("test_tokens_that_were_tried_leave_no_trace", (4,)),
    KeepsRows: ("test_rows_are_chosen_and_repeated", ("no_grad",)),
    TakesAnyBatch: ("test_another_batch_is_refused_before_anything_is_written", ()),
    SharesWithCopies: ("test_copies_go_their_own_ways", ("deepcopy", "no_grad")),
    HasNoLeaves: ("test_its_tensors_are_a_pytrees_leaves", ()),
    Writes: ("test_what_came_is_never_written_on", ()),
}


@pytest.mark.parametrize("layer", BROKEN, ids=lambda layer: layer.__name__)
def test_what_is_broken_fails_where_a_sound_one_passes(layer):
    name, arguments = BROKEN[layer]
    getattr(type("Sound", (Plain,), {})(), name)(*arguments)
    kit = type("Broken", (Plain,), {"layer": layer})()
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(kit, name)(*arguments)


def test_alike_rows_that_keep_their_old_tails_are_found():
    kit = type("Broken", (Plain,), {"layer": KeepsRows})()
    with pytest.raises(AssertionError):
        kit.test_rows_that_begin_alike_may_leave_that_in_place("no_grad")


def test_columns_of_a_mask_that_are_others_are_found():
    class Shifted(DynamicCache):
        def select_mask(self, keep, query_length, layer_idx):
            return torch.roll(super().select_mask(keep, query_length, layer_idx), 1, 1)

    class Broken(Plain):
        def make_cache(self, length, batch):
            cache = Shifted()
            cache.layers = [DynamicLayer(), DynamicLayer()]
            return cache

    Plain().test_attention_in_steps_is_attention_at_once([9, 1, 1], padded=True)
    with pytest.raises(AssertionError):
        Broken().test_attention_in_steps_is_attention_at_once([9, 1, 1], padded=True)


def test_a_layer_that_can_do_little_says_so_and_passes_with_it():
    class Least(CacheLayer):
        def __init__(self):
            self.held = None

        def get_seq_length(self):
            return 0 if self.held is None else self.held[0].shape[2]

        def update(self, key_states, value_states):
            new = (key_states, value_states)
            self.held = new if self.held is None else tuple(torch.cat(both, 2) for both in zip(self.held, new, strict=True))
            return self.held

    class Kit(Plain):
        layer = Least
        supports_rows = False

    Kit().test_an_update_gives_what_its_queries_see([5, 1], "grad")
    Kit().test_rows_are_chosen_and_repeated("no_grad")
    Kit().test_offloading_changes_nothing()
