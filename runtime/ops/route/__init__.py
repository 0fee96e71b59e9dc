"""A router's choice from its logits."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["likeliest_experts"]


def likeliest_experts(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Picks the implementation by device; arguments and result as in `reference`."""
    way = implementation(__name__, logits.device)
    picked: tuple[Tensor, Tensor] = way.likeliest_experts(logits, top_k)
    return picked
