"""Products of many rows by the libraries' fp8 and 16-bit routines, through PyTorch.

cuBLAS refuses row-wise scales when the rows are no multiple of 16, so codes are padded then; the
grouped form takes groups of any size.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from quant.ops.dequantize import dequantize
from quant.ops.quantize_rows import quantize_rows
from quant.tensor import QuantRows, QuantWeight, Rows

ROWS = 16
"""Rows of an fp8 product are a multiple of this."""


@cache
def multiplies_fp8(device: torch.device) -> bool:
    """Whether a device has fp8 tensor cores: NVIDIA's from Ada (8.9) on.

    Without them fp8 is a way to hold weights: they are widened, and activations stay as they are.
    """
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 9)


def quantizes(w: QuantWeight | Tensor) -> bool:
    """Whether the fp8 routines take a weight: both of its sides are multiples of 16."""
    return (
        isinstance(w, QuantWeight)
        and w.scheme == "fp8"
        and not any(n % ROWS for n in w.shape[-2:])
        and multiplies_fp8(w.device)
    )


def _padded(x: QuantRows) -> QuantRows:
    """Rows of zeros added up to a multiple of ROWS, if there are too few: a copy, of few chunks."""
    spare = -x.shape[0] % ROWS
    if spare == 0:
        return x
    codes = functional.pad(x.codes.view(torch.uint8), (0, 0, 0, spare))
    scale = functional.pad(x.scale, (0, spare), value=1.0)
    return QuantRows(codes.view(x.codes.dtype), scale, x.dtype)


def matmul(x: Rows, w: QuantWeight) -> Tensor:
    """x [m, k] @ w [n, k].T -> [m, n] in x's dtype; bf16 is what the fp8 routine gives.

    x is quantized only where `quantizes(w)`.
    """
    if not quantizes(w):
        assert isinstance(x, Tensor)
        return functional.linear(x, dequantize(w, x.dtype))
    rows = _padded(x if isinstance(x, QuantRows) else quantize_rows(x))
    y = torch._scaled_mm(
        rows.codes,
        w.codes.t(),
        scale_a=rows.scale[:, None],
        scale_b=w.scale[None],
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return y[: x.shape[0]].to(x.dtype)


def grouped_matmul(x: Rows, w: QuantWeight | Tensor, ends: Tensor) -> Tensor:
    """x [s, k] sorted by expert, w [x, n, k], ends [x] (the row after each expert's) -> [s, n].

    fp8 needs no word from the device; the others take `ends` on the host, or bring it there, and
    dequantize one expert at a time into one scratch buffer.
    """
    if isinstance(w, QuantWeight) and quantizes(w):
        rows = x if isinstance(x, QuantRows) else quantize_rows(x)
        y = torch._scaled_grouped_mm(
            rows.codes,
            w.codes.transpose(-2, -1),
            rows.scale,
            w.scale,
            offs=ends.to(torch.int32),
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        return y.to(x.dtype)
    assert isinstance(x, Tensor)
    n, k = w.shape[-2:]
    scratch = None if isinstance(w, Tensor) else x.new_empty(n, k)
    out = x.new_empty(x.shape[0], n)
    start = 0
    for expert, end in enumerate(ends.tolist()):
        if end > start:
            one = w[expert]
            weight = one if isinstance(one, Tensor) else dequantize(one, x.dtype, scratch)
            torch.mm(x[start:end], weight.t(), out=out[start:end])
        start = end
    return out
