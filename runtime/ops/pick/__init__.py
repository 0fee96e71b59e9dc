"""The end of a decode step: logits in fp32, the likeliest token, and what the next step reads."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["pick"]


def pick(scores: Tensor, logits: Tensor, picked: Tensor, inputs: Tensor) -> None:
    """Picks the implementation by device; arguments as in `reference`."""
    implementation(__name__, scores.device).pick(scores, logits, picked, inputs)
