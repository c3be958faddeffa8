"""What the table of blocks leaves out holds nothing, what it takes whole sees everything; and no square is built for it."""

import pytest
import torch
from transept_flex.blocks import block_mask, blocks_of
from transept_flex.mods import mask_mod
from transept_testing.kernel_masks import random_mask

from transept.attention import MaskSpec

CPU = torch.device("cpu")
EVERY = ("causal", "bidirectional", "prefix", "sliding_window", "chunk", "keep", "documents", "bias")


@pytest.mark.parametrize("seed", range(150))
def test_no_pair_is_lost_and_none_is_added(seed):
    mask = random_mask(seed, EVERY)
    seen = mask.materialize("cpu")
    seen = torch.ones(2, 4, mask.query_length, mask.key_length, dtype=torch.bool) if seen is None else seen.expand(2, 4, -1, -1)
    for size in (1, 2, 3):
        possible, certain = blocks_of(mask, CPU, size)
        assert not (certain & ~possible).any()
        for i in range(possible.shape[2]):
            for j in range(possible.shape[3]):
                block = seen[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size]
                any_pair, all_pairs = block.any(-1).any(-1), block.all(-1).all(-1)
                assert (any_pair <= possible[:, :, i, j]).all()
                assert (certain[:, :, i, j] <= all_pairs).all()


def test_the_functions_say_what_the_mask_says():
    for seed in range(60):
        mask = random_mask(seed, EVERY)
        found, expected = mask_mod(mask, CPU), mask.materialize("cpu")
        shape = (2, 4, mask.query_length, mask.key_length)
        b, h, q, k = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
        told = torch.ones(shape, dtype=torch.bool) if found is None else found(b, h, q, k)
        assert torch.equal(
            told.expand(shape), torch.ones(shape, dtype=torch.bool) if expected is None else expected.expand(shape)
        )


def test_blocks_of_a_long_window_are_few():
    mask = MaskSpec.causal(32768, sliding_window=512)
    table = block_mask(mask, mask_mod(mask, CPU), CPU)
    held = int(table.kv_num_blocks.sum() + table.full_kv_num_blocks.sum())
    assert held <= 5 * 256  # of 256 × 256
    possible, certain = blocks_of(MaskSpec.causal(1024), CPU)
    assert int(possible.sum()) == 8 * 9 // 2
    assert int(certain.sum()) == 8 * 7 // 2
