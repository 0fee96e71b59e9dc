"""RMS normalization."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalizes the last dimension in fp32, rounds to x's dtype, then multiplies by weight.

    x [..., d], weight [d] -> [..., d].  The order of rounding is Llama's and Jamba's.
    """
    if x.dtype == torch.float32:  # nothing is rounded in between: torch's one call is the same
        return functional.rms_norm(x, weight.shape, weight, eps)
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True).add_(eps))
    return y.to(x.dtype).mul_(weight)
