"""w8a8: int8 by int8 on a CPU, by its units for that or in fp32, of few rows and of many."""

from __future__ import annotations

import pytest
import torch

from quant.linear import FEW_ROWS, product
from quant.ops import int8
from quant.ops.matmul import matmul, w8a8
from quant.schemes import CPU_SCHEMES
from quant.tensor import QuantWeight
from runtime.ops.moe import swiglu
from runtime.ops.silu_gate import silu_gate
from tests.helpers import sqnr_db


@pytest.fixture(params=[True, False], ids=["by its units", "in fp32"], autouse=True)
def units(request, monkeypatch):
    """Both ways to multiply; the first only where the CPU has it."""
    if request.param and not w8a8.multiplies_int8():
        pytest.skip("this CPU does not multiply int8")
    monkeypatch.setattr(w8a8, "multiplies_int8", lambda: request.param)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weight(n: int, k: int) -> QuantWeight:
    return CPU_SCHEMES["w8a8"].quantize(randn(n, k, seed=1))


@pytest.mark.parametrize(
    ("rows", "n", "k"), [(1, 16, 5), (5, 48, 64), (128, 33, 70), (301, 3500, 37)]
)
def test_products_are_those_of_the_rounded_numbers(rows, n, k):
    x, w = randn(rows, k), weight(n, k)
    codes, scale = int8.quantize(x)
    exact = codes.double() @ w.codes.double().T * scale[:, None] * w.scale
    torch.testing.assert_close(matmul(x, w), exact.float(), rtol=1e-6, atol=1e-6)


def test_a_token_hangs_on_no_other():
    x, w = randn(700, 96) * torch.logspace(-3, 3, 700)[:, None], weight(3000, 96)
    parts = [matmul(each, w) for each in x.split([5, 1, 63, 131, 500])]
    assert torch.equal(torch.cat(parts), matmul(x, w))


def test_rows_of_zeros_and_of_tiny_numbers_stay_what_they_are():
    x = torch.zeros(6, 32)
    x[3] = 1e-30
    y = matmul(x, weight(16, 32))
    assert torch.equal(y[:3], torch.zeros(3, 16))
    assert torch.isfinite(y).all()


@pytest.mark.parametrize(("spread", "floor"), [(0.0, 37.5), (0.7, 33.0)])
def test_error_of_products(spread, floor):
    """With a spread some channels are far larger than others, as in a model."""
    x, w = randn(256, 512) * torch.exp(spread * randn(512, seed=2)), randn(512, 512, seed=1)
    assert sqnr_db(x @ w.T, matmul(x, CPU_SCHEMES["w8a8"].quantize(w))) > floor


def test_few_rows_are_computed_as_many_are():
    gate_up, down = weight(48, 70), weight(70, 24)
    x = randn(300, 70)
    few = x[:FEW_ROWS]
    assert torch.equal(product(few, gate_up), product(x, gate_up)[:FEW_ROWS])
    gated = matmul(silu_gate(matmul(x, gate_up)), down)
    assert torch.equal(swiglu(x, gate_up, down), gated)
    assert torch.equal(swiglu(few, gate_up, down), gated[:FEW_ROWS])
