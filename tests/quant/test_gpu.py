"""The same operations on a GPU, by its kernels and libraries, beside the references."""

from __future__ import annotations

import pytest
import torch

from quant.ops.dequantize import dequantize
from quant.ops.gemv import expert_gemv, gemv
from quant.ops.matmul import grouped_matmul, matmul
from quant.ops.quantize_rows import quantize_rows
from quant.schemes import SCHEMES
from quant.tensor import QuantWeight
from tests.helpers import assert_close, never_waiting

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

X, N, K = 8, 384, 256


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def both(scheme: str, *shape: int) -> tuple[QuantWeight, QuantWeight]:
    """A weight on the CPU and the same on the GPU."""
    w = SCHEMES[scheme].quantize(randn(*shape, seed=1))
    return w, QuantWeight(w.scheme, w.codes.cuda(), w.scale.cuda())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_weight_is_quantized_to_the_same_codes(scheme):
    weight = randn(X, N, K, seed=1)
    own, there = SCHEMES[scheme].quantize(weight), SCHEMES[scheme].quantize(weight.cuda())
    assert_close(there.scale.cpu().float(), own.scale.float())
    same = own.codes.view(torch.uint8) == there.codes.cpu().view(torch.uint8)
    assert same.float().mean() > 0.9999  # a division may round to the other side of an edge


@pytest.mark.parametrize("scheme", SCHEMES)
def test_dequantize(scheme):
    own, there = both(scheme, X, N, K)
    wanted = dequantize(own, torch.bfloat16)
    out = torch.empty(wanted.shape, dtype=torch.bfloat16, device="cuda")
    dequantize(there, torch.bfloat16, out)
    assert_close(out.cpu().float(), wanted.float(), torch.bfloat16)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rows", [1, 4])
def test_gemv(scheme, rows):
    own, there = both(scheme, X, N, K)
    x = randn(rows, K)
    assert_close(gemv(x.cuda(), there[2]).cpu().float(), gemv(x, own[2]).float(), torch.bfloat16)
    experts = torch.arange(rows) % X
    got = expert_gemv(x.cuda(), there, experts.cuda())
    assert_close(got.cpu().float(), expert_gemv(x, own, experts).float(), torch.bfloat16)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rows", [5, 64, 500])
def test_matmul_and_grouped_matmul_with_ragged_rows(scheme, rows):
    own, there = both(scheme, X, N, K)
    x = randn(rows, K)
    got = matmul(x.cuda(), there[1])
    assert_close(got.cpu().float(), matmul(x, own[1]).float(), torch.bfloat16)
    owner = torch.randint(0, X, (rows,), generator=torch.Generator().manual_seed(2))
    ends = torch.bincount(owner, minlength=X).cumsum(0)
    got = grouped_matmul(x.cuda(), there, ends.cuda())
    assert_close(got.cpu().float(), grouped_matmul(x, own, ends).float(), torch.bfloat16)


@pytest.mark.parametrize("scheme", ["none", *SCHEMES])
@pytest.mark.parametrize("rows", [1, 4])
def test_experts_of_few_rows_are_never_brought_to_the_host(scheme, rows):
    stack = randn(X, N, K, seed=1).cuda() if scheme == "none" else both(scheme, X, N, K)[1]
    x, experts = randn(rows, K).cuda(), torch.arange(rows).cuda()
    expert_gemv(x, stack, experts)  # compiles, which may wait
    with never_waiting():
        expert_gemv(x, stack, experts)


def test_quantize_rows():
    x = randn(37, K)
    rows, own = quantize_rows(x.cuda()), quantize_rows(x)
    assert_close(rows.scale.cpu(), own.scale)
    got = rows.codes.cpu().float() * rows.scale.cpu()[:, None]
    assert_close(got, own.codes.float() * own.scale[:, None])
