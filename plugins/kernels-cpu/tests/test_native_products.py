"""Native products equal slow code on odd shapes, on every path that the processor has, and work in traced graphs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transept_int8.linear import pack
from transept_kernels_cpu.library import packings, path_taken, paths, take_path

OPS = torch.ops.transept_kernels_cpu
BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
FEW = 8  # rows of activations that are rounded; more are multiplied in float32


def columns_of(name: str, blocks: int) -> int:
    return blocks * (256 if name.endswith("K") else 32)


def close(found: torch.Tensor, wanted: torch.Tensor, scale: torch.Tensor) -> None:
    """Within float32's rounding of a sum whose terms are as large as `scale` says: (…, rows)."""
    assert found.shape == wanted.shape
    assert bool(((found.double() - wanted).abs() <= 2e-6 * scale + 1e-7).all())


def test_the_packings_and_a_path() -> None:
    assert set(packings()) == {*BLOCKS, "int8"}
    assert path_taken() == paths()[0]
    assert paths()[-1] == "portable"
    with pytest.raises(ValueError, match="no path `avx3` here"):
        take_path("avx3")


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
def test_blocks_by_few_rows(path, name, blocks, random_blocks, unpacked, rounded, number) -> None:
    for rows in (1, 3, 37):
        weight = random_blocks(name, rows, columns_of(name, blocks), seed=rows)
        values = unpacked(name, weight).double()
        for count in range(1, FEW + 1):
            given = torch.randn(count, values.shape[1], generator=torch.Generator().manual_seed(count))
            exact = rounded(given)
            close(OPS.blocks_linear(given, weight, None, number(name)), exact @ values.T, exact.abs() @ values.abs().T)


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_int8_by_few_rows(path, groups, rounded) -> None:
    qweight, scales = pack(torch.randn(29, 192, generator=torch.Generator().manual_seed(0)), 192 // groups)
    values = qweight.double() * scales.double().repeat_interleave(192 // groups, 1)
    for count in range(1, FEW + 1):
        given = torch.randn(count, 192, generator=torch.Generator().manual_seed(count))
        exact = rounded(given)
        close(OPS.int8_linear(given, qweight, scales, None), exact @ values.T, exact.abs() @ values.abs().T)


@pytest.mark.parametrize("name", BLOCKS)
def test_unpacking_is_equal_bit_for_bit(path, name, random_blocks, unpacked, number) -> None:
    weight = random_blocks(name, 5, columns_of(name, 5))
    assert torch.equal(OPS.unpack_blocks(weight, number(name)), unpacked(name, weight))
    assert torch.equal(OPS.unpack_blocks(weight[3], number(name)), unpacked(name, weight)[3])
    assert OPS.unpack_blocks(weight[:0], number(name)).shape == (0, columns_of(name, 5))


def test_unpacking_int8_is_equal_bit_for_bit(path) -> None:
    qweight, scales = pack(torch.randn(5, 192), 64)
    assert torch.equal(OPS.unpack_int8(qweight, scales), qweight * scales.float().repeat_interleave(64, 1))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("count", [FEW + 1, 40])
def test_many_rows_are_not_rounded(name, count, random_blocks, unpacked, number) -> None:
    weight = random_blocks(name, 37, columns_of(name, 3))
    given, values = torch.randn(count, columns_of(name, 3)), unpacked(name, weight)
    exact = given.double() @ values.double().T
    close(OPS.blocks_linear(given, weight, None, number(name)), exact, given.abs().double() @ values.abs().double().T)


def test_many_rows_by_a_weight_of_several_tiles(random_blocks, unpacked, number) -> None:
    weight = random_blocks("Q4_1", 777, 1024)  # 256 rows a tile
    given, values, bias = torch.randn(20, 1024), unpacked("Q4_1", weight), torch.randn(777)
    exact = given.double() @ values.double().T + bias
    close(OPS.blocks_linear(given, weight, bias, number("Q4_1")), exact, given.abs().double() @ values.abs().double().T + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (2, 3, 96), (2, 2, 5, 96), (0, 96), (2, 0, 96)])
@pytest.mark.parametrize("bias", [True, False])
def test_any_shape_in_any_half_dtype_with_a_bias(dtype, shape, bias, random_blocks, unpacked, number) -> None:
    weight = random_blocks("Q8_0", 11, 96)
    given, added = torch.randn(shape).to(dtype), torch.randn(11).to(dtype) if bias else None
    found = OPS.blocks_linear(given, weight, added, number("Q8_0"))
    wanted = given.double() @ unpacked("Q8_0", weight).double().T + (0 if added is None else added.double())
    assert found.dtype == dtype
    assert found.shape == (*shape[:-1], 11)
    assert (found.double() - wanted).norm() <= 0.01 * wanted.norm()


def test_a_strided_input_is_read_as_it_is_seen(random_blocks, number) -> None:
    weight, given = random_blocks("Q4_0", 6, 64), torch.randn(64, 4)
    found = OPS.blocks_linear(given.t(), weight, None, number("Q4_0"))
    assert torch.equal(found, OPS.blocks_linear(given.t().contiguous(), weight, None, number("Q4_0")))


@settings(max_examples=40)
@given(
    st.integers(1, 70), st.integers(1, 9), st.integers(1, 12), st.sampled_from([1e-33, 1e-12, 1.0, 1e12]), st.integers(0, 99)
)
def test_every_path_agrees_with_the_portable_one(rows, blocks, count, size, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    qweight = torch.randint(-128, 128, (rows, 32 * blocks), dtype=torch.int8, generator=generator)
    scales = torch.rand(rows, blocks, generator=generator).half()
    given = torch.randn(count, 32 * blocks, generator=generator) * size
    given[0, :32] = 0
    results = []
    for one in paths():
        take_path(one)
        results.append(OPS.int8_linear(given, qweight, scales, None))
    bound = given.abs().double() @ (qweight.abs().double() * scales.double().repeat_interleave(32, 1)).T
    assert all(bool(((one - results[-1]).abs() <= 1e-5 * bound).all()) for one in results)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_what_is_not_finite_shows_in_its_row_and_in_no_other(path, value, count, random_blocks, number) -> None:
    weight, given = random_blocks("Q4_1", 5, 96), torch.randn(count, 96)
    given[0, 40] = value
    found = OPS.blocks_linear(given, weight, None, number("Q4_1"))
    assert not torch.isfinite(found[0]).any()
    assert torch.isfinite(found[1:]).all()
    for name in BLOCKS:
        weight = random_blocks(name, 5, columns_of(name, 3))
        at = 208 if name == "Q6_K" else 0
        weight[2, at : at + 2] = torch.tensor([value]).half().view(torch.uint8)
        found = OPS.blocks_linear(torch.randn(count, columns_of(name, 3)), weight, None, number(name))
        assert not torch.isfinite(found[:, 2]).any()
        assert torch.isfinite(found[:, [0, 1, 3, 4]]).all()


def test_numbers_at_the_edge(path, number, random_blocks, unpacked) -> None:
    weight = random_blocks("Q8_0", 3, 64)
    weight.view(3, 2, 34)[..., 2:] = 128  # -128, which no packer writes
    given = torch.full((1, 64), -3e38)
    values = unpacked("Q8_0", weight)
    torch.testing.assert_close(OPS.blocks_linear(given / 1e10, weight, None, number("Q8_0")), given / 1e10 @ values.T)
    assert OPS.blocks_linear(torch.zeros(1, 64), weight, None, number("Q8_0")).count_nonzero() == 0
    assert OPS.blocks_linear(torch.full((1, 64), 1e-40), weight, None, number("Q8_0")).count_nonzero() == 0


def test_wrong_arguments_are_refused_in_words(random_blocks, number) -> None:
    weight, q4 = random_blocks("Q4_0", 4, 64), number("Q4_0")
    qweight, scales = pack(torch.randn(4, 96), 48)
    refused = [
        ("the input needs 64 columns", lambda: OPS.blocks_linear(torch.randn(1, 63), weight, None, q4)),
        ("the bias needs 4 elements", lambda: OPS.blocks_linear(torch.randn(1, 64), weight, torch.randn(3), q4)),
        ("are no whole blocks of Q4_1", lambda: OPS.blocks_linear(torch.randn(1, 64), weight, None, number("Q4_1"))),
        ("there is no packing 99", lambda: OPS.blocks_linear(torch.randn(1, 64), weight, None, 99)),
        ("there is no packing", lambda: OPS.blocks_linear(torch.randn(1, 64), weight, None, number("int8"))),
        ("contiguous, in bytes", lambda: OPS.blocks_linear(torch.randn(1, 64), weight.float(), None, q4)),
        ("contiguous, in bytes", lambda: OPS.unpack_blocks(weight[:, :18], q4)),
        ("rows of bytes", lambda: OPS.blocks_linear(torch.randn(1, 64), weight[0], None, q4)),
        ("multiples of 32", lambda: OPS.int8_linear(torch.randn(1, 96), qweight, scales, None)),
        ("scales in float16", lambda: OPS.unpack_int8(qweight, scales.float())),
    ]
    for words, call in refused:
        with pytest.raises(RuntimeError, match=words):
            call()


@pytest.mark.parametrize("count", [1, 20])
def test_operators_pass_torchs_own_check(count, random_blocks, number) -> None:
    weight, (qweight, scales) = random_blocks("Q4_1", 12, 64), pack(torch.randn(12, 64), 32)
    given, bias = torch.randn(count, 64), torch.randn(12)
    for added in (None, bias):
        torch.library.opcheck(OPS.blocks_linear, (given, weight, added, number("Q4_1")))
        torch.library.opcheck(OPS.int8_linear, (given, qweight, scales, added))
    for one in BLOCKS:
        torch.library.opcheck(OPS.unpack_blocks, (random_blocks(one, 3, columns_of(one, 2)), number(one)))
    torch.library.opcheck(OPS.unpack_int8, (qweight, scales))


def test_exported_graphs_hold_the_operator(random_blocks, number) -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(random_blocks("Q4_1", 12, 64), requires_grad=False)

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return OPS.blocks_linear(given, self.weight, None, number("Q4_1"))

    layer, given = Layer(), torch.randn(3, 64)
    exported = torch.export.export(layer, (given,), dynamic_shapes=({0: torch.export.Dim("rows", min=2, max=64)},))
    assert "transept_kernels_cpu.blocks_linear" in str(exported.graph)
    for rows in (2, 3, 30):
        given = torch.randn(rows, 64)
        assert torch.equal(exported.module()(given), layer(given))


def test_it_is_the_same_from_several_threads(random_blocks, number) -> None:
    from concurrent.futures import ThreadPoolExecutor

    weight = random_blocks("Q4_1", 300, 2048)
    given = torch.randn(40, 1, 2048)
    wanted = [OPS.blocks_linear(one, weight, None, number("Q4_1")) for one in given]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: OPS.blocks_linear(one, weight, None, number("Q4_1")), given))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
