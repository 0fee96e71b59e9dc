"""RMS normalization, alone or of a sum."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation
from quant.tensor import QuantRows

__all__ = ["add_rms_norm", "add_rms_norm_rows", "rms_norm", "rms_norm_rows"]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    y: Tensor = implementation(__name__, x.device).rms_norm(x, weight, eps)
    return y


def rms_norm_rows(x: Tensor, weight: Tensor, eps: float) -> QuantRows:
    """The same, for a product that quantizes its activations."""
    y: QuantRows = implementation(__name__, x.device).rms_norm_rows(x, weight, eps)
    return y


def add_rms_norm(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, shares: Tensor | None = None
) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    y: Tensor = implementation(__name__, x.device).add_rms_norm(x, add, weight, eps, shares)
    return y


def add_rms_norm_rows(x: Tensor, add: Tensor, weight: Tensor, eps: float) -> QuantRows:
    """The same of one sum, for a product that quantizes its activations."""
    y: QuantRows = implementation(__name__, x.device).add_rms_norm_rows(x, add, weight, eps)
    return y
