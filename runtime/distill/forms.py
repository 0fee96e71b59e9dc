"""In which form each tensor ships: NF4, int8 where four bits cost most, or as it is."""

from __future__ import annotations

import re
from typing import Literal

from torch import Tensor

from quant.ops import int8, nf4

Form = Literal["nf4", "int8"]

PROJECTIONS = (
    *("in_proj", "out_proj"),
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_proj", "up_proj", "down_proj"),
)

INT8: dict[str, tuple[int, ...]] = {
    "in_proj": (1, 12, 13, 16, 19),
    "out_proj": (1, 16),
    "q_proj": (14, 17, 20, 23),
    "k_proj": (8, 14, 17, 20, 23),
    "v_proj": (2, 5, 8, 11, 14, 17, 20, 23, 26, 29),
    "o_proj": (23,),
    "gate_proj": (29,),
    "up_proj": (0, 20, 28, 29),
    "down_proj": (0, 2, 11, 24, 28, 29),
}
"""Layers whose projection ships in int8: where NF4 moves the model's output most for its bytes, as
`python -m runtime.distill sensitivity` finds them."""

_PLACE = re.compile(r"layers\.(\d+)\.\w+\.(\w+)\.weight$")


def form_of(name: str) -> Form | None:
    """The form that a tensor is stored in; None: not quantized."""
    place = _PLACE.search(name)
    if place is None or place[2] not in PROJECTIONS:
        return None
    return "int8" if int(place[1]) in INT8.get(place[2], ()) else "nf4"


def rounded(weight: Tensor, form: Form) -> Tensor:
    """The weights [..., n, k] that a reader of the stored form has, in fp32."""
    if form == "int8":
        return int8.dequantize(*int8.quantize(weight))
    return nf4.dequantize(*nf4.quantize(weight))
