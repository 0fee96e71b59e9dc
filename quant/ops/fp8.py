"""fp8: e4m3, symmetric, one scale a row; the largest of a row becomes the largest of the format."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 448.0
"""The largest finite e4m3 number (the "fn" variant: no infinities)."""


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [..., n, k] float -> float8_e4m3fn [..., n, k] and scale fp32 [..., n]."""
    rows = weight.float()
    # No smaller scale than keeps the quotient finite: a row of denormals becomes zeros.
    top = rows.abs().amax(-1).clamp_min(torch.finfo(torch.float32).tiny)
    # By a tensor: by a number, a GPU would multiply with a rounded 1 / 448.
    scale = top / torch.full_like(top, LARGEST)
    scale.clamp_min_(torch.finfo(torch.float32).tiny)
    scaled = (rows / scale[..., None]).clamp_(-LARGEST, LARGEST)
    return scaled.to(torch.float8_e4m3fn), scale


def dequantize(codes: Tensor, scale: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of `quantize`: codes [..., n, k], scale [..., n] -> [..., n, k]."""
    return codes.float().mul_(scale[..., None]).to(dtype)
