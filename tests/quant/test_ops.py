"""Operations on quantized weights: what they compute is the product with the dequantized weight."""

from __future__ import annotations

import pytest
import torch

from quant.linear import FEW_ROWS, product
from quant.ops.dequantize import dequantize
from quant.ops.gemv import expert_gemv, gemv
from quant.ops.matmul import grouped_matmul, matmul, scaled
from quant.ops.quantize_rows import quantize_rows
from quant.schemes import SCHEMES
from quant.tensor import QuantWeight
from tests.helpers import assert_close

X, N, K = 5, 48, 128


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weight(scheme: str, *shape: int) -> tuple[QuantWeight, torch.Tensor]:
    """A quantized weight, and what it stands for."""
    quantized = SCHEMES[scheme].quantize(randn(*shape, seed=1))
    return quantized, dequantize(quantized, torch.float32)


def rounded(x: torch.Tensor, scheme: str) -> torch.Tensor:
    """What a product of many rows makes of its activations."""
    if scheme != "fp8":
        return x
    rows = quantize_rows(x)
    return rows.codes.float() * rows.scale[:, None]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_products_of_few_rows_leave_the_activations_alone(scheme):
    w, exact = weight(scheme, N, K)
    x = randn(3, K)
    assert_close(gemv(x, w), x @ exact.T)
    stack, exact = weight(scheme, X, N, K)
    experts = torch.tensor([4, 0, 4])
    wanted = torch.stack([x[i] @ exact[e].T for i, e in enumerate(experts.tolist())])
    assert_close(expert_gemv(x, stack, experts), wanted)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rows", [1, 16, 63])
def test_products_of_many_rows(scheme, rows):
    w, exact = weight(scheme, N, K)
    x = randn(rows, K)
    assert_close(matmul(x, w), rounded(x, scheme) @ exact.T)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_grouped_products_take_each_group_to_its_expert(scheme):
    stack, exact = weight(scheme, X, N, K)
    counts = [7, 0, 1, 20, 0]
    ends = torch.tensor(counts).cumsum(0)
    x = randn(sum(counts), K)
    owner = torch.repeat_interleave(torch.arange(X), torch.tensor(counts))
    wanted = torch.einsum("sk,snk->sn", rounded(x, scheme), exact[owner])
    assert_close(grouped_matmul(x, stack, ends), wanted)
    if scheme != "fp8":  # what a GPU runs for these is PyTorch too
        assert_close(scaled.grouped_matmul(x, stack, ends), wanted)
    plain = torch.einsum("sk,snk->sn", x, exact[owner])
    for way in (scaled.grouped_matmul, grouped_matmul):  # weights in 16 bits are a stack too
        assert_close(way(x, exact, ends), plain)


@pytest.mark.parametrize("rows", [5, 16, 37])
def test_the_scaled_product_pads_its_rows_and_agrees_with_the_reference(rows):
    w, _ = weight("fp8", N, K)
    x = randn(rows, K).bfloat16()
    got = scaled.matmul(x, w)
    assert got.dtype == torch.bfloat16
    assert_close(got.float(), matmul(x, w).float(), torch.float16)


def test_the_grouped_scaled_product_accepts_our_layout():
    """Shapes and strides only: PyTorch has no CPU form of it."""
    w, _ = weight("fp8", X, N, K)
    meta = QuantWeight("fp8", w.codes.to("meta"), w.scale.to("meta"))
    x = torch.empty(37, K, dtype=torch.bfloat16, device="meta")
    ends = torch.empty(X, dtype=torch.int32, device="meta")
    assert scaled.grouped_matmul(x, meta, ends).shape == (37, N)


def test_a_row_is_quantized_without_regard_to_others():
    x = randn(9, K)
    x[4] *= 1e4
    rows = quantize_rows(x)
    for row in (0, 4, 8):
        alone = quantize_rows(x[row : row + 1])
        assert torch.equal(alone.codes[0].float(), rows.codes[row].float())
        assert alone.scale[0] == rows.scale[row]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_dequantize_writes_where_it_is_told(scheme):
    w, exact = weight(scheme, X, N, K)
    out = torch.empty(X, N, K, dtype=torch.bfloat16)
    assert dequantize(w, torch.bfloat16, out) is out
    assert torch.equal(out, exact.bfloat16())


def test_the_number_of_rows_picks_the_way_unless_told():
    w, _ = weight("fp8", N, K)
    x = randn(FEW_ROWS, K)
    assert torch.equal(product(x, w), gemv(x, w))
    assert torch.equal(product(x, w, few=False), matmul(x, w))
    many = randn(FEW_ROWS + 1, K)
    assert torch.equal(product(many, w), matmul(many, w))
    assert torch.equal(product(quantize_rows(x), w), matmul(x, w))  # whatever their number
    bias = randn(N, seed=2)
    assert torch.equal(product(many, w, bias), matmul(many, w) + bias)


def test_widths_that_the_scaled_product_refuses_are_widened():
    w, exact = weight("fp8", 6, K)
    x = randn(37, K)
    assert_close(scaled.matmul(x, w), x @ exact.T)
    stack, exact = weight("fp8", 2, 6, K)
    got = scaled.grouped_matmul(x, stack, torch.tensor([30, 37]))
    assert_close(got, torch.cat((x[:30] @ exact[0].T, x[30:] @ exact[1].T)))
