"""The instructions of the kernels on tensor cores, as a warp would run them.

And the whole kernels by Triton's interpreter, with a warp in the place of inline assembly.  On a
GPU `test_quantized` runs them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from quant.ops import nf4
from quant.ops.gemv import kernel, nf4_kernel, reference, row_kernel, tensor_cores
from quant.schemes import SCHEMES
from quant.tensor import QuantWeight
from tests.helpers import assert_close
from tests.kernels.conftest import NOT_INTERPRETED
from tests.kernels.ptx import LANES, Assembly, Values, Warp

G, T = np.arange(LANES) // 4, np.arange(LANES) % 4


def words(values: torch.Tensor, bytes_a_lane: int) -> list[Values]:
    """Rows of bytes [8, 4 * bytes_a_lane] -> what each lane has, in registers of 8 bytes."""
    lanes = values.view(torch.uint8).numpy().reshape(8 * 4, bytes_a_lane).view(np.uint64)
    return [np.ascontiguousarray(lanes[:, j]) for j in range(bytes_a_lane // 8)]


def values_of(x: torch.Tensor) -> list[Values]:
    """The same x [k] for each of eight rows."""
    return words(x.expand(8, -1).contiguous(), x.numel() // 4 * 2)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.mark.parametrize("name", ["INT8", "FP8", "BF16"])
def test_a_piece_of_sixteen_rows(name):
    every = torch.arange(256, dtype=torch.uint8)
    if name == "INT8":
        codes = every.view(torch.int8).repeat(4).view(16, 64)
    elif name == "FP8":
        finite = torch.where(every & 0x7F == 0x7F, 0, every)  # the others are no numbers
        codes = finite.view(torch.float8_e4m3fn).repeat(4).view(16, 64)
    else:
        codes = draw(16, 32, seed=0)
    x = draw(codes.shape[1], seed=1)
    before = np.arange(LANES, dtype=np.float32) // 4
    if name == "FP8":
        before = before * 2.0**-60
    operands = [*words(codes[:8], 16), *words(codes[8:], 16), before, before, *values_of(x)]
    a, b = Warp(operands, results=2).run(getattr(row_kernel, name).value)
    unit = row_kernel.FP8_UNIT.value if name == "FP8" else 1.0
    wanted = (codes.double() @ x.double()).numpy() + np.tile(np.arange(8), 2)
    assert np.allclose(a * unit, wanted[:8][G], rtol=1e-5, atol=1e-3)
    assert np.allclose(b * unit, wanted[8:][G], rtol=1e-5, atol=1e-3)


def test_two_groups_of_nf4():
    codes = torch.randint(
        256, (16, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    x = draw(128, seed=1)
    table = np.repeat(nf4_kernel.pairs(torch.device("cpu")).numpy().view(np.uint32), LANES)
    mine = G % 2 == T // 2
    kept = [np.where(mine, value, 0).astype(np.uint64) for value in values_of(x)]
    place = np.arange(LANES, dtype=np.uint32) * 4
    operands = [*words(codes[:8], 16), *words(codes[8:], 16), *kept, place]
    sums = Warp(operands, results=4, shared=table).run(nf4_kernel.DOT.value)
    levels = nf4.dequantize(codes, torch.ones(16, 2)).bfloat16().double()
    wanted = (levels * x.double()).view(16, 2, 64).sum(-1).numpy()
    for j, got in enumerate(sums):  # a's two groups, then b's
        assert np.allclose(got, wanted[8 * (j // 2) + G, j % 2], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(bool(NOT_INTERPRETED), reason=NOT_INTERPRETED)
@pytest.mark.parametrize("scheme", [*SCHEMES, "none"])
@pytest.mark.parametrize(("n", "k", "split"), [(20, 512, 8), (36, 1280, 2)])
def test_whole_kernels(scheme, n, k, split, monkeypatch):
    """Rows that fill no tile, steps that do and do not divide k, more tiles than programs."""
    monkeypatch.setattr("triton.language.inline_asm_elementwise", Assembly())
    monkeypatch.setattr(tensor_cores, "_capable", lambda device: True)
    monkeypatch.setattr(tensor_cores, "_multiprocessors", lambda device: 1)
    monkeypatch.setattr(tensor_cores, "SETTINGS", {0: (8, split)})
    monkeypatch.setattr(tensor_cores, "SETTINGS_OF", {})
    dense = draw(3, n, k, seed=0)
    w = dense if scheme == "none" else SCHEMES[scheme].quantize(dense)
    if isinstance(w, QuantWeight) and scheme == "nf4" and n == 36:
        w = QuantWeight("nf4", w.codes, w.scale.half())
    x, experts = draw(2, 2 * k, seed=1)[:, :k] / k**0.5, torch.tensor([2, 0])
    codes, scale = (w.codes, w.scale) if isinstance(w, QuantWeight) else (w, None)
    assert tensor_cores.fits(x, codes, scale)
    exact = w if isinstance(w, QuantWeight) else w.float()
    got = kernel.expert_gemv(x, w, experts).float()
    assert_close(got, reference.expert_gemv(x.float(), exact, experts), torch.bfloat16)
    got = kernel.expert_gemv_silu_gate(x, w, experts).float()
    assert_close(got, reference.expert_gemv_silu_gate(x.float(), exact, experts), torch.bfloat16)
    if isinstance(w, QuantWeight):
        got = kernel.gemv(x, w[1]).float()
        assert_close(got, reference.gemv(x.float(), w[1]), torch.bfloat16)
