"""RMS normalization in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalizes the last dimension in fp32, rounds to x's dtype, then multiplies by weight.

    x [..., d], weight [d] -> [..., d].  The order of rounding is Llama's and Jamba's.
    """
    if x.dtype == torch.float32:  # nothing is rounded in between: fewer, cheaper calls
        square: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        return (x * square.div_(x.shape[-1]).add_(eps).rsqrt_()).mul_(weight)
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True).add_(eps))
    return y.to(x.dtype).mul_(weight)


def add_rms_norm(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, shares: Tensor | None = None
) -> Tensor:
    """x += add, in place and rounded to x's dtype; then the norm of that.

    x and add [l, d].  With shares [l, s], add is [l, s, d] and its weighted sum is added, itself
    rounded to x's dtype first.
    """
    return rms_norm(x.add_(add if shares is None else weighted_sum(add, shares)), weight, eps)


def weighted_sum(y: Tensor, weights: Tensor) -> Tensor:
    """y [l, s, d], weights [l, s] -> [l, d], summed in fp32 and in the order of s."""
    shares = weights.float()[..., None].unbind(1)
    first, *rest = zip(y.unbind(1), shares, strict=True)
    out = first[0].float() * first[1]
    for part, share in rest:
        out += part * share
    return out.to(y.dtype)
