"""Products of few rows, bound by reading the weight: codes are read, nothing is written out.

Activations stay as they are in every scheme, fp8 too: there is no arithmetic to save.
"""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation
from quant.tensor import QuantWeight

__all__ = ["expert_gemv", "expert_gemv_silu_gate", "gemv", "gemv_silu_gate"]


def gemv(x: Tensor, w: QuantWeight | Tensor) -> Tensor:
    """x [m, k] @ w [n, k].T -> [m, n] in x's dtype; m is small."""
    result: Tensor = implementation(__name__, x.device).gemv(x, w)
    return result


def expert_gemv(x: Tensor, w: QuantWeight | Tensor, experts: Tensor) -> Tensor:
    """Row s of x [s, k] by the weight experts[s] of the stack w [x, n, k] -> [s, n].

    experts [s] are integers on x's device, which are never brought to the host.
    """
    result: Tensor = implementation(__name__, x.device).expert_gemv(x, w, experts)
    return result


def gemv_silu_gate(x: Tensor, w: QuantWeight | Tensor) -> Tensor:
    """silu(g) * u [m, f] of [g, u] = gemv(x, w) [m, 2f], rounded to x's dtype before the gate."""
    result: Tensor = implementation(__name__, x.device).gemv_silu_gate(x, w)
    return result


def expert_gemv_silu_gate(x: Tensor, w: QuantWeight | Tensor, experts: Tensor) -> Tensor:
    """The same of expert_gemv(x, w, experts) [s, 2f] -> [s, f]."""
    result: Tensor = implementation(__name__, x.device).expert_gemv_silu_gate(x, w, experts)
    return result
