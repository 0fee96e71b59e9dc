"""The choice in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops.gemv import gemv
from runtime.ops.norm import add_rms_norm


def likeliest_experts(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """logits [l, x] -> weights [l, top_k] in their dtype, and expert ids [l, top_k].

    The softmax runs in fp32 over ALL experts; the weights that are left after top-k are not made
    to sum to one.
    """
    weights, experts = torch.softmax(logits.float(), -1).topk(top_k, -1)
    return weights.to(logits.dtype), experts


def route_sum(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, router: Tensor, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """x += add, in place, and what follows for one token: its norm, and the choice.

    x, add [1, d]; weight [d], of the norm; router [x, d] -> y [1, d], weights and ids [1, top_k].
    """
    y = add_rms_norm(x, add, weight, eps)
    return y, *likeliest_experts(gemv(y, router), top_k)
