"""A router's choice from its logits."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["likeliest_experts", "route_sum"]


def likeliest_experts(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Picks the implementation by device; arguments and result as in `reference`."""
    way = implementation(__name__, logits.device)
    picked: tuple[Tensor, Tensor] = way.likeliest_experts(logits, top_k)
    return picked


def route_sum(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, router: Tensor, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for one token, from what comes before its router; arguments as in `reference`."""
    way = implementation(__name__, x.device)
    routed: tuple[Tensor, Tensor, Tensor] = way.route_sum(x, add, weight, eps, router, top_k)
    return routed
