"""Two attentions of the same queries over different keys become the attention over all of them."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["merge_"]


def merge_(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """Picks the implementation by device; arguments and effect as in `reference`."""
    implementation(__name__, out.device).merge_(out, lse, other, other_lse)
